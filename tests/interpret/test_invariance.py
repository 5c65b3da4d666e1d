import pytest
import torch

from cnnlab.interpret.invariance import (
    TRANSFORMATION_UNITS,
    TRANSFORMATIONS,
    darken_images,
    mean_output_distance,
    relative_output_distance,
    rotate_images,
    shift_images,
    unchanged_fraction,
)

X = torch.rand(3, 2, 9, 9, generator=torch.Generator().manual_seed(0))


def test_shifts_move_every_pixel_in_four_directions() -> None:
    right, down, left, up = shift_images(X, 2)
    assert torch.equal(right[..., 2:], X[..., :-2]) and torch.equal(right[..., 0], X[..., 0])
    assert torch.equal(down[..., 2:, :], X[..., :-2, :]) and torch.equal(
        down[..., 1, :], X[..., 0, :]
    )
    assert torch.equal(left[..., :-2], X[..., 2:]) and torch.equal(up[..., :-2, :], X[..., 2:, :])


def test_a_quarter_turn_is_exact_and_zero_is_the_identity() -> None:
    first, second = rotate_images(X, 90)
    turned = {k: X.rot90(k, (2, 3)) for k in (1, -1)}
    match = [k for k in turned if torch.allclose(first, turned[k], atol=1e-5)]
    assert len(match) == 1 and torch.allclose(second, turned[-match[0]], atol=1e-5)
    for name, change in TRANSFORMATIONS.items():
        (same,) = change(X, 0)
        torch.testing.assert_close(same, X, msg=name)
    assert set(TRANSFORMATION_UNITS) == set(TRANSFORMATIONS)
    torch.testing.assert_close(darken_images(X, 0.75)[0], X / 4)


def test_a_rotation_keeps_lengths_on_an_image_that_is_not_square() -> None:
    line = torch.zeros(1, 1, 21, 41)
    line[..., 10, 10:31] = 1
    for turned in rotate_images(line, 90):
        assert abs(float(turned[..., 20].sum()) - 21) < 0.5 and float(turned[..., :18].sum()) < 0.5


def test_a_relative_distance_of_one_is_another_image() -> None:
    a = torch.randn(5, 4, 3, 3)
    far = mean_output_distance(a, a.roll(1, 0))
    assert far == pytest.approx(float((a - a.roll(1, 0)).square().sum((1, 2, 3)).sqrt().mean()))
    assert relative_output_distance(a, a, far) == 0 and relative_output_distance(
        a, a.roll(1, 0), far
    ) == pytest.approx(1)
    assert relative_output_distance(a, a + (a - a.roll(1, 0)) / 4, far) == pytest.approx(0.25)
    assert relative_output_distance(torch.ones(3, 2), torch.zeros(3, 2), 0.0) == 0, (
        "a constant layer"
    )
    assert (
        unchanged_fraction(a, a, 1.0) == 1
        and unchanged_fraction(torch.tensor([1.0, 2.0]), torch.tensor([1.05, 2.5]), 2.0) == 0.5
    )
