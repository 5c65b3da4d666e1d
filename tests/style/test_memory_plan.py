from dataclasses import replace

import pytest
import torch

from cnnlab.style.losses import relative_loss
from cnnlab.style.memory_plan import (
    BACKWARD_OVERHEAD,
    BYTES_PER_PIXEL,
    HISTORY_BYTES_PER_PIXEL,
    LIVE_IMAGES,
    LIVE_IMAGES_EVALUATING,
    MIN_HISTORY_SIZE,
    MIN_TILE_PIXELS,
    content_bytes_per_pixel,
    measure_bytes_per_pixel,
    plan_evaluation_memory,
    plan_memory,
)
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.vgg import TORCHVISION_CONVENTION, VGGFeatures, conv_channels, init_random_vgg
from tests.style.test_tiled_loss import easel

SIZE = (3000, 4000)
PIXELS = SIZE[0] * SIZE[1]


@pytest.fixture(scope="module")
def made() -> TransferLoss:
    return easel()


def needed(made: TransferLoss, past: int) -> float:
    """Bytes beside what is looked at."""
    return PIXELS * (
        LIVE_IMAGES * BYTES_PER_PIXEL
        + past * HISTORY_BYTES_PER_PIXEL
        + content_bytes_per_pixel(made)
    )


def test_plan_with_ample_memory_reduces_nothing(made: TransferLoss) -> None:
    found = plan_memory(1 << 50, SIZE, 4000, made, 20, measure_bytes_per_pixel(made))
    assert (
        found is not None
        and (found.size, found.history_size) == (SIZE, 20)
        and found.max_tile_pixels > PIXELS
    )


def test_plan_reduces_tiles_then_history_then_size(made: TransferLoss) -> None:
    each = measure_bytes_per_pixel(made)
    cut = plan_memory(
        int(needed(made, 20) + each * PIXELS / 2),
        SIZE,
        4000,
        made,
        20,
        measure_bytes_per_pixel(made),
    )
    assert (
        cut is not None
        and (cut.size, cut.history_size) == (SIZE, 20)
        and cut.max_tile_pixels == pytest.approx(PIXELS / 2, rel=1e-3)
    )
    forgetful = plan_memory(
        int(needed(made, 10)), SIZE, 4000, made, 20, measure_bytes_per_pixel(made)
    )
    assert (
        forgetful is not None
        and forgetful.size == SIZE
        and MIN_HISTORY_SIZE <= forgetful.history_size < 10
    )
    small = plan_memory(
        int(needed(made, MIN_HISTORY_SIZE) / 4), SIZE, 4000, made, 20, measure_bytes_per_pixel(made)
    )
    assert small is not None and small.history_size == MIN_HISTORY_SIZE
    assert 0.2 < small.size[0] * small.size[1] / PIXELS < 0.3 and small.size[0] / small.size[
        1
    ] == pytest.approx(0.75, 0.01)


def test_plan_is_monotonic_in_memory(made: TransferLoss) -> None:
    found = [
        plan_memory(int(1.5**n * 1e3), SIZE, 4000, made, 20, measure_bytes_per_pixel(made))
        for n in range(50)
    ]
    sizes = [one.size[0] if one else 0 for one in found]
    assert (
        sizes == sorted(sizes)
        and sizes[-1] == SIZE[0]
        and plan_memory(0, SIZE, 4000, made, 20, measure_bytes_per_pixel(made)) is None
    )
    for one in found:
        assert one is None or one.max_tile_pixels >= min(MIN_TILE_PIXELS, one.size[0] * one.size[1])


def test_plan_without_history(made: TransferLoss) -> None:
    found = plan_memory(
        int(needed(made, 0) + measure_bytes_per_pixel(made) * PIXELS * 1.01),
        SIZE,
        4000,
        made,
        0,
        measure_bytes_per_pixel(made),
    )
    assert (
        found is not None
        and (found.size, found.history_size) == (SIZE, 0)
        and found.max_tile_pixels >= PIXELS
    )
    assert (
        plan_memory(1 << 50, SIZE, 4000, made, 3, measure_bytes_per_pixel(made)).history_size == 3
    )  # type: ignore[union-attr]  (what was asked for, below FEW)


def test_measured_bytes_include_saved_tensors(made: TransferLoss) -> None:
    """By hand: what each convolution is given or gives, each pooling its indices (8 bytes), and the picture."""
    counted = measure_bytes_per_pixel(made) / (1 + BACKWARD_OVERHEAD)
    floats = (
        3 + 6 + 6 + (6 + 8 + 8) / 4 + (8 + 10) / 16
    )  # x, relu1_1, relu1_2, pool1, relu2_1, relu2_2, pool2, relu3_1
    least = 4 * floats + 8 * (6 / 4 + 8 / 16)
    assert least <= counted <= 2 * least


def test_bfloat16_needs_less_memory() -> None:
    assert measure_bytes_per_pixel(easel(dtype=torch.bfloat16)) < measure_bytes_per_pixel(easel())


def test_evaluation_plan_needs_one_tile_and_no_history(made: TransferLoss) -> None:
    beside, each = (
        PIXELS * (LIVE_IMAGES_EVALUATING * BYTES_PER_PIXEL + content_bytes_per_pixel(made)),
        measure_bytes_per_pixel(made) / (1 + BACKWARD_OVERHEAD),
    )
    found = plan_evaluation_memory(
        int(beside + each * MIN_TILE_PIXELS * 1.01), SIZE, made, measure_bytes_per_pixel(made)
    )
    assert found is not None and (found.size, found.history_size) == (SIZE, 0)
    assert found.max_tile_pixels == pytest.approx(MIN_TILE_PIXELS * 1.01, rel=1e-3)
    assert (
        plan_evaluation_memory(
            int(beside + each * MIN_TILE_PIXELS * 0.99), SIZE, made, measure_bytes_per_pixel(made)
        )
        is None
    )
    large = replace(made, style_sizes=[(9000, 9000)], style_scale=9.0)
    assert (
        plan_evaluation_memory(
            int(beside + each * MIN_TILE_PIXELS * 1.01), SIZE, large, measure_bytes_per_pixel(made)
        )
        is None
    )


def test_measured_bytes_exclude_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the pixels to try on, and the same bytes for each; a network as wide as VGG-19 is mostly weights."""
    wide = VGGFeatures(
        init_random_vgg(conv_channels((1, 1, 1), (8, 16, 512)), torch.Generator().manual_seed(0)),
        TORCHVISION_CONVENTION,
    )
    aim = relative_loss(strength=0.5, layers=["relu1_1", "relu2_1"], content_layer="relu3_1")
    floats = 3 + 8 + 8 / 4 + 16 / 4 + 16 / 16 + 512 / 16
    least = 4 * floats + 8 * (8 / 4 + 16 / 16)
    counted = measure_bytes_per_pixel(easel(encoder=wide, spec=aim)) / (1 + BACKWARD_OVERHEAD)
    assert least <= counted <= 2 * least
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr("cnnlab.style.memory_plan.PROBE_SIDE", 128)
        once = measure_bytes_per_pixel(easel(encoder=wide, spec=aim, dtype=dtype))
        monkeypatch.setattr("cnnlab.style.memory_plan.PROBE_SIDE", 256)
        assert measure_bytes_per_pixel(easel(encoder=wide, spec=aim, dtype=dtype)) == pytest.approx(
            once, rel=0.01
        )
