"""On trained networks and real pictures, where they are."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models

from cnnlab.config import compose
from cnnlab.core.schema import call_checked
from cnnlab.style.budget import TransferBudget
from cnnlab.style.losses import gram_matrix
from cnnlab.style.optimizers import LBFGS
from cnnlab.style.source_image import image_to_tensor, read_source_image, tensor_to_image
from cnnlab.style.transfer import transfer_style
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles

pytestmark = pytest.mark.style


def made(real_style: tuple[Path, Path], **keys: object) -> TransferJob:
    weights, pictures = real_style
    config = compose(
        "stylize", ["size=128", f"features.weights='{weights}/vgg19_quarter.safetensors'"]
    )
    own = {
        "content": str(pictures / "tubingen.jpg"),
        "styles": [str(pictures / "starry_night.jpg")],
    }
    shop = prepare_styles(
        call_checked(StylizeSettings, config | own | keys, ""),
        torch.device("cpu"),
        allow_download=False,
    )
    return prepare_job(shop, read_source_image(own["content"], 10**8))


def painted(at: TransferJob, steps: int) -> tuple[Tensor, Tensor]:
    """The picture as it is saved, and its terms."""
    budget = TransferBudget(at.sizes, [steps] * len(at.sizes), [1.0] * len(at.sizes))
    *_, state = transfer_style(
        at.transfer_loss, at.make_initial_image, partial(LBFGS, history_size=20), budget
    )
    x = image_to_tensor(tensor_to_image(state.image))
    return x, at.transfer_loss.evaluate_terms(state.objective, x)


def judge(weights: Path):  # type: ignore[no-untyped-def]
    """SqueezeNet's Gram matrices of a picture: another network's eyes."""
    tensors = load_file(weights / "squeezenet1_1_features.safetensors")
    network = models.squeezenet1_1(weights=None).features.eval()
    network.load_state_dict(
        {name.removeprefix("features."): tensor for name, tensor in tensors.items()}
    )
    mean = torch.tensor([123, 117, 104]).view(1, 3, 1, 1) / 255

    @torch.inference_mode()
    def grams(x: Tensor) -> list[Tensor]:
        x, found = x - mean, []
        for i, layer in enumerate(network):
            x = layer(x)
            if i in (1, 3, 6, 9):
                found.append(gram_matrix(x))
        return found

    return grams


def test_style_loss_falls_for_another_network_too(
    real_style: tuple[Path, Path],
) -> None:
    at = made(real_style)
    picture, terms = painted(at, 60)
    losses = at.setup.spec.losses_by_name(terms)
    assert losses["style"] < 0.01 and losses["content"] < 0.6
    grams = judge(real_style[0])
    style = grams(at.transfer_loss.styles[0](at.transfer_loss.compute_style_sizes(at.sizes[-1])[0]))
    shares = [
        float((G - A).square().sum() / (P - A).square().sum())
        for G, A, P in zip(
            grams(picture), style, grams(at.transfer_loss.content(at.sizes[-1])), strict=True
        )
    ]
    print(losses, shares)
    assert max(shares) < 0.9


def test_truncated_weights_name_the_missing_layer(
    real_style: tuple[Path, Path],
) -> None:
    from cnnlab.core.errors import UsageError
    from cnnlab.style.pretrained import load_encoder
    from cnnlab.style.settings import EncoderSettings

    path = real_style[0] / "vgg19_conv1_1_to_conv3_4.safetensors"
    network = load_encoder(
        EncoderSettings(name="vgg19", weights=str(path), pool=None),
        deepest_layer="relu5_1",
        seed=0,
        allow_download=False,
    )
    with pytest.raises(UsageError, match=r"layer 'relu4_2' is not one of relu1_1, .*relu3_4"):
        network.encoder.check_input(["relu4_2"], (100, 100))


@pytest.mark.parametrize("name", ["bundled", "vgg19_quarter.safetensors"])
def test_tiled_loss_of_a_real_image_equals_untiled(
    real_style: tuple[Path, Path], name: str
) -> None:
    """Zeros around the maps, and reflections; a third of the way from photograph to painting, at an odd size."""
    network = (
        {"name": name, "weights": None}
        if name == "bundled"
        else {"name": "auto", "weights": f"{real_style[0]}/{name}"}
    )
    at = made(real_style, size=509, features={"pool": None, **network})
    cut, size = replace(at.transfer_loss, max_tile_pixels=100_000, style_cache={}), at.sizes[-1]
    x = at.transfer_loss.content(size).lerp(at.transfer_loss.styles[0](size), 0.3)
    (terms, gradient), (ours, mine) = (
        easel.make_loss_function(easel.make_objective(size))(x) for easel in (at.transfer_loss, cut)
    )
    errors = [
        float(torch.linalg.norm(a - b) / torch.linalg.norm(b))
        for a, b in ((ours, terms), (mine, gradient))
    ]
    print(len(cut.make_tiles(size)), errors)
    assert len(cut.make_tiles(size)) > 3 and max(errors) < 1e-4
