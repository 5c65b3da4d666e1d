from dataclasses import replace

import pytest
import torch

from cnnlab.style.losses import relative_loss
from cnnlab.style.memory_plan import (
    BACKWARD_OVERHEAD,
    BYTES_PER_PIXEL,
    GUIDE_BYTES_PER_PIXEL,
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
from tests.style.test_tiled_loss import make_loss

SIZE = (3000, 4000)
PIXELS = SIZE[0] * SIZE[1]


@pytest.fixture(scope="module")
def loss() -> TransferLoss:
    return make_loss()


def compute_fixed_bytes(loss: TransferLoss, history_size: int) -> float:
    """Return the bytes besides those of a pass."""
    return PIXELS * (
        LIVE_IMAGES * BYTES_PER_PIXEL
        + history_size * HISTORY_BYTES_PER_PIXEL
        + content_bytes_per_pixel(loss)
    )


def test_plan_with_ample_memory_has_the_requested_values(loss: TransferLoss) -> None:
    plan = plan_memory(1 << 50, SIZE, 4000, loss, 20, measure_bytes_per_pixel(loss))
    assert (
        plan is not None
        and (plan.size, plan.history_size) == (SIZE, 20)
        and plan.max_tile_pixels > PIXELS
    )


def test_plan_reduces_tiles_then_history_then_size(loss: TransferLoss) -> None:
    pixel_bytes = measure_bytes_per_pixel(loss)
    tiled = plan_memory(
        int(compute_fixed_bytes(loss, 20) + pixel_bytes * PIXELS / 2),
        SIZE,
        4000,
        loss,
        20,
        measure_bytes_per_pixel(loss),
    )
    assert (
        tiled is not None
        and (tiled.size, tiled.history_size) == (SIZE, 20)
        and tiled.max_tile_pixels == pytest.approx(PIXELS / 2, rel=1e-3)
    )
    short = plan_memory(
        int(compute_fixed_bytes(loss, 10)), SIZE, 4000, loss, 20, measure_bytes_per_pixel(loss)
    )
    assert short is not None and short.size == SIZE and MIN_HISTORY_SIZE <= short.history_size < 10
    small = plan_memory(
        int(compute_fixed_bytes(loss, MIN_HISTORY_SIZE) / 4),
        SIZE,
        4000,
        loss,
        20,
        measure_bytes_per_pixel(loss),
    )
    assert small is not None and small.history_size == MIN_HISTORY_SIZE
    assert 0.2 < small.size[0] * small.size[1] / PIXELS < 0.3 and small.size[0] / small.size[
        1
    ] == pytest.approx(0.75, 0.01)


def test_plan_gives_up_supersampling_before_size(loss: TransferLoss) -> None:
    fine = replace(loss, supersampling=2.0)
    pixel_bytes = measure_bytes_per_pixel(loss)
    plans = {
        share: plan_memory(
            int(share * compute_fixed_bytes(loss, MIN_HISTORY_SIZE)),
            SIZE,
            4000,
            fine,
            20,
            pixel_bytes,
        )
        for share in (0.5, 2.0, 30.0)
    }
    least, some, ample = (plans[share] for share in sorted(plans))
    assert ample and (ample.size, ample.supersampling) == (SIZE, 2.0)
    assert ample.largest_size == (6000, 8000)
    assert some and (some.size, some.supersampling) == (SIZE, 1.0)
    assert least and least.supersampling == 1.0 and least.size[0] < SIZE[0]


def test_plan_is_monotonic_in_memory(loss: TransferLoss) -> None:
    plans = [
        plan_memory(int(1.5**n * 1e3), SIZE, 4000, loss, 20, measure_bytes_per_pixel(loss))
        for n in range(50)
    ]
    sizes = [plan.size[0] if plan else 0 for plan in plans]
    assert (
        sizes == sorted(sizes)
        and sizes[-1] == SIZE[0]
        and plan_memory(0, SIZE, 4000, loss, 20, measure_bytes_per_pixel(loss)) is None
    )
    for plan in plans:
        assert plan is None or plan.max_tile_pixels >= min(
            MIN_TILE_PIXELS, plan.size[0] * plan.size[1]
        )


def test_plan_without_history(loss: TransferLoss) -> None:
    plan = plan_memory(
        int(compute_fixed_bytes(loss, 0) + measure_bytes_per_pixel(loss) * PIXELS * 1.01),
        SIZE,
        4000,
        loss,
        0,
        measure_bytes_per_pixel(loss),
    )
    assert (
        plan is not None
        and (plan.size, plan.history_size) == (SIZE, 0)
        and plan.max_tile_pixels >= PIXELS
    )
    short = plan_memory(1 << 50, SIZE, 4000, loss, 3, measure_bytes_per_pixel(loss))
    assert short is not None and short.history_size == 3  # as requested, below MIN_HISTORY_SIZE


def test_measured_bytes_include_saved_tensors(loss: TransferLoss) -> None:
    """By hand: the image, each convolution's input or output, pooling indices (8 bytes)."""
    measured = measure_bytes_per_pixel(loss) / (1 + BACKWARD_OVERHEAD)
    # x, relu1_1, relu1_2, pool1, relu2_1, relu2_2, pool2, relu3_1
    floats = 3 + 6 + 6 + (6 + 8 + 8) / 4 + (8 + 10) / 16
    minimum = 4 * floats + 8 * (6 / 4 + 8 / 16)
    assert minimum <= measured <= 2 * minimum


def test_bfloat16_needs_less_memory() -> None:
    assert measure_bytes_per_pixel(
        make_loss(encoder=make_loss().encoder.cast_convolutions(torch.bfloat16))
    ) < measure_bytes_per_pixel(make_loss())


def test_evaluation_plan_needs_one_tile_and_no_history(loss: TransferLoss) -> None:
    image_bytes = LIVE_IMAGES_EVALUATING * BYTES_PER_PIXEL + content_bytes_per_pixel(loss)
    fixed_bytes = PIXELS * image_bytes
    pixel_bytes = measure_bytes_per_pixel(loss) / (1 + BACKWARD_OVERHEAD)
    plan = plan_evaluation_memory(
        int(fixed_bytes + pixel_bytes * MIN_TILE_PIXELS * 1.01),
        SIZE,
        loss,
        measure_bytes_per_pixel(loss),
    )
    assert plan is not None and (plan.size, plan.history_size) == (SIZE, 0)
    assert plan.max_tile_pixels == pytest.approx(MIN_TILE_PIXELS * 1.01, rel=1e-3)
    assert (
        plan_evaluation_memory(
            int(fixed_bytes + pixel_bytes * MIN_TILE_PIXELS * 0.99),
            SIZE,
            loss,
            measure_bytes_per_pixel(loss),
        )
        is None
    )
    large = replace(loss, style_sizes=[(9000, 9000)], style_scales=[9.0])
    assert (
        plan_evaluation_memory(
            int(fixed_bytes + pixel_bytes * MIN_TILE_PIXELS * 1.01),
            SIZE,
            large,
            measure_bytes_per_pixel(loss),
        )
        is None
    )


def test_measured_bytes_exclude_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes per pixel do not depend on PROBE_SIDE, though a wide network is mostly weights."""
    wide = VGGFeatures(
        init_random_vgg(conv_channels((1, 1, 1), (8, 16, 512)), torch.Generator().manual_seed(0)),
        TORCHVISION_CONVENTION,
    )
    spec = relative_loss(
        strength=0.5, color_weight=0.0, layers=["relu1_1", "relu2_1"], content_layer="relu3_1"
    )
    floats = 3 + 8 + 8 / 4 + 16 / 4 + 16 / 16 + 512 / 16
    minimum = 4 * floats + 8 * (8 / 4 + 16 / 16)
    measured = measure_bytes_per_pixel(make_loss(encoder=wide, spec=spec)) / (1 + BACKWARD_OVERHEAD)
    assert minimum <= measured <= 2 * minimum
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr("cnnlab.style.memory_plan.PROBE_SIDE", 128)
        expected = measure_bytes_per_pixel(
            make_loss(encoder=wide.cast_convolutions(dtype), spec=spec)
        )
        monkeypatch.setattr("cnnlab.style.memory_plan.PROBE_SIDE", 256)
        assert measure_bytes_per_pixel(
            make_loss(encoder=wide.cast_convolutions(dtype), spec=spec)
        ) == pytest.approx(expected, rel=0.01)


def test_masks_and_factors_of_content_need_memory(loss: TransferLoss) -> None:
    def mask(size: tuple[int, int]) -> torch.Tensor:
        return torch.ones(1, 1, *size)

    guided = replace(loss, masks=mask, content_factors=mask)
    extra = content_bytes_per_pixel(guided) - content_bytes_per_pixel(loss)
    assert extra == 3 * GUIDE_BYTES_PER_PIXEL  # a mask, the content image that it keeps, factors
    pass_bytes = measure_bytes_per_pixel(loss)
    assert pass_bytes < measure_bytes_per_pixel(guided) < 1.5 * pass_bytes
