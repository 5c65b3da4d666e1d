import functools

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms import functional as theirs

from cnnlab.data import geometric
from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.geometric import (
    affine,
    alternating_flip,
    center_crop,
    crop,
    cutout,
    randaugment,
    shift,
    views,
)
from cnnlab.data.operation import Op
from cnnlab.data.sources import cifar10, digits

DIGITS = digits("train", root=None).images[:9]
NONE = torch.empty(0)
cifar10_once = functools.cache(cifar10)


@pytest.fixture(params=["noise", pytest.param("cifar10", marks=pytest.mark.data)])
def pictures(request: pytest.FixtureRequest) -> Tensor:
    """(8, 3, 32, 30) uint8: noise, and of CIFAR-10's first test pictures all but two columns."""
    if request.param == "noise":
        return torch.randint(
            0, 256, (8, 3, 32, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
    return cifar10_once("test", root=str(request.getfixturevalue("real_data"))).images[
        :8, :, :, :30
    ]


def grid(rows: int, columns: int) -> Tensor:
    """Two uniform numbers for each place of a grid, in reading order."""
    return (torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) + 0.5) / torch.tensor(
        [rows, columns]
    )


@pytest.mark.parametrize(
    ("size", "padding", "mode", "theirs_mode"),
    [
        (24, 0, "zeros", "constant"),
        (28, 3, "zeros", "constant"),
        (30, 4, "reflect", "reflect"),
        (1, 0, "zeros", ""),
    ],
)
def test_crop_matches_torchvision_at_every_position(
    size: int, padding: int, mode: str, theirs_mode: str, pictures: Tensor
) -> None:
    padded = theirs.pad(pictures, padding, padding_mode=theirs_mode) if padding else pictures
    rows, columns = (pixels - size + 1 for pixels in padded.shape[2:])
    op = crop(size=size, padding=padding, mode=mode)  # type: ignore[arg-type]
    for n in (0, 5):
        ours = op.apply(pictures[n : n + 1].expand(rows * columns, -1, -1, -1), grid(rows, columns))
        every = [
            theirs.crop(padded[n], i, j, size, size) for i in range(rows) for j in range(columns)
        ]
        assert torch.equal(ours, torch.stack(every))


def test_crop_positions_are_uniform_and_flip_has_its_probability() -> None:
    numbered = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5).expand(20_000, -1, -1, -1)
    draws = CounterRNG(3, 0, torch.arange(20_000))
    pipeline = Pipeline({"crop": {"size": 1, "padding": 0, "mode": "zeros"}}, "augment.train")
    found = pipeline(numbered, draws).mul(255).round().long().flatten()
    assert stats.chisquare(found.bincount(minlength=20).numpy()).pvalue > 1e-3
    flipped = (
        Pipeline({"flip_left_right": {"probability": 0.3}}, "augment.train")(numbered, draws)[
            :, 0, 0, 0
        ]
        > 0
    )
    assert stats.binomtest(int(flipped.sum()), 20_000, 0.3).pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([flipped.float(), found.float()]))[0, 1]) < 0.03


def test_center_crop_matches_torchvision_and_tensorflow_at_odd_margins(
    pictures: Tensor,
) -> None:
    assert torch.equal(
        center_crop(size=24).apply(pictures, NONE), theirs.center_crop(pictures, [24, 24])
    )
    assert torch.equal(center_crop(size=25).apply(pictures, NONE), pictures[:, :, 3:28, 2:27])


def test_views_match_torchvision_crops_and_flips(
    pictures: Tensor,
) -> None:
    found = views(size=24, padding=0, mode="zeros", grid=3, mirror=True).apply(pictures, NONE)
    of_one = found.view(len(pictures), 18, 3, 24, 24)
    for ours, one in zip((0, 2, 6, 8, 4), theirs.five_crop(pictures, [24, 24]), strict=True):
        assert torch.equal(of_one[:, ours], one)
    for number, (top, left) in enumerate((t, s) for t in (0, 4, 8) for s in (0, 3, 6)):
        assert torch.equal(of_one[:, number], theirs.crop(pictures, top, left, 24, 24))
    assert torch.equal(of_one[:, 9:], theirs.hflip(of_one[:, :9]))
    alone = views(size=24, padding=0, mode="zeros", grid=1, mirror=False)
    assert torch.equal(alone.apply(pictures, NONE), theirs.center_crop(pictures, [24, 24]))
    assert (
        alone.num_views,
        views(size=24, padding=0, mode="zeros", grid=3, mirror=True).num_views,
    ) == (1, 18)


@pytest.mark.parametrize("name", ["flip_left_right", "flip_up_down", "transpose"])
def test_flips_match_torchvision_and_are_involutions(name: str, pictures: Tensor) -> None:
    op: Op = getattr(geometric, name)()
    square = pictures[:, :, 1:31]
    oracle = {
        "flip_left_right": theirs.hflip,
        "flip_up_down": theirs.vflip,
        "transpose": lambda x: theirs.rotate(theirs.hflip(x), 90),
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
def test_cutout_matches_torchvision_erase(size: int, pictures: Tensor) -> None:
    op, u = cutout(size=size, fill=0.4), grid(32, 30)[::7]
    ours = op.apply(pictures[:1].expand(len(u), -1, -1, -1), u)
    for found, (row, column) in zip(
        ours, (u * torch.tensor([32, 30])).long().tolist(), strict=True
    ):
        top, left = row - size // 2, column - size // 2
        first, second = max(top, 0), max(left, 0)
        value = torch.tensor([102], dtype=torch.uint8).view(1, 1, 1)
        assert torch.equal(
            found,
            theirs.erase(
                pictures[0], first, second, top + size - first, left + size - second, value
            ),
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


def numbers(
    turn: float = 0, grow: float = 0, lean: float = 0, down: float = 0, across: float = 0
) -> Tensor:
    """Uniform numbers that make `affine` take these shares of its limits."""
    return (torch.tensor([[turn, grow, lean, down, across]]) + 1) / 2


def test_affine_identity_rotation_and_translation() -> None:
    x = DIGITS[:1].float() / 255
    op = affine(degrees=90.0, scale=1.0, shear=0.5, px=2.0)
    torch.testing.assert_close(op.apply(x, numbers()), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(op.apply(x, numbers(turn=1)), x.rot90(1, (2, 3)), rtol=0, atol=1e-4)
    moved = op.apply(x, numbers(down=1, across=-0.5))
    torch.testing.assert_close(moved[..., :6, 1:], x[..., 2:, :-1], rtol=0, atol=1e-5)


def test_affine_scale_matches_torchvision() -> None:
    x = DIGITS[:1].float() / 255
    ours = affine(degrees=0.0, scale=1.0, shear=0.0, px=0.0).apply(x, numbers(grow=-1))
    expected = theirs.affine(x, 0, [0, 0], 2.0, [0.0], InterpolationMode.BILINEAR)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_randaugment_matches_torchvision_for_same_seed(pictures: Tensor) -> None:
    several = pictures.repeat(4, 1, 1, 1)
    u = torch.rand(len(several), 1, generator=torch.Generator().manual_seed(4))
    ours = randaugment(num_ops=2, magnitude=9).apply(several, u)
    transform = RandAugment(2, 9)
    for n in range(len(several)):
        torch.manual_seed(int(u[n] * 2**24))
        assert torch.equal(ours[n], transform(several[n]))


def test_randaugment_restores_global_rng_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The GPU's too, which dropout draws from: `torch.manual_seed` reseeds them, and `fork_rng` puts back the CPU's."""

    def reseeded(seed: int) -> None:
        raise AssertionError("the GPU's generators were reseeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded)
    before = torch.get_rng_state()
    randaugment(num_ops=1, magnitude=9).apply(
        DIGITS, torch.rand(9, 1, generator=torch.Generator().manual_seed(1))
    )
    assert torch.equal(torch.get_rng_state(), before)
