import colorsys
import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision.transforms import functional as tvf

from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.operation import Op
from cnnlab.data.photometric import brightness, contrast, hue, normalize, saturation, whiten
from cnnlab.data.sources import cifar10

NONE = torch.empty(0)
EXACT = {"rtol": 0, "atol": 1e-5}
cifar10_once = functools.cache(cifar10)


@functools.cache
def photographs() -> Tensor:
    """(8, 3, 32, 32) uint8: crops of the two photographs that come with scikit-learn."""
    folder = Path(find_spec("sklearn").submodule_search_locations[0]) / "datasets" / "images"  # type: ignore
    both = [
        np.asarray(Image.open(folder / f"{name}.jpg").convert("RGB"))
        for name in ("china", "flower")
    ]
    crops = [
        photo[row : row + 32, column : column + 32]
        for photo in both
        for row in (60, 200)
        for column in (90, 300)
    ]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


@pytest.fixture(params=["photographs", pytest.param("cifar10", marks=pytest.mark.data)])
def images(request: pytest.FixtureRequest) -> Tensor:
    """(8, 3, 32, 32) uint8 photographs."""
    if request.param == "photographs":
        return photographs()
    return cifar10_once("test", root=str(request.getfixturevalue("real_data"))).images[:8]


def apply(op: Op, x: Tensor, u: Tensor = NONE) -> Tensor:
    """Return the result of an operation on uint8 images, which it cannot overwrite."""
    return op.apply(x.float() / 255, u)


def to_float64(x: Tensor) -> np.ndarray:
    """Return uint8 images as NumPy float64 in [0, 1]."""
    return x.numpy().astype(np.float64) / 255


def make_uniforms(count: int) -> Tensor:
    """Return (count, 1) uniform numbers."""
    return torch.rand(count, 1, generator=torch.Generator().manual_seed(count))


def test_normalize_matches_torchvision(images: Tensor) -> None:
    mean, std = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
    expected = tvf.normalize(images.float() / 255, mean, std)
    torch.testing.assert_close(
        apply(normalize(mean=mean, std=std), images), expected, rtol=1e-6, atol=1e-6
    )


def test_whiten_matches_tensorflow_formula(images: Tensor) -> None:
    nearly_flat = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    nearly_flat[0, 0, 5, 5] = 78  # a deviation below the floor of 1 / sqrt(n)
    nearly_flat[1, 0, 5, 5] = 90  # and above
    x = torch.cat((images, nearly_flat))
    levels = x.numpy().astype(np.float64).reshape(len(x), -1)
    floor = 1 / np.sqrt(levels.shape[1])
    expected = (levels - levels.mean(1, keepdims=True)) / np.maximum(
        levels.std(1, keepdims=True), floor
    )
    result = apply(whiten(), x).flatten(1)
    torch.testing.assert_close(result, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 24, 24), (1, 28, 28), (3, 64, 64), (1, 1, 1)])
def test_flat_images_whiten_to_zeros(shape: tuple[int, int, int]) -> None:
    """Rounding errors of the mean of many equal values once gave up to 0.01."""
    grays = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *shape)
    assert not Pipeline({"whiten": {}}, "augment.eval")(grays).any()


def test_brightness_and_contrast_match_tensorflow_formulas(images: Tensor) -> None:
    u, x = make_uniforms(8), to_float64(images)
    share = u.double().numpy().reshape(-1, 1, 1, 1)
    brighter = x + (2 * share - 1) * 63 / 255
    torch.testing.assert_close(
        apply(brightness(levels=63), images, u), torch.from_numpy(brighter).float(), **EXACT
    )
    mean = x.mean((2, 3), keepdims=True)
    higher_contrast = mean + (x - mean) * (0.2 + 1.6 * share)
    result = apply(contrast(lower=0.2, upper=1.8), images, u)
    torch.testing.assert_close(result, torch.from_numpy(higher_contrast).float(), **EXACT)


def through_hsv(
    x: Tensor, change: Callable[[float, float, float, int], tuple[float, float, float]]
) -> Tensor:
    """Convert every pixel to HSV and back by Python's colorsys.

    `change` maps hue, saturation, value and the image's index to new ones.
    """
    pixels = to_float64(x).transpose(0, 2, 3, 1)
    changed = [
        [
            colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*rgb), n))
            for rgb in image.reshape(-1, 3)
        ]
        for n, image in enumerate(pixels)
    ]
    return (
        torch.tensor(changed, dtype=torch.float32).view(len(x), *x.shape[2:], 3).permute(0, 3, 1, 2)
    )


def add_color_cube(images: Tensor) -> Tensor:
    """Return some pixels of each image, and all corners, edges and grays of the color cube."""
    cube = (
        torch.cartesian_prod(*[torch.tensor([0, 100, 255], dtype=torch.uint8)] * 3)
        .t()
        .view(1, 3, 3, 9)
    )
    return torch.cat((images[:, :, ::10, ::3][:, :, :3, :9], cube.expand(3, -1, -1, -1)))


def test_saturation_matches_colorsys_and_is_at_most_one(images: Tensor) -> None:
    x = add_color_cube(images)
    factors = (3 * make_uniforms(len(x))).flatten().tolist()
    expected = through_hsv(x, lambda h, s, v, n: (h, min(1, s * factors[n]), v))
    result = apply(saturation(lower=0.0, upper=3.0), x, make_uniforms(len(x)))
    torch.testing.assert_close(result, expected, **EXACT)


def test_hue_matches_colorsys_and_torchvision(images: Tensor) -> None:
    x = add_color_cube(images)
    u = make_uniforms(len(x))
    turns = (u - 0.5).flatten().tolist()
    result = apply(hue(turns=0.5), x, u)
    expected = through_hsv(x, lambda h, s, v, n: ((h + turns[n]) % 1, s, v))
    torch.testing.assert_close(result, expected, **EXACT)
    torchvision_images = [
        tvf.adjust_hue(image / 255, turn) for image, turn in zip(x.float(), turns, strict=True)
    ]
    torch.testing.assert_close(result, torch.stack(torchvision_images), **EXACT)


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_saturation_and_hue_are_finite_outside_0_1(name: str) -> None:
    op = {"saturation": saturation(lower=0.0, upper=5.0), "hue": hue(turns=0.5)}[name]
    x = torch.cat([add_color_cube(photographs()).float() / 255 + by for by in (-2, -0.5, 0.5)])
    changed = op.apply(x.clone(), make_uniforms(len(x)))
    assert changed.isfinite().all()
    torch.testing.assert_close(changed.amax(1), x.amax(1))  # the value V does not change


def chroma(x: Tensor) -> Tensor:
    return x.amax(1) - x.amin(1)


@pytest.mark.parametrize(
    ("spec", "measure", "low", "high"),
    [
        ({"brightness": {"levels": 63}}, lambda x: x[:, 0, 0, 0] - 0.6, -63 / 255, 63 / 255),
        (
            {"contrast": {"lower": 0.2, "upper": 1.8}},
            lambda x: (x[:, 0, 0, 1] - x[:, 0, 0, 0]) / 0.2,
            0.2,
            1.8,
        ),
        (
            {"saturation": {"lower": 0.5, "upper": 1.5}},
            lambda x: chroma(x)[:, 0, 0] / 0.4,
            0.5,
            1.5,
        ),
        ({"hue": {"turns": 0.1}}, lambda x: (x[:, 1] - x[:, 2])[:, 0, 0] / 2.4, -0.1, 0.1),
    ],
)
def test_factors_are_uniform_between_bounds(
    spec: dict[str, dict[str, float]], measure: Callable[[Tensor], Tensor], low: float, high: float
) -> None:
    """On an image of two reddish pixels, from which the factors can be computed."""
    image = torch.tensor([[153, 204], [51, 102], [51, 102]], dtype=torch.uint8).view(1, 3, 1, 2)
    x = Pipeline(spec, "augment.train")(
        image.expand(5000, -1, -1, -1), CounterRNG(5, 0, torch.arange(5000))
    )
    factors = measure(x).double().numpy()
    assert low - 1e-5 <= factors.min() and factors.max() <= high + 1e-5
    assert stats.kstest(factors, "uniform", (low, high - low)).pvalue > 1e-3


def test_whiten_undoes_brightness_and_most_of_contrast(images: Tensor) -> None:
    """The chapter's pipeline whitens last.

    Whitening removes a number added to all pixels with the mean. It would remove a contrast factor
    about the image's mean with the deviation, but TensorFlow's factor is about each channel's mean:
    the differences of the channel means stay, and weigh more at low contrast. A factor of 0.2 to
    1.8 changes a pixel by 0.46 deviations (root mean square); whitening leaves 0.13 of them here,
    0.18 in the first images of CIFAR-10.
    """
    rng, x = CounterRNG(1, 0, torch.arange(800)), images.repeat(100, 1, 1, 1)
    plain, brighter, higher_contrast = (
        Pipeline(before | {"whiten": {}}, "augment.train")(x, rng)
        for before in (
            {},
            {"brightness": {"levels": 63}},
            {"contrast": {"lower": 0.2, "upper": 1.8}},
        )
    )
    assert (brighter - plain).abs().max() < 1e-5
    assert 0.05 < (higher_contrast - plain).square().mean().sqrt() < 0.3
