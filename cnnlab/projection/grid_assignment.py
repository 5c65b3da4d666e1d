"""A map's points on a lattice, each in a cell of its own, moved as little as can be."""

import numpy as np


def scale_to_grid(y: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """(N, 2) -> (N, 2) in cells, the outermost points in the middle of the outermost cells, y upwards."""
    low, high = y.min(0), y.max(0)
    return (y - low) / np.where(high > low, high - low, 1) * (np.array([columns, rows]) - 1)


def assign_to_grid(y: np.ndarray, columns: int, rows: int) -> tuple[np.ndarray, float]:
    """(N, 2) a map -> (N, 2) whole numbers, the column and the row of each point, such that the sum of the squared
    distances is the least there is (Jonker & Volgenant 1987), and the mean distance, in cells. Raises ValueError for
    fewer cells than points."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if len(y) > columns * rows:
        raise ValueError(f"{len(y)} points on {columns * rows} cells")
    places = scale_to_grid(y.astype(np.float64), columns, rows)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"), -1).reshape(
        -1, 2
    )
    _, chosen = linear_sum_assignment(cdist(places, cells, "sqeuclidean"))
    return cells[chosen], float(np.linalg.norm(cells[chosen] - places, axis=1).mean())
