"""Figures."""

import cnnlab.core.matplotlib_defaults  # noqa: F401
