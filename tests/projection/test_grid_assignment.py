from itertools import permutations

import numpy as np
import pytest

from cnnlab.projection.grid_assignment import assign_to_grid, scale_to_grid

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("columns", "rows"), [(3, 2), (2, 3), (6, 1), (2, 4)])
def test_assignment_is_optimal_among_all_permutations(columns: int, rows: int) -> None:
    all_cells = [(column, row) for column in range(columns) for row in range(rows)]
    assignments = np.array(list(permutations(all_cells, 6)))
    for y in RNG.normal(size=(10, 6, 2)):
        cells, displacement = assign_to_grid(y, columns, rows)
        points = scale_to_grid(y, columns, rows)
        minimum = ((assignments - points) ** 2).sum((1, 2)).min()
        assert ((cells - points) ** 2).sum() == pytest.approx(minimum)
        assert displacement == pytest.approx(np.linalg.norm(cells - points, axis=1).mean())


def test_each_point_has_its_own_cell() -> None:
    cells, displacement = assign_to_grid(RNG.normal(size=(60, 2)).astype(np.float32), 12, 5)
    assert len({tuple(cell) for cell in cells.tolist()}) == 60 and cells.dtype.kind == "i"
    assert (
        cells.min(0).tolist() == [0, 0]
        and cells.max(0).tolist() == [11, 4]
        and 0 < displacement < 12
    )


def test_points_on_a_grid_do_not_move() -> None:
    cells = np.array([(column, row) for column in range(5) for row in range(3)])
    order = RNG.permutation(15)
    assigned, displacement = assign_to_grid(cells[order] * [0.5, -7] + [100, 3], 5, 3)
    assert np.array_equal(
        assigned, cells[order] * [1, -1] + [0, 2]
    ) and displacement == pytest.approx(0)


def test_outermost_points_are_in_outermost_cells() -> None:
    y = np.array([[-1.0, 10.0], [0.0, 20.0], [3.0, 12.0]])
    assert np.allclose(scale_to_grid(y, 9, 6), [[0, 0], [2, 5], [8, 1]])


def test_constant_coordinate_is_accepted() -> None:
    cells, displacement = assign_to_grid(np.array([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]]), 3, 2)
    assert cells[:, 0].tolist() == [0, 2, 1] and np.isfinite(displacement)
    cells, _ = assign_to_grid(np.ones((6, 2)), 3, 2)
    assert len({tuple(cell) for cell in cells.tolist()}) == 6


def test_too_few_cells_raise_value_error() -> None:
    with pytest.raises(ValueError, match="7 points do not fit in 6 cells"):
        assign_to_grid(RNG.normal(size=(7, 2)), 3, 2)
