from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.style.canvas import crop_canvas, extend_to_canvas
from cnnlab.style.gram import gram_matrix
from cnnlab.style.losses import LossSpec, relative_loss, wasserstein_loss
from cnnlab.style.tiled_loss import UNTILED, TransferLoss, spatial_size
from cnnlab.style.vgg import (
    TORCHVISION_CONVENTION,
    VGGFeatures,
    conv_channels,
    init_random_vgg,
    relu_stride,
)

SIZES = [(16, 20), (22, 28), (32, 40)]
TINT = torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1)


def make_loss(**changes: object) -> TransferLoss:
    g = torch.Generator().manual_seed(0)
    content, style = (torch.rand(1, 3, *size, generator=g) for size in ((4, 5), (32, 40)))
    content, style = (
        interpolate(content, (32, 40), mode="bilinear"),
        style * torch.tensor([1, 0.5, 0.2]).view(1, 3, 1, 1),
    )
    tensors = init_random_vgg(
        conv_channels((2, 2, 1), (6, 8, 10)), torch.Generator().manual_seed(1)
    )
    defaults = {
        "encoder": VGGFeatures(tensors, TORCHVISION_CONVENTION),
        "content": lambda size: interpolate(content, size, mode="area"),
        "styles": [lambda size: interpolate(style, size, mode="area")],
        "style_sizes": [(32, 40)],
        "style_weights": [1.0],
        "style_scales": [1.0],
        "spec": relative_loss(
            strength=0.8,
            color_weight=0.1,
            layers=["relu1_1", "relu2_1", "relu3_1"],
            content_layer="relu2_2",
        ),
        "tv_weight": 0.0,
        "margin": 0,
        "max_tile_pixels": UNTILED,
    }
    return TransferLoss(**(defaults | changes))  # type: ignore[arg-type]


def compute_loss_terms(loss: TransferLoss, x: Tensor) -> Tensor:
    return loss.evaluate_terms(loss.make_objective(spatial_size(x)), x)


def test_style_images_are_order_independent() -> None:
    g = torch.Generator().manual_seed(5)
    style_images = [torch.rand(1, 3, 30, 30, generator=g) for _ in range(2)]
    styles = [
        lambda size, image=image: interpolate(image, size, mode="area") for image in style_images
    ]
    keys = {"style_sizes": [(30, 30)] * 2, "style_scales": [1.0] * 2}
    x = make_loss().content(SIZES[-1])
    terms, reversed_terms = (
        compute_loss_terms(
            make_loss(styles=styles[::order], style_weights=[2.0, 1.0][::order], **keys), x + 0.01
        )
        for order in (1, -1)
    )
    torch.testing.assert_close(terms, reversed_terms)
    single_terms = compute_loss_terms(
        make_loss(styles=styles[:1], style_sizes=[(30, 30)]), x + 0.01
    )
    torch.testing.assert_close(
        compute_loss_terms(make_loss(styles=styles, style_weights=[1.0, 0.0], **keys), x + 0.01),
        single_terms,
    )
    assert not torch.allclose(terms, single_terms)


def test_bfloat16_applies_to_convolutions_only() -> None:
    loss = make_loss(encoder=make_loss().encoder.cast_convolutions(torch.bfloat16))
    (tile,) = loss.make_tiles(SIZES[-1])
    maps = loss.compute_feature_maps(loss.content(SIZES[-1]), tile)
    assert (
        all(layer_maps.dtype == torch.bfloat16 for layer_maps in maps.values())
        and gram_matrix(maps["relu1_1"]).dtype == torch.float32
    )
    terms, gradient = loss.make_loss_function(loss.make_objective(SIZES[-1]))(
        loss.content(SIZES[-1])
    )
    expected = compute_loss_terms(make_loss(), loss.content(SIZES[-1]))
    assert terms.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(terms, expected, rtol=0.05, atol=0.02)


def test_encoder_computes_requested_layers_only() -> None:
    loss = make_loss()
    assert loss.relu_names == ("relu1_1", "relu2_1", "relu3_1", "relu2_2")
    assert list(loss.encoder(loss.content(SIZES[0]), ["relu1_1"])) == ["relu1_1"]


@pytest.mark.parametrize(("padding", "pool"), [*product(("zeros", "reflect"), ("max", "average"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiled_loss_and_gradient_equal_untiled(padding: str, pool: str, dtype: torch.dtype) -> None:
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    spec = relative_loss(strength=0.7, color_weight=0.1, layers=layers, content_layer="relu3_2")
    check_tiled_loss(
        spec, padding, pool, dtype, tolerance=1e-5 if dtype is torch.float32 else 1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiled_wasserstein_loss_and_gradient_equal_untiled(dtype: torch.dtype) -> None:
    spec = wasserstein_loss(
        strength=0.7,
        color_weight=0.1,
        layers=["relu1_1", "relu3_1", "relu5_1"],
        block_weights=[3.0, 1.0, 2.0, 1.0, 1.0],
        content_layer="relu3_2",
    )
    check_tiled_loss(
        spec, "zeros", "max", dtype, tolerance=1e-5 if dtype is torch.float32 else 1e-10
    )


def check_tiled_loss(
    spec: LossSpec, padding: str, pool: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Compare in tiles and in one, at a size that is a multiple of neither tiles nor poolings."""
    convention = replace(TORCHVISION_CONVENTION, padding=padding, pool=pool)  # type: ignore[arg-type]
    tensors = init_random_vgg(
        conv_channels((2, 2, 2, 1, 1), (4, 6, 6, 8, 8)), torch.Generator().manual_seed(3)
    )
    encoder = VGGFeatures(tensors, convention).to(dtype)
    g = torch.Generator().manual_seed(4)
    size = (203, 318)
    content, style, x = (torch.rand(1, 3, *size, generator=g).to(dtype) for _ in range(3))
    style = style * TINT.to(dtype)  # without tint the Gram matrices differ by rounding only
    options = {
        "encoder": encoder,
        "content": lambda size: content,
        "styles": [lambda size: style],
        "style_sizes": [size],
        "spec": spec,
        "tv_weight": 0.3,
    }
    untiled, tiled = (make_loss(**options, max_tile_pixels=pixels) for pixels in (UNTILED, 30_000))
    assert len(tiled.make_tiles(size)) > 3
    (terms, gradient), (tiled_terms, tiled_gradient) = (
        loss.make_loss_function(loss.make_objective(size))(x) for loss in (untiled, tiled)
    )
    assert torch.linalg.norm(tiled_terms - terms) <= tolerance * torch.linalg.norm(terms)
    error = torch.linalg.norm(tiled_gradient - gradient) / torch.linalg.norm(gradient)
    assert float(error) <= tolerance
    assert tiled_gradient.is_contiguous(memory_format=torch.channels_last)


def test_zero_padding_does_not_reach_the_image_on_a_canvas() -> None:
    """Maps of the image are those of a canvas whose border is further away; at 0 they differ."""
    image, names = make_loss().content((32, 40)), ("relu1_1", "relu2_1", "relu3_1")

    def compute_maps(margin: int) -> list[Tensor]:
        maps = make_loss().encoder(extend_to_canvas(image, margin), names)
        return [crop_canvas(maps[name], margin // relu_stride(name)) for name in names]

    pairs = list(zip(compute_maps(16), compute_maps(32), compute_maps(0), strict=True))
    for near, far, none in pairs:
        torch.testing.assert_close(near, far)
        assert not torch.allclose(none, far)


@pytest.mark.parametrize("max_tile_pixels", [UNTILED, 300])
def test_gray_canvas_has_the_summed_gradient(max_tile_pixels: int) -> None:
    loss = make_loss(margin=5, max_tile_pixels=max_tile_pixels, tv_weight=0.2)
    objective = loss.make_objective((16, 20))
    gray = extend_to_canvas(loss.content((16, 20))[:, :1], 5)
    evaluate = loss.make_loss_function(objective)
    terms, gradient = evaluate(gray)
    rgb_terms, rgb_gradient = evaluate(gray.expand(-1, 3, -1, -1))
    assert gradient.shape == (1, 1, 26, 30)
    torch.testing.assert_close(terms, rgb_terms)
    torch.testing.assert_close(gradient, rgb_gradient.sum(1, keepdim=True))


class RecordOperations(TorchDispatchMode):
    """Record the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names = list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("max_tile_pixels", [UNTILED, 400])
def test_loss_copies_no_numbers_to_the_device(max_tile_pixels: int) -> None:
    """The host would wait for a GPU at each of them."""
    transfer_loss = make_loss(margin=2, tv_weight=0.1, max_tile_pixels=max_tile_pixels)
    objective = transfer_loss.make_objective((32, 40))
    loss, x = transfer_loss.make_loss_function(objective), torch.rand(1, 3, 36, 44)
    loss(x)
    with RecordOperations() as operations:
        loss(x)
    assert (
        "aten.mm.default" in operations.names and "aten.lift_fresh.default" not in operations.names
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_loss_does_not_wait_for_the_gpu() -> None:
    device = torch.device("cuda")
    cpu_loss = make_loss(margin=2)
    transfer_loss = replace(
        cpu_loss,
        encoder=cpu_loss.encoder.to(device),
        content=lambda size: cpu_loss.content(size).to(device),
        styles=[lambda size: cpu_loss.styles[0](size).to(device)],
    )
    loss = transfer_loss.make_loss_function(transfer_loss.make_objective((32, 40)))
    x = torch.rand(1, 3, 36, 44, generator=torch.Generator().manual_seed(0)).to(device)
    terms, gradient = loss(x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = loss(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(again, (terms, gradient))
