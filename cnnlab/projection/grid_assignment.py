"""Assign the points of a map to the cells of a grid, each to its own, with the least movement."""

import numpy as np


def scale_to_grid(y: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Scale an (N, 2) map to cells: the outermost points at the centers of the outermost cells."""
    low, high = y.min(0), y.max(0)
    return (y - low) / np.where(high > low, high - low, 1) * (np.array([columns, rows]) - 1)


def assign_to_cells(points: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Assign (N, 2) points to (M, 2) cells -> the indices of the assigned points and their cells.

    The sum of the squared distances is minimal (Jonker & Volgenant 1987). There are min(N, M)
    pairs, in the order of the points.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    return linear_sum_assignment(cdist(points, cells, "sqeuclidean"))


def assign_to_grid(y: np.ndarray, columns: int, rows: int) -> tuple[np.ndarray, float]:
    """Assign an (N, 2) map to a grid -> (N, 2) int column and row, and the mean distance in cells.

    Raises ValueError for fewer cells than points.
    """
    if len(y) > columns * rows:
        raise ValueError(f"{len(y)} points do not fit in {columns * rows} cells")
    points = scale_to_grid(y.astype(np.float64), columns, rows)
    axes = np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij")
    cells = np.stack(axes, -1).reshape(-1, 2)
    _, assigned = assign_to_cells(points, cells)
    return cells[assigned], float(np.linalg.norm(cells[assigned] - points, axis=1).mean())
