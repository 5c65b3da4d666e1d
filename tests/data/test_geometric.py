import functools

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tvf

from cnnlab.data import geometric
from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.geometric import (
    affine,
    alternating_flip,
    center_crop,
    crop,
    cutout,
    shift,
    views,
)
from cnnlab.data.operation import Op
from cnnlab.data.sources import cifar10, digits

DIGITS = digits("train", root=None).images[:9]
NONE = torch.empty(0)
cifar10_once = functools.cache(cifar10)


@pytest.fixture(params=["noise", pytest.param("cifar10", marks=pytest.mark.data)])
def images(request: pytest.FixtureRequest) -> Tensor:
    """(8, 3, 32, 30) uint8: noise, or the first CIFAR-10 test images without two columns."""
    if request.param == "noise":
        return torch.randint(
            0, 256, (8, 3, 32, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
    return cifar10_once("test", root=str(request.getfixturevalue("real_data"))).images[
        :8, :, :, :30
    ]


def grid(rows: int, columns: int) -> Tensor:
    """Return two uniform make_affine_uniforms for each position of a grid, row by row."""
    return (torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) + 0.5) / torch.tensor(
        [rows, columns]
    )


@pytest.mark.parametrize(
    ("size", "padding", "mode", "tvf_mode"),
    [
        (24, 0, "zeros", "constant"),
        (28, 3, "zeros", "constant"),
        (30, 4, "reflect", "reflect"),
        (1, 0, "zeros", ""),
    ],
)
def test_crop_matches_torchvision_at_every_position(
    size: int, padding: int, mode: str, tvf_mode: str, images: Tensor
) -> None:
    padded = tvf.pad(images, padding, padding_mode=tvf_mode) if padding else images
    rows, columns = (pixels - size + 1 for pixels in padded.shape[2:])
    op = crop(size=size, padding=padding, mode=mode)  # type: ignore[arg-type]
    for n in (0, 5):
        result = op.apply(images[n : n + 1].expand(rows * columns, -1, -1, -1), grid(rows, columns))
        expected = [
            tvf.crop(padded[n], i, j, size, size) for i in range(rows) for j in range(columns)
        ]
        assert torch.equal(result, torch.stack(expected))


def test_crop_positions_are_uniform_and_flip_has_its_probability() -> None:
    numbered = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5).expand(20_000, -1, -1, -1)
    rng = CounterRNG(3, 0, torch.arange(20_000))
    pipeline = Pipeline({"crop": {"size": 1, "padding": 0, "mode": "zeros"}}, "augment.train")
    positions = pipeline(numbered, rng).mul(255).round().long().flatten()
    assert stats.chisquare(positions.bincount(minlength=20).numpy()).pvalue > 1e-3
    flipped = (
        Pipeline({"flip_left_right": {"probability": 0.3}}, "augment.train")(numbered, rng)[
            :, 0, 0, 0
        ]
        > 0
    )
    assert stats.binomtest(int(flipped.sum()), 20_000, 0.3).pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([flipped.float(), positions.float()]))[0, 1]) < 0.03


def test_center_crop_matches_torchvision_and_tensorflow_at_odd_margins(
    images: Tensor,
) -> None:
    assert torch.equal(center_crop(size=24).apply(images, NONE), tvf.center_crop(images, [24, 24]))
    assert torch.equal(center_crop(size=25).apply(images, NONE), images[:, :, 3:28, 2:27])


def test_views_match_torchvision_crops_and_flips(
    images: Tensor,
) -> None:
    crops = views(size=24, padding=0, mode="zeros", grid=3, mirror=True).apply(images, NONE)
    by_image = crops.view(len(images), 18, 3, 24, 24)
    for view, expected in zip((0, 2, 6, 8, 4), tvf.five_crop(images, [24, 24]), strict=True):
        assert torch.equal(by_image[:, view], expected)
    for number, (top, left) in enumerate((t, s) for t in (0, 4, 8) for s in (0, 3, 6)):
        assert torch.equal(by_image[:, number], tvf.crop(images, top, left, 24, 24))
    assert torch.equal(by_image[:, 9:], tvf.hflip(by_image[:, :9]))
    single = views(size=24, padding=0, mode="zeros", grid=1, mirror=False)
    assert torch.equal(single.apply(images, NONE), tvf.center_crop(images, [24, 24]))
    assert (
        single.num_views,
        views(size=24, padding=0, mode="zeros", grid=3, mirror=True).num_views,
    ) == (1, 18)


@pytest.mark.parametrize("name", ["flip_left_right", "flip_up_down", "transpose"])
def test_flips_match_torchvision_and_are_involutions(name: str, images: Tensor) -> None:
    op: Op = getattr(geometric, name)()
    square = images[:, :, 1:31]
    oracle = {
        "flip_left_right": tvf.hflip,
        "flip_up_down": tvf.vflip,
        "transpose": lambda x: tvf.rotate(tvf.hflip(x), 90),
    }
    assert torch.equal(op.apply(square, NONE), oracle[name](square))
    assert torch.equal(op.apply(op.apply(square, NONE), NONE), square)


def test_alternating_flip_mirrors_each_image_every_other_epoch() -> None:
    sides = torch.tensor([10, 200], dtype=torch.uint8).view(1, 1, 1, 2).expand(10_000, -1, -1, -1)
    pipeline = Pipeline({"alternating_flip": {}}, "augment.train")
    mirrored = [
        pipeline(sides, CounterRNG(1, epoch, torch.arange(10_000)))[:, 0, 0, 0] > 0.5
        for epoch in range(4)
    ]
    assert torch.equal(mirrored[0], ~mirrored[1])
    assert torch.equal(mirrored[0], mirrored[2]) and torch.equal(mirrored[1], mirrored[3])
    assert stats.binomtest(int(mirrored[0].sum()), 10_000).pvalue > 1e-3
    assert torch.equal(alternating_flip().apply(sides, torch.full((10_000, 1), 0.5)), sides)


@pytest.mark.parametrize("size", [1, 5, 12, 70])
def test_cutout_matches_torchvision_erase(size: int, images: Tensor) -> None:
    op, u = cutout(size=size, fill=0.4), grid(32, 30)[::7]
    results = op.apply(images[:1].expand(len(u), -1, -1, -1), u)
    for result, (row, column) in zip(
        results, (u * torch.tensor([32, 30])).long().tolist(), strict=True
    ):
        top, left = row - size // 2, column - size // 2
        first, second = max(top, 0), max(left, 0)
        value = torch.tensor([102], dtype=torch.uint8).view(1, 1, 1)
        assert torch.equal(
            result,
            tvf.erase(images[0], first, second, top + size - first, left + size - second, value),
        )


def test_shift_by_whole_pixels_fills_with_zeros() -> None:
    x = DIGITS.float() / 255
    moved = shift(px=1).apply(x, grid(3, 3))
    for n in range(9):
        down, across = n // 3 - 1, n % 3 - 1
        expected = torch.zeros(8, 8)
        for i in range(8):
            for j in range(8):
                if 0 <= i + down < 8 and 0 <= j + across < 8:
                    expected[i, j] = x[n, 0, i + down, j + across]
        assert torch.equal(moved[n, 0], expected)


def make_affine_uniforms(
    turn: float = 0, grow: float = 0, lean: float = 0, down: float = 0, across: float = 0
) -> Tensor:
    """Return uniform make_affine_uniforms for which `affine` uses these fractions of its limits."""
    return (torch.tensor([[turn, grow, lean, down, across]]) + 1) / 2


def test_affine_identity_rotation_and_translation() -> None:
    x = DIGITS[:1].float() / 255
    op = affine(degrees=90.0, scale=1.0, shear=0.5, px=2.0)
    torch.testing.assert_close(op.apply(x, make_affine_uniforms()), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        op.apply(x, make_affine_uniforms(turn=1)), x.rot90(1, (2, 3)), rtol=0, atol=1e-4
    )
    moved = op.apply(x, make_affine_uniforms(down=1, across=-0.5))
    torch.testing.assert_close(moved[..., :6, 1:], x[..., 2:, :-1], rtol=0, atol=1e-5)


def test_affine_scale_matches_torchvision() -> None:
    x = DIGITS[:1].float() / 255
    result = affine(degrees=0.0, scale=1.0, shear=0.0, px=0.0).apply(
        x, make_affine_uniforms(grow=-1)
    )
    expected = tvf.affine(x, 0, [0, 0], 2.0, [0.0], InterpolationMode.BILINEAR)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)
