from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cnnlab.style.color_statistics import (
    color_divergence,
    make_color_target,
    measure_color_moments,
)
from cnnlab.style.gram import gram_matrix
from cnnlab.style.loss_scales import (
    TransferTargets,
    mean_pair_distance,
    measure_feature_spread,
    raw_scales,
    relative_scales,
)
from cnnlab.style.losses import (
    LossSpec,
    Objective,
    blend_grams,
    chapter_loss,
    relative_loss,
    strength_weights,
    total_variation,
    wasserstein_loss,
)
from cnnlab.style.vgg import TORCHVISION_CONVENTION, VGGFeatures, conv_channels, init_random_vgg

LAYERS, CONTENT = ["relu1_1", "relu2_1"], "relu2_1"
COLORS = make_color_target(
    measure_color_moments(
        torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(7)).double()
    )
)


def make_maps(seed: int, height: int = 6, width: int = 5) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "relu1_1": torch.rand(1, 3, 2 * height, 2 * width, generator=g, dtype=torch.float64),
        "relu2_1": torch.rand(1, 4, height, width, generator=g, dtype=torch.float64),
    }


def make_targets(
    content_maps: dict[str, Tensor],
    style_maps: dict[str, Tensor],
    measure: Callable[[Tensor, int | None], Tensor] = gram_matrix,
) -> TransferTargets:
    grams = [
        {name: measure(image_maps[name], None) for name in LAYERS}
        for image_maps in (content_maps, style_maps)
    ]
    distance = mean_pair_distance(
        measure_feature_spread(content_maps[CONTENT]), measure_feature_spread(style_maps[CONTENT])
    )
    return TransferTargets(content_maps[CONTENT], distance, grams[1], grams[0], COLORS)


def make_wasserstein_loss(block_weights: list[float], strength: float = 0.7) -> LossSpec:
    return wasserstein_loss(
        strength=strength,
        color_weight=0.0,
        layers=LAYERS,
        block_weights=block_weights,
        content_layer=CONTENT,
    )


def make_objective(
    spec: LossSpec,
    content_maps: dict[str, Tensor],
    style_maps: dict[str, Tensor],
    variation: float = 0,
) -> Objective:
    targets = make_targets(content_maps, style_maps, spec.statistic.measure)
    return Objective(targets, spec.compute_scales(targets), spec, variation)


def compute_terms(
    objective: Objective, current: dict[str, Tensor], x: Tensor | None = None
) -> Tensor:
    """Return the terms of an image from its maps."""
    distance = (current[objective.spec.content_layer] - objective.targets.P).square().sum()
    measure = objective.spec.statistic.measure
    sums = [measure(current[name], None) for name in objective.spec.layers]
    return objective.compute_terms([distance, *sums], current["relu1_1"] if x is None else x)


def test_gram_matrix_equals_einsum() -> None:
    F = make_maps(0)["relu1_1"]
    torch.testing.assert_close(
        gram_matrix(F), torch.einsum("nihw,njhw->ij", F, F) / (F.shape[2] * F.shape[3])
    )
    bfloat16_maps = F.to(torch.bfloat16)
    assert gram_matrix(bfloat16_maps).dtype == torch.float32
    torch.testing.assert_close(gram_matrix(bfloat16_maps), gram_matrix(bfloat16_maps.float()))


def test_chapter_loss_of_a_two_filter_example() -> None:
    """Two filters, maps of 1x2: A of the style, P of the content, X of the output image."""
    values = ([[1, 0], [2, 1]], [[1, 2], [0, 1]], [[3, 1], [1, 1]])
    P, A, X = (torch.tensor(v, dtype=torch.float64).view(1, 2, 1, 2) for v in values)
    spec = chapter_loss(ratio=10.0, layers=["relu1_1"], content_layer="relu1_1")
    grams = {"relu1_1": gram_matrix(A)}, {"relu1_1": gram_matrix(P)}
    targets = TransferTargets(
        P, mean_pair_distance(measure_feature_spread(P), measure_feature_spread(A)), *grams, COLORS
    )
    loss, content, style, _, _ = compute_terms(
        Objective(targets, spec.compute_scales(targets), spec), {"relu1_1": X}
    ).tolist()
    # content: (3-1)^2 + (1-0)^2 + (1-2)^2 + (1-1)^2 = 6, no half
    # A A^T = [[5, 2], [2, 1]], X X^T = [[10, 4], [4, 2]]: 25 + 4 + 4 + 1 = 34,
    # over 4 k^2 m^2 = 4*4*4 and L = 1
    assert (content, style) == (6, 34 / 64) and loss == 10 * 6 + 34 / 64


def test_chapter_loss_equals_formula() -> None:
    content_maps, style_maps, current = make_maps(1), make_maps(2), make_maps(3)
    spec = chapter_loss(ratio=0.5, layers=LAYERS, content_layer=CONTENT)
    loss, content, *styles, _, _ = compute_terms(
        make_objective(spec, content_maps, style_maps), current
    )
    expected = torch.zeros((), dtype=torch.float64)
    for style, name in zip(styles, LAYERS, strict=True):
        k, m = current[name].shape[1], current[name].shape[2] * current[name].shape[3]
        A, G = (
            torch.einsum("nihw,njhw->ij", image_maps[name], image_maps[name])
            for image_maps in (style_maps, current)
        )
        term = ((A - G) ** 2).sum() / (4 * k**2 * m**2) / len(LAYERS)
        torch.testing.assert_close(style, term)
        expected = expected + term
    torch.testing.assert_close(content, ((content_maps[CONTENT] - current[CONTENT]) ** 2).sum())
    torch.testing.assert_close(loss, 0.5 * content + expected)


def test_relative_loss_is_normalized() -> None:
    content_maps, style_maps = make_maps(1), make_maps(2)
    spec = relative_loss(strength=0.7, color_weight=0.0, layers=LAYERS, content_layer=CONTENT)
    objective = make_objective(spec, content_maps, style_maps)
    loss, content, *styles, _, _ = compute_terms(objective, content_maps).tolist()
    assert (
        content == 0
        and styles == pytest.approx([0.5, 0.5])
        and loss == pytest.approx(strength_weights(0.7)[1])
    )
    _, content, *styles, _, _ = compute_terms(objective, style_maps).tolist()
    assert styles == pytest.approx([0, 0], abs=1e-12) and content > 0


def test_wasserstein_loss_is_1_for_the_content_image_and_0_for_the_style_image() -> None:
    content_maps, style_maps = make_maps(1), make_maps(2)
    spec = make_wasserstein_loss(block_weights=[3.0, 1.0, 0.0, 0.0, 0.0])
    objective = make_objective(spec, content_maps, style_maps)
    loss, content, *styles, _, _ = compute_terms(objective, content_maps).tolist()
    assert content == 0 and sum(styles) == pytest.approx(1)
    assert loss == pytest.approx(strength_weights(0.7)[1])
    _, content, *styles, _, _ = compute_terms(objective, style_maps).tolist()
    assert styles == pytest.approx([0, 0], abs=1e-12) and content > 0


def test_layers_weights_are_relative_to_the_power_of_the_style_images_features() -> None:
    """The network's units do not matter: those of one layer are 10 times as large."""
    content_maps, style_maps = make_maps(1), make_maps(2)
    spec = make_wasserstein_loss(block_weights=[3.0, 1.0, 0.0, 0.0, 0.0])
    terms = []
    for factor in (1, 10):
        scaled = [
            maps | {"relu1_1": maps["relu1_1"] * factor}
            for maps in (content_maps, style_maps, make_maps(3))
        ]
        terms.append(compute_terms(make_objective(spec, *scaled[:2]), scaled[2]))
    torch.testing.assert_close(terms[0], terms[1])


def test_layers_have_the_weight_of_their_block() -> None:
    """Any layers can be chosen; those of block 1 alone make a loss without the others' weights."""
    content_maps, style_maps = make_maps(1), make_maps(2)
    terms = []
    for second in (0.0, 1.0, 4.0):
        spec = make_wasserstein_loss(block_weights=[2.0, second, 9.0, 9.0, 9.0])
        objective = make_objective(spec, content_maps, style_maps)
        terms.append(compute_terms(objective, make_maps(3))[2:4])
    ratios = [float(second / first) for first, second in terms]
    assert ratios[0] == 0 and ratios[2] == pytest.approx(4 * ratios[1])


@pytest.mark.parametrize("invalid", [[1.0], [1.0, -1.0], [1.0, float("nan")], [0.0, 0.0, 0.0]])
def test_unusable_block_weights_are_refused(invalid: list[float]) -> None:
    weights = invalid + [1.0] * (5 - len(invalid)) if len(invalid) > 1 else invalid
    message = "block_weights (must be 5 numbers of at least 0|are 0 for all layers)"
    with pytest.raises(ValueError, match=message):
        make_wasserstein_loss(block_weights=weights)


def test_relative_content_is_1_over_unrelated_positions() -> None:
    content_maps, style_maps = make_maps(1, 60, 50), make_maps(2)
    scale, _ = relative_scales(make_targets(content_maps, style_maps))
    P, S = (image_maps[CONTENT].flatten(2)[0] for image_maps in (content_maps, style_maps))
    all_pairs = P.unsqueeze(2) - S.unsqueeze(1)
    mean_distance = all_pairs.square().sum(0).mean()
    assert float(scale * mean_distance * P.shape[1]) == pytest.approx(1, rel=1e-6)


def test_style_loss_does_not_depend_on_image_size() -> None:
    """The chapter's content term, a sum over positions, is four times as large."""
    content_maps, style_maps, current = make_maps(1), make_maps(2), make_maps(3)
    keys = {"layers": LAYERS, "content_layer": CONTENT}
    cases = [
        (chapter_loss(ratio=1.0, **keys), 4),  # type: ignore[arg-type]
        (relative_loss(strength=0.5, color_weight=0.0, **keys), 1),  # type: ignore[arg-type]
        (make_wasserstein_loss([3.0, 1.0, 0.0, 0.0, 0.0]), 1),
    ]
    for spec, factor in cases:
        _, content, *styles, _, _ = compute_terms(
            make_objective(spec, content_maps, style_maps), current
        )
        enlarged = [
            {name: layer_maps.repeat(1, 1, 2, 2) for name, layer_maps in image_maps.items()}
            for image_maps in (content_maps, style_maps, current)
        ]
        _, enlarged_content, *enlarged_styles, _, _ = compute_terms(
            make_objective(spec, *enlarged[:2]), enlarged[2]
        )
        torch.testing.assert_close(torch.stack(enlarged_styles), torch.stack(styles))
        torch.testing.assert_close(enlarged_content, factor * content)
        _, _, *styles_of_enlarged, _, _ = compute_terms(
            make_objective(spec, content_maps, enlarged[1]), current
        )  # the style image alone
        torch.testing.assert_close(torch.stack(styles_of_enlarged), torch.stack(styles))


@pytest.mark.parametrize("kind", ["chapter", "relative"])
def test_gradient_equals_finite_differences(kind: str) -> None:
    tensors = init_random_vgg(conv_channels((1, 1), (4, 5)), torch.Generator().manual_seed(0))
    encoder = VGGFeatures(tensors, TORCHVISION_CONVENTION).double()
    g = torch.Generator().manual_seed(1)
    content_maps, style_maps, x = (
        torch.rand(1, 3, 8, 10, generator=g, dtype=torch.float64) for _ in range(3)
    )
    keys = {"layers": LAYERS, "content_layer": CONTENT}
    spec = (
        chapter_loss(ratio=0.01, **keys)
        if kind == "chapter"
        else relative_loss(strength=0.6, color_weight=0.3, **keys)
    )  # type: ignore[arg-type]
    objective = make_objective(
        spec, encoder(content_maps, LAYERS), encoder(style_maps, LAYERS), variation=0.1
    )
    x.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: compute_terms(objective, encoder(x, LAYERS), x)[0], x, eps=1e-6, atol=1e-7
    )


def test_blended_grams_have_the_gradient_of_the_sum() -> None:
    content_maps, first, second, current = make_maps(1), make_maps(2), make_maps(3), make_maps(4)
    grams = [
        {name: gram_matrix(image_maps[name]) for name in LAYERS} for image_maps in (first, second)
    ]
    target = blend_grams(grams, [2.0, 1.0])
    G = {name: make_maps(4)[name].requires_grad_() for name in LAYERS}
    blended_loss = sum((gram_matrix(G[name]) - target[name]).square().sum() for name in LAYERS)
    summed_loss = sum(
        w * (gram_matrix(G[name]) - image_grams[name]).square().sum()
        for w, image_grams in zip((2 / 3, 1 / 3), grams, strict=True)
        for name in LAYERS
    )
    for name in LAYERS:
        actual, expected = (
            torch.autograd.grad(loss, G[name], retain_graph=True)[0]
            for loss in (blended_loss, summed_loss)
        )  # type: ignore[arg-type]
        torch.testing.assert_close(actual, expected)
    assert current.keys() == content_maps.keys()


def test_relative_loss_of_equal_images_is_finite() -> None:
    image_maps = make_maps(1)
    spec = relative_loss(strength=0.5, color_weight=0.0, layers=LAYERS, content_layer=CONTENT)
    assert (
        compute_terms(make_objective(spec, image_maps, image_maps), image_maps).tolist()
        == [0.0] * 6
    )
    zero_maps = {name: torch.zeros_like(layer_maps) for name, layer_maps in image_maps.items()}
    assert bool(
        compute_terms(make_objective(spec, zero_maps, zero_maps), image_maps).isfinite().all()
    )


def test_floor_distance_does_not_depend_on_image_size() -> None:
    """A uniform image and one 5 % lighter have distance 1 at any size."""
    for repeat in (1, 30):
        P = torch.ones(1, 3, 4, 4, dtype=torch.float64).repeat(1, 1, repeat, repeat)
        content_maps = {"relu1_1": P, "relu2_1": P}
        style_maps = {name: layer_maps * 1.05 for name, layer_maps in content_maps.items()}
        scale, _ = relative_scales(make_targets(content_maps, style_maps))
        assert float(scale * (P - 1.05 * P).square().sum()) == pytest.approx(1)


def test_colors_are_weighted_as_style() -> None:
    content_maps, style_maps, current = make_maps(1), make_maps(2), make_maps(3)
    x = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(5)).double()
    without, weighted = (
        relative_loss(strength=0.6, color_weight=w, layers=LAYERS, content_layer=CONTENT)
        for w in (0.0, 0.3)
    )
    before, after = (
        compute_terms(make_objective(spec, content_maps, style_maps), current, x)
        for spec in (without, weighted)
    )
    divergence = color_divergence(x, COLORS)
    assert before[-2] == 0 and after[-2] == divergence > 0
    torch.testing.assert_close(after[0] - before[0], strength_weights(0.6)[1] * 0.3 * divergence)
    assert weighted.losses_by_name(after)["colors"] == float(divergence)


def test_strength_weights_at_the_ends() -> None:
    assert (
        strength_weights(0) == (1, 0)
        and strength_weights(1) == (0, 1)
        and strength_weights(0.5) == (0.5, 0.5)
    )
    content, style = strength_weights(0.8)
    assert style / content == pytest.approx(64) and content + style == pytest.approx(1)


def test_total_variation_is_mean_squared_difference() -> None:
    x = torch.tensor([[0.0, 1.0], [3.0, 7.0]]).view(1, 1, 2, 2)
    assert float(total_variation(x)) == (9 + 36) / 2 + (1 + 16) / 2


def test_invalid_loss_settings_are_refused() -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"strength": 1.5}, "strength must be between 0 and 1"),
        ({"color_weight": -1.0}, "color_weight must be at least 0, not -1"),
        ({"color_weight": float("nan")}, "color_weight must be at least 0, not nan"),
        ({"layers": ["conv1_1"]}, "layers are relu1_1 to relu5_4, not 'conv1_1'"),
        ({"layers": []}, "layers must name at least one layer"),
        ({"layers": ["relu1_1", "relu1_1"]}, "layers must name at least one layer, each once"),
    ]
    for keys, message in cases:
        with pytest.raises(ValueError, match=message):
            relative_loss(
                **(
                    {
                        "strength": 0.5,
                        "color_weight": 0.0,
                        "layers": LAYERS,
                        "content_layer": CONTENT,
                    }
                    | keys
                )
            )  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ratio must be at least 0"):
        chapter_loss(ratio=-1, layers=LAYERS, content_layer=CONTENT)
    assert raw_scales(make_targets(make_maps(1), make_maps(2)))[0] == 1
    assert (
        chapter_loss(ratio=1, layers=["relu5_1"], content_layer="relu4_2").deepest_layer
        == "relu5_1"
    )
