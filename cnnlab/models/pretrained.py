"""torchvision's networks with ImageNet weights, and their preprocessing."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from cnnlab.core.array_file import read_state_dict
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
    """Return a classifier by torchvision's name in evaluation mode, and its preprocessing of
    (N, 1 or 3, H, W) uint8 images.

    The weights are downloaded once to torch's folder; their checksum is verified each time. Raises
    UsageError for an unknown name, DataUnavailable with the file's place if the download fails."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        hint = suggest_nearest(name, known) or f"; {', '.join(SUGGESTED_NETWORKS)} and others are"
        raise UsageError(f"features {name!r} is not a network of torchvision's{hint}")
    weights = models.get_model_weights(name).DEFAULT
    megabytes = weights.meta.get("_file_size", 0) * 1.048576  # torchvision gives MiB
    path = fetch_weights(name, weights.url, megabytes)
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    try:
        model.load_state_dict(read_state_dict(path), assign=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError) as error:
        reason = summarize_error(error)
        raise CnnlabError(f"{path} are not the weights of {name}: {reason}") from error
    prepare = partial(apply_transforms, transforms=weights.transforms())
    return model.eval().requires_grad_(False), prepare


def apply_transforms(images: Tensor, transforms: Callable[[Tensor], Tensor]) -> Tensor:
    """Repeat gray images to three channels and apply the weights' preprocessing."""
    return transforms(images.expand(-1, 3, -1, -1))


def fetch_weights(name: str, url: str, megabytes: float) -> Path:
    """Return the path of a network's verified weights; the file's name has its checksum."""
    base, _, file = url.rpartition("/")
    folder = torch_hub_folder()
    path = folder / file
    if not path.exists():
        print(f"features={name}: weights of {megabytes:.0f} MB, once", flush=True)
        unpack = partial(install_verified, target=path)
        max_bytes = int(megabytes * 1.1e6) + 1_000_000
        try:
            fetch(file, [base], folder, [file], unpack, max_bytes=max_bytes)
        except CnnlabError as error:
            raise DataUnavailable(
                f"{name}'s weights cannot be downloaded ({error}); put {file} into {folder}"
            ) from error
    elif not has_valid_checksum(path, file):
        raise CnnlabError(
            f"{path} is damaged (its checksum differs); remove it to download it again"
        )
    return path


def install_verified(download: Path, target: Path) -> None:
    """Copy a downloaded file to its place. Raises CorruptDownload if it is not the published
    one."""
    if not has_valid_checksum(download, target.name):
        raise CorruptDownload("its checksum is not the published one")
    write_atomically(target, lambda part: shutil.copyfile(download, part))
