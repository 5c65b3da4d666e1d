"""Projections of high-dimensional points to two-dimensional maps, and measures of their quality."""
