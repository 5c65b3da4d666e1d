"""The network that style transfer takes its features from, and its weights."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from cnnlab.core.download import CorruptDownload, fetch, has_valid_checksum, torch_hub_folder
from cnnlab.core.errors import CnnlabError, DataUnavailable
from cnnlab.core.files import expand_home
from cnnlab.core.quoting import printable
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.vgg import (
    CONVS_PER_BLOCK,
    FILTERS_PER_BLOCK,
    TORCHVISION_CONVENTION,
    VGGFeatures,
    conv_channels,
    init_random_vgg,
)
from cnnlab.style.vgg_weights import (
    VGGWeights,
    hash_vgg_weights,
    read_pth,
    read_vgg_weights,
    save_vgg_weights,
    truncate_vgg_weights,
)

BUNDLED_WEIGHTS = Path(__file__).with_name("features_quarter.safetensors")
DEEPEST_CONV = "conv5_1"  # the last that style losses use
# torchvision's files, whose names end in the first digits of their checksums, and their megabytes.
# Importing torchvision, which knows them too, takes a second.
TORCHVISION_FILES = {"vgg16": ("vgg16-397923af.pth", 553), "vgg19": ("vgg19-dcbb9e9d.pth", 575)}
QUARTER_FILTERS = tuple(width // 4 for width in FILTERS_PER_BLOCK)


@dataclass(frozen=True)
class LoadedEncoder:
    """A network, its display name, its weights' hash, and its `features.name`.

    `reason`: why it was chosen, where the settings left that open.
    """

    encoder: VGGFeatures
    name: str
    sha256: str
    features_name: str
    reason: str | None = None


def load_encoder(
    settings: EncoderSettings, *, deepest_layer: str, seed: int, allow_download: bool
) -> LoadedEncoder:
    """Return the requested network, down to the ReLU `deepest_layer`.

    Raises DataUnavailable, with the remedy, for missing weights, CnnlabError for unusable ones.
    """
    features_name: str = settings.name
    reason: str | None = None
    if settings.name == "auto" and not settings.weights:
        weights, name, reason = load_default_weights(allow_download=allow_download)
        features_name = name
    else:
        weights, name = load_named_weights(settings, seed=seed, allow_download=allow_download)
    tensors, convention = weights
    try:
        last = deepest_layer.replace("relu", "conv")
        used = truncate_vgg_weights(tensors, last) if f"{last}.weight" in tensors else tensors
        sha256 = hash_vgg_weights(used, convention)  # the same for a file with deeper layers
        encoder = VGGFeatures(used, replace(convention, pool=settings.pool or convention.pool))
    except ValueError as error:
        raise CnnlabError(f"{name} cannot be used: {error}") from error
    return LoadedEncoder(encoder, name, sha256, features_name, reason)


def load_named_weights(
    settings: EncoderSettings, *, seed: int, allow_download: bool
) -> tuple[VGGWeights, str]:
    """Return the weights that the settings name, and their display name."""
    if settings.name == "random":
        channels = conv_channels((*CONVS_PER_BLOCK["vgg19"][:4], 1), QUARTER_FILTERS)
        tensors = init_random_vgg(channels, torch.Generator().manual_seed(seed))
        return (tensors, TORCHVISION_CONVENTION), f"random weights, seed {seed}"
    if settings.weights:
        path = expand_home(settings.weights)
        expected = settings.name if settings.name in CONVS_PER_BLOCK else None
        return read_vgg_weights(path, expected), printable(path.name)
    if settings.name == "bundled":
        return read_vgg_weights(BUNDLED_WEIGHTS), "bundled"
    return load_torchvision_weights(settings.name, allow_download=allow_download), settings.name


def load_default_weights(*, allow_download: bool) -> tuple[VGGWeights, str, str]:
    """Return the best available weights, their name, and the reason for the choice.

    VGG-19 where its weights are on disk or may be downloaded, else the bundled network.
    """
    try:
        weights = load_torchvision_weights("vgg19", allow_download=allow_download)
        folder = printable(str(find_weights_folder()))
        return weights, "vgg19", f"features=vgg19: weights found in {folder}"
    except DataUnavailable:
        if allow_download:
            raise
    size = TORCHVISION_FILES["vgg19"][1]
    reason = f"features=bundled: no VGG-19 weights found (--download fetches {size} MB, once)"
    return read_vgg_weights(BUNDLED_WEIGHTS), "bundled", reason


def find_weights_folder() -> Path:
    """Return CNNLAB_WEIGHTS, else PyTorch's folder of downloaded weights."""
    folder = os.environ.get("CNNLAB_WEIGHTS")
    return expand_home(folder) if folder else torch_hub_folder()


def load_torchvision_weights(name: str, *, allow_download: bool) -> VGGWeights:
    """Return torchvision's convolutions: saved earlier, else from its own file, else downloaded."""
    saved = find_weights_folder() / f"{name}_features.safetensors"
    if saved.exists():
        return read_vgg_weights(saved, name)
    file, size = TORCHVISION_FILES[name]
    for path in (saved.parent / file, torch_hub_folder() / file):
        if path.exists():
            return extract_convs(path, name, saved)
    saved_size = f"{truncated_megabytes(name):.0f} MB"
    if not allow_download:
        raise DataUnavailable(
            f"no {name} weights found: --download fetches them ({size} MB; {saved_size} are kept)\n"
            f"or put {file} into {saved.parent}; features=bundled needs no download, "
            "features.weights=FILE takes another file"
        )
    print(
        f"features={name}: downloading {size} MB of weights, once; {saved_size} are kept",
        file=sys.stderr,
        flush=True,
    )
    download_torchvision_weights(name, file, saved, max_bytes=int(size * 1.1e6))
    return read_vgg_weights(saved, name)


def extract_convs(path: Path, name: str, target: Path) -> VGGWeights:
    """Return the convolutions of torchvision's file and save them to `target`."""
    if not has_valid_checksum(path, path.name):
        raise CnnlabError(f"{path} is damaged (its checksum differs); remove it to download again")
    tensors, convention = read_vgg_weights(path, name)
    tensors = truncate_vgg_weights(tensors, DEEPEST_CONV)
    with suppress(CnnlabError):  # the folder may be read-only
        save_vgg_weights(target, tensors, convention)
    return tensors, convention


def download_torchvision_weights(name: str, file: str, target: Path, *, max_bytes: int) -> None:
    """Download torchvision's file and save its convolutions to `target`."""
    from torchvision import models

    url = models.get_model_weights(name).DEFAULT.url.rpartition("/")[0]
    try:
        unpack = partial(unpack_torchvision_weights, file=file, target=target)
        fetch(file, [url], target.parent, [target.name], unpack, max_bytes=max_bytes)
    except CnnlabError as error:
        raise DataUnavailable(
            f"{name}'s weights cannot be downloaded ({error}); put {file} into {target.parent}"
        ) from error


def truncated_megabytes(name: str) -> float:
    """Return the megabytes of a network's convolutions down to DEEPEST_CONV."""
    blocks = (*CONVS_PER_BLOCK[name][:4], 1)
    return sum(4 * width * (9 * depth + 1) for depth, width in conv_channels(blocks).values()) / 1e6


def unpack_torchvision_weights(part: Path, file: str, target: Path) -> None:
    """Save a downloaded file's convolutions. Raises CorruptDownload for a wrong checksum."""
    if not has_valid_checksum(part, file):
        raise CorruptDownload("its checksum differs from the published one")
    tensors, convention = read_pth(part)
    save_vgg_weights(target, truncate_vgg_weights(tensors, DEEPEST_CONV), convention)
