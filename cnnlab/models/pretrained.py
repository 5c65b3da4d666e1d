"""Networks that torchvision offers trained on ImageNet, and what they want pictures to be."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.download import CorruptDownload, fetch, has_valid_checksum, torch_hub_folder
from cnnlab.core.errors import (
    CnnlabError,
    DataUnavailable,
    UsageError,
    suggest_nearest,
    summarize_error,
)
from cnnlab.core.files import write_atomically

SUGGESTED_NETWORKS = (
    "alexnet",
    "convnext_tiny",
    "efficientnet_b0",
    "resnet18",
    "resnet50",
    "vgg16",
    "vgg19",
)


def load_pretrained(name: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A classifier by torchvision's name, ready to judge, and (N, 1 or 3, H, W) uint8 -> what it is given. Its weights
    are fetched once to where torch keeps such files, and their checksum is looked at each time. Raises UsageError for
    a name that there is not, NotHere with the place for the file where it cannot be fetched."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = suggest_nearest(name, known) or f"; {', '.join(SUGGESTED_NETWORKS)} and others are"
        raise UsageError(f"features {name!r} is not a network of torchvision's{near}")
    weights = models.get_model_weights(name).DEFAULT
    path = fetch_weights(
        name, weights.url, weights.meta.get("_file_size", 0) * 1.048576
    )  # it says MiB
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), assign=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise CnnlabError(
            f"{path} are not the weights of {name}: {summarize_error(error)}"
        ) from error
    return model.eval().requires_grad_(False), partial(
        apply_transforms, transforms=weights.transforms()
    )


def apply_transforms(images: Tensor, transforms: Callable[[Tensor], Tensor]) -> Tensor:
    """Greys as three equal channels; the rest is the weights' own recipe."""
    return transforms(images.expand(-1, 3, -1, -1))


def fetch_weights(name: str, url: str, megabytes: float) -> Path:
    """The file of a network's weights, which ends in the beginning of its checksum."""
    base, _, file = url.rpartition("/")
    folder = torch_hub_folder()
    path = folder / file
    if not path.exists():
        print(f"features={name}: weights of {megabytes:.0f} MB, once", flush=True)
        unpack = partial(install_verified, target=path)
        try:
            fetch(
                file, [base], folder, [file], unpack, max_bytes=int(megabytes * 1.1e6) + 1_000_000
            )
        except CnnlabError as error:
            raise DataUnavailable(
                f"{name}'s weights cannot be fetched ({error}); put {file} into {folder}"
            ) from error
    elif not has_valid_checksum(path, file):
        raise CnnlabError(
            f"{path} is damaged (its checksum differs); remove it, and it is fetched again"
        )
    return path


def install_verified(part: Path, target: Path) -> Any:
    """A fetched file to its place. Raises Damaged where it is not the published one."""
    if not has_valid_checksum(part, target.name):
        raise CorruptDownload("its checksum is not the published one")
    write_atomically(target, lambda whole: whole.write_bytes(part.read_bytes()))
