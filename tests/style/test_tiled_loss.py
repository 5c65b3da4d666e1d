from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.style.losses import gram_matrix, relative_loss
from cnnlab.style.tiled_loss import UNTILED, TransferLoss
from cnnlab.style.vgg import TORCHVISION_CONVENTION, VGGFeatures, conv_channels, init_random_vgg

SIZES = [(16, 20), (22, 28), (32, 40)]
TINT = torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1)


def easel(**changes: object) -> TransferLoss:
    g = torch.Generator().manual_seed(0)
    content, style = (torch.rand(1, 3, *size, generator=g) for size in ((4, 5), (32, 40)))
    content, style = (
        interpolate(content, (32, 40), mode="bilinear"),
        style * torch.tensor([1, 0.5, 0.2]).view(1, 3, 1, 1),
    )
    tensors = init_random_vgg(
        conv_channels((2, 2, 1), (6, 8, 10)), torch.Generator().manual_seed(1)
    )
    given = {
        "encoder": VGGFeatures(tensors, TORCHVISION_CONVENTION),
        "content": lambda size: interpolate(content, size, mode="area"),
        "styles": [lambda size: interpolate(style, size, mode="area")],
        "style_sizes": [(32, 40)],
        "style_weights": [1.0],
        "style_scale": 1.0,
        "spec": relative_loss(
            strength=0.8, layers=["relu1_1", "relu2_1", "relu3_1"], content_layer="relu2_2"
        ),
        "tv_weight": 0.0,
        "dtype": torch.float32,
        "max_tile_pixels": UNTILED,
    }
    return TransferLoss(**(given | changes))  # type: ignore[arg-type]


def terms(made: TransferLoss, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    return made.evaluate_terms(made.make_objective((height, width)), x)


def test_style_images_are_order_independent() -> None:
    g = torch.Generator().manual_seed(5)
    others = [torch.rand(1, 3, 30, 30, generator=g) for _ in range(2)]
    pictures = [lambda size, one=one: interpolate(one, size, mode="area") for one in others]
    keys = {"style_sizes": [(30, 30)] * 2}
    x = easel().content(SIZES[-1])
    one, other = (
        terms(easel(styles=pictures[::way], style_weights=[2.0, 1.0][::way], **keys), x + 0.01)
        for way in (1, -1)
    )
    torch.testing.assert_close(one, other)
    alone = terms(easel(styles=pictures[:1], style_sizes=[(30, 30)]), x + 0.01)
    torch.testing.assert_close(
        terms(easel(styles=pictures, style_weights=[1.0, 0.0], **keys), x + 0.01), alone
    )
    assert not torch.allclose(one, alone)


def test_bfloat16_applies_to_convolutions_only() -> None:
    made = easel(dtype=torch.bfloat16)
    (whole,) = made.make_tiles(SIZES[-1])
    maps = made.compute_feature_maps(made.content(SIZES[-1]), whole)
    assert (
        all(one.dtype == torch.bfloat16 for one in maps.values())
        and gram_matrix(maps["relu1_1"]).dtype == torch.float32
    )
    found, gradient = made.make_loss_function(made.make_objective(SIZES[-1]))(
        made.content(SIZES[-1])
    )
    exact = terms(easel(), made.content(SIZES[-1]))
    assert found.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.02)


def test_encoder_computes_requested_layers_only() -> None:
    made = easel()
    assert made.relu_names == ("relu1_1", "relu2_1", "relu3_1", "relu2_2")
    assert list(made.encoder(made.content(SIZES[0]), ["relu1_1"])) == ["relu1_1"]


@pytest.mark.parametrize(("padding", "pool"), [*product(("zeros", "reflect"), ("max", "average"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiled_loss_and_gradient_equal_untiled(padding: str, pool: str, dtype: torch.dtype) -> None:
    """Loss and gradient alike, at a size that neither the pieces nor the poolings divide."""
    convention = replace(TORCHVISION_CONVENTION, padding=padding, pool=pool)  # type: ignore[arg-type]
    tensors = init_random_vgg(
        conv_channels((2, 2, 2, 1, 1), (4, 6, 6, 8, 8)), torch.Generator().manual_seed(3)
    )
    encoder = VGGFeatures(tensors, convention).to(dtype)
    g = torch.Generator().manual_seed(4)
    size = (203, 318)
    content, style, x = (torch.rand(1, 3, *size, generator=g).to(dtype) for _ in range(3))
    style = style * TINT.to(
        dtype
    )  # of two pictures of one noise the Gram matrices differ by rounding alone
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    given = {
        "encoder": encoder,
        "content": lambda size: content,
        "styles": [lambda size: style],
        "style_sizes": [size],
        "spec": relative_loss(strength=0.7, layers=layers, content_layer="relu3_2"),
        "tv_weight": 0.3,
    }
    whole, cut = (easel(**given, max_tile_pixels=pixels) for pixels in (UNTILED, 30_000))
    assert len(cut.make_tiles(size)) > 3
    (terms, gradient), (ours, mine) = (
        made.make_loss_function(made.make_objective(size))(x) for made in (whole, cut)
    )
    assert torch.linalg.norm(ours - terms) <= (
        1e-5 if dtype is torch.float32 else 1e-12
    ) * torch.linalg.norm(terms)
    error = torch.linalg.norm(mine - gradient) / torch.linalg.norm(gradient)
    assert float(error) <= (1e-5 if dtype is torch.float32 else 1e-12)
    assert mine.is_contiguous(memory_format=torch.channels_last)
