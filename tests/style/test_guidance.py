"""Masks and factors of content: their weights, and what they make of the losses."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from cnnlab.style.canvas import canvas_size, extend_to_canvas
from cnnlab.style.color_statistics import (
    color_divergence,
    make_color_target,
    measure_color_moments,
)
from cnnlab.style.gram import gram_matrix
from cnnlab.style.guidance import make_guidance
from cnnlab.style.losses import (
    LossSpec,
    chapter_loss,
    relative_loss,
    wasserstein_loss,
)
from cnnlab.style.mask_image import make_content_factors, read_mask_image
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import TransferLoss
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.transfer import transfer_style
from cnnlab.style.wasserstein import moment_matrix
from tests.style.test_tiled_loss import RecordOperations, make_loss

SIZE = (32, 40)
LAYERS = ["relu1_1", "relu2_1", "relu3_1"]
KEYS = {"layers": LAYERS, "content_layer": "relu2_2"}
RELATIVE = relative_loss(strength=0.8, color_weight=0.1, **KEYS)  # type: ignore[arg-type]
WASSERSTEIN = wasserstein_loss(
    strength=0.8,
    color_weight=0.1,
    block_weights=[1.0, 2.0, 3.0, 0.0, 0.0],
    **KEYS,  # type: ignore[arg-type]
)
SPECS = [RELATIVE, WASSERSTEIN, chapter_loss(ratio=1e-3, **KEYS)]  # type: ignore[arg-type]
PER_STYLE = ("styles", "style_sizes", "style_scales", "style_weights")
NAMES = ["relative", "wasserstein", "chapter"]


def double_loss(**changes: object) -> TransferLoss:
    """The loss of `make_loss` in float64."""
    loss = make_loss(**changes)
    content, styles = loss.content, loss.styles
    return replace(
        loss,
        encoder=loss.encoder.double(),
        content=lambda size: content(size).double(),
        styles=[lambda size, style=style: style(size).double() for style in styles],  # type: ignore[misc]
    )


def two_styles(**changes: object) -> TransferLoss:
    loss = double_loss()
    return replace(
        loss,
        styles=[*loss.styles, lambda size: loss.styles[0](size).flip(1)],
        style_sizes=[SIZE, SIZE],
        style_scales=[1.0, 1.0],
        style_weights=[1.0, 1.0],
        **changes,  # type: ignore[arg-type]
    )


def fill(gray: float) -> Callable[[Size], Tensor]:
    """Return size -> a mask of one gray."""
    return lambda size: torch.full((1, 1, *size), gray, dtype=torch.float64)


def halves(size: Size, *, edge: int, soft: int = 0) -> Tensor:
    """Return two masks, left and right of a column; `soft`: columns of a ramp between them."""
    columns = torch.arange(size[1], dtype=torch.float64)
    left = ((edge + soft / 2 - columns - 0.5) / soft if soft else columns < edge).clamp(0, 1)
    mask = left.double().expand(1, 1, *size)
    return torch.cat([mask, 1 - mask])


def left_half(size: Size) -> Tensor:
    return halves(size, edge=size[1] // 2)[:1].float()


def ramp(size: Size) -> Tensor:
    return torch.linspace(1, 9, size[0], dtype=torch.float64)[:, None].expand(1, 1, *size)


def noisy_content(loss: TransferLoss) -> Tensor:
    g = torch.Generator().manual_seed(2)
    noise = torch.rand(1, 3, *SIZE, generator=g, dtype=torch.float64)
    return (loss.content(SIZE) + 0.2 * noise).clamp(0, 1)


def evaluate(loss: TransferLoss, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
    x = noisy_content(loss) if x is None else x
    return loss.make_loss_function(loss.make_objective(SIZE))(x)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_white_mask_equals_none(spec: LossSpec) -> None:
    loss = two_styles(spec=spec)
    white = replace(loss, masks=fill(1.0))
    for a, b in zip(evaluate(loss), evaluate(white), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_uniform_gray_scales_the_weight_of_style_and_the_way_from_content(spec: LossSpec) -> None:
    gray = 0.3
    masked = double_loss(spec=spec, masks=fill(gray))
    plain = double_loss(spec=replace(spec, style_weight=gray * spec.style_weight))
    x = noisy_content(masked)
    terms, gradient = evaluate(masked, x)
    mixed = (1 - gray) * masked.content(SIZE) + gray * x
    expected_terms, expected_gradient = evaluate(plain, mixed)
    torch.testing.assert_close(terms, expected_terms, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(gradient, expected_gradient * gray, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_statistics_of_a_region_are_those_of_its_positions_alone(spec: LossSpec) -> None:
    """Against an oracle: the maps are cut at the masks' edge, which all strides divide."""
    loss = two_styles(spec=spec, masks=partial(halves, edge=16))
    x = noisy_content(loss)
    _, *sums = loss.compute_sums(loss.make_objective(SIZE), x)
    (tile,) = loss.make_tiles(SIZE)
    maps = loss.compute_feature_maps(x, tile)
    for i, name in enumerate(LAYERS):
        for region, columns in enumerate((slice(16 // 2**i), slice(16 // 2**i, None))):
            expected = spec.statistic.measure(maps[name][..., columns], None, None)
            torch.testing.assert_close(sums[region * len(LAYERS) + i], expected)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_loss_of_regions_is_that_of_each_weighted_by_its_share(spec: LossSpec) -> None:
    loss = two_styles(spec=spec, masks=partial(halves, edge=16))
    x = noisy_content(loss)
    both, _ = evaluate(loss, x)
    content, *matrices = loss.compute_sums(loss.make_objective(SIZE), x)
    total = torch.zeros_like(both)
    for number, share in enumerate((0.4, 0.6)):
        alone = replace(
            loss,
            masks=lambda size, number=number: halves(size, edge=16)[[number]],
            style_cache={},
            **{key: getattr(loss, key)[number : number + 1] for key in PER_STYLE},
        )
        objective = alone.make_objective(SIZE)
        assert objective.spec.style_weight == pytest.approx(share * spec.style_weight)
        sums = [content, *matrices[number * len(LAYERS) :][: len(LAYERS)]]
        total += share * objective.compute_terms(sums, x)
    torch.testing.assert_close(both[1:], total[1:])


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_tiles_give_the_loss_and_the_gradient_of_the_whole(spec: LossSpec) -> None:
    margin = 3
    keys = {"masks": partial(halves, edge=19, soft=4), "content_factors": ramp}
    untiled = two_styles(spec=spec, margin=margin, **keys)
    tiled = replace(untiled, max_tile_pixels=1100, style_cache={})
    canvas = extend_to_canvas(noisy_content(untiled), margin)
    assert len(tiled.make_tiles(canvas_size(SIZE, margin))) > 1
    for a, b in zip(evaluate(untiled, canvas), evaluate(tiled, canvas), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("measure", [gram_matrix, moment_matrix])
def test_weighted_matrices_are_those_of_repeated_positions(
    measure: Callable[..., Tensor],
) -> None:
    g = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 3, 2, 4, generator=g, dtype=torch.float64)
    counts = torch.tensor([1, 0, 2, 3, 1, 1, 0, 2])
    weights = (counts / counts.sum(dtype=torch.float64)).view(1, 2, 4)
    repeated = maps.flatten(2).repeat_interleave(counts, 2).unsqueeze(2)
    torch.testing.assert_close(measure(maps, None, weights), measure(repeated))
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: measure(maps, None, weights), maps)


def test_weighted_color_moments_are_those_of_repeated_pixels() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 4, 5, generator=g, dtype=torch.float64)
    counts = torch.randint(0, 3, (20,), generator=g)
    repeated = x.flatten(2).repeat_interleave(counts, 2).unsqueeze(2)
    weights = (counts / counts.sum(dtype=torch.float64)).view(1, 1, 4, 5)
    a, b = measure_color_moments(x, weights), measure_color_moments(repeated)
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.covariance, b.covariance)
    target = make_color_target(measure_color_moments(x.flip(1)))
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: color_divergence(x, target, weights), x)


@pytest.mark.parametrize("gray", [0.0, 0.4, 1.0])
def test_uniform_content_factors_equal_none(gray: float, tmp_path: Path) -> None:
    Image.new("L", (40, 32), round(gray * 255)).save(tmp_path / "map.png")
    image = read_mask_image(str(tmp_path / "map.png"), 10_000)
    factors = make_content_factors(image, 50.0, torch.device("cpu"))
    assert factors is not None and torch.equal(factors(SIZE), torch.ones(1, 1, *SIZE))
    loss = double_loss()
    uniform = replace(loss, content_factors=fill(1.0))
    for a, b in zip(evaluate(loss), evaluate(uniform), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def test_content_factors_multiply_the_distance_of_their_positions() -> None:
    loss = double_loss()
    factors = replace(loss, content_factors=lambda size: 1 + 9 * halves(size, edge=16)[:1])
    x = noisy_content(loss)
    plain, weighted = (a.compute_sums(a.make_objective(SIZE), x)[0] for a in (loss, factors))
    (tile,) = loss.make_tiles(SIZE)
    maps = [loss.compute_feature_maps(image, tile) for image in (x, loss.content(SIZE))]
    left = (maps[0]["relu2_2"] - maps[1]["relu2_2"])[..., :8].square().sum()
    torch.testing.assert_close(weighted, plain + 9 * left)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("margin", [0, 3])
def test_content_is_kept_where_all_masks_are_black(optimizer: str, margin: int) -> None:
    loss = replace(make_loss(margin=margin), masks=left_half)
    settings = {
        "lbfgs": {"history_size": 5},
        "adam": {"lr": 0.05, "betas": [0.9, 0.99], "ema_decay": 0.9},
    }
    sizes = [(22, 28), SIZE]
    make_optimizer = partial(IMAGE_OPTIMIZERS[optimizer], **settings[optimizer])
    budget = TransferBudget(sizes, [3, 3], [1.0, 1.0], margin=margin)
    for state in transfer_style(
        loss, lambda size: torch.zeros(1, 3, *size), make_optimizer, budget
    ):
        content = loss.content(state.size)
        columns = slice(state.size[1] // 2, None)
        assert torch.equal(state.image[..., columns], content[..., columns])
        assert not torch.equal(state.image, content)


def test_overlapping_masks_share_a_pixel() -> None:
    masks = torch.tensor([1.0, 1.0, 0.5, 0.0]).view(1, 1, 2, 2)
    others = torch.tensor([1.0, 0.0, 0.5, 0.0]).view(1, 1, 2, 2)
    guidance = make_guidance(torch.cat([masks, others]), None)
    assert guidance.style is not None and guidance.gray is not None
    assert guidance.style[0].flatten().tolist() == [0.5, 1.0, 0.5, 0.0]
    assert guidance.style[1].flatten().tolist() == [0.5, 0.0, 0.5, 0.0]
    assert guidance.gray.flatten().tolist() == [1.0, 1.0, 1.0, 0.0]
    torch.testing.assert_close(guidance.shares, torch.tensor([2 / 3, 1 / 3]))


@pytest.mark.parametrize("wrap", [False, True])
def test_loss_of_regions_copies_no_numbers_to_the_device(wrap: bool) -> None:
    """The host would wait for a GPU at each of them."""
    transfer_loss = two_styles(max_tile_pixels=1100, wrap=wrap, content_factors=ramp)
    transfer_loss = replace(transfer_loss, masks=partial(halves, edge=19, soft=4))
    loss = transfer_loss.make_loss_function(transfer_loss.make_objective(SIZE))
    x = noisy_content(transfer_loss)
    loss(x)
    with RecordOperations() as operations:
        loss(x)
    waits = {"aten.lift_fresh.default", "aten._local_scalar_dense.default"}
    assert "aten.mm.default" in operations.names and not waits & set(operations.names)


def test_region_that_vanishes_at_a_coarse_scale_has_a_finite_loss() -> None:
    for spec in SPECS:
        loss = two_styles(spec=spec, masks=partial(halves, edge=0))
        terms, gradient = evaluate(loss)
        assert terms.isfinite().all() and gradient.isfinite().all()
        black = replace(double_loss(spec=spec), masks=fill(0.0))
        terms, gradient = evaluate(black)
        assert terms.isfinite().all() and not gradient.any()
