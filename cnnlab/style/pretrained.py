"""Which network looks at the pictures, and where its weights come from."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from cnnlab.core.download import CorruptDownload, fetch, has_valid_checksum, torch_hub_folder
from cnnlab.core.errors import CnnlabError, DataUnavailable
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


DEEPEST_CONV = "conv5_1"  # the last that a style loss asks for


# torchvision's files, which end in the beginning of their checksums, and their megabytes. torchvision itself, which
# knows them too, takes a second to import.
TORCHVISION_FILES = {"vgg16": ("vgg16-397923af.pth", 553), "vgg19": ("vgg19-dcbb9e9d.pth", 575)}


QUARTER_FILTERS = tuple(width // 4 for width in FILTERS_PER_BLOCK)


@dataclass(frozen=True)
class LoadedEncoder:
    """A network, what it is called, its weights' fingerprint, the `features.name` that it is, and, where that was left
    open, why it is this one."""

    encoder: VGGFeatures
    name: str
    sha256: str
    features_name: str
    reason: str | None = None


def load_encoder(
    spec: EncoderSettings, *, deepest_layer: str, seed: int, allow_download: bool
) -> LoadedEncoder:
    """The network that `spec` asks for, down to the ReLU `deepest`. `named`: a download may be made. Raises NotHere
    with what can be done where there are no weights, CnnlabError for weights that cannot serve."""
    kind: str = spec.name
    why: str | None = None
    if spec.name == "random":
        channels = conv_channels((*CONVS_PER_BLOCK["vgg19"][:4], 1), QUARTER_FILTERS)
        network: VGGWeights = (
            init_random_vgg(channels, torch.Generator().manual_seed(seed)),
            TORCHVISION_CONVENTION,
        )
        name = f"random weights, seed {seed}"
    elif spec.weights:
        path = Path(spec.weights).expanduser()
        network, name = (
            read_vgg_weights(path, spec.name if spec.name in CONVS_PER_BLOCK else None),
            printable(path.name),
        )
    elif spec.name == "bundled":
        network, name = read_vgg_weights(BUNDLED_WEIGHTS), "bundled"
    elif spec.name == "auto":
        network, name, why = load_default_weights(allow_download=allow_download)
        kind = name
    else:
        network, name = (
            load_torchvision_weights(spec.name, allow_download=allow_download),
            spec.name,
        )
    tensors, convention = network
    try:
        last = deepest_layer.replace("relu", "conv")
        used = truncate_vgg_weights(tensors, last) if f"{last}.weight" in tensors else tensors
        sha256 = hash_vgg_weights(used, convention)  # the same for a file that goes deeper
        return LoadedEncoder(
            VGGFeatures(used, replace(convention, pool=spec.pool or convention.pool)),
            name,
            sha256,
            kind,
            why,
        )
    except ValueError as error:
        raise CnnlabError(f"{name} cannot serve: {error}") from error


def load_default_weights(*, allow_download: bool) -> tuple[VGGWeights, str, str]:
    """The best network that there is, its name, and why it is that one: VGG-19 where its weights are on the disk, or
    may be fetched, and otherwise the one that comes with cnnlab."""
    try:
        return (
            load_torchvision_weights("vgg19", allow_download=allow_download),
            "vgg19",
            f"features=vgg19: its weights are in {printable(str(find_weights_folder()))}",
        )
    except DataUnavailable:
        if allow_download:
            raise
    missing = (
        f"VGG-19's weights are not here (--download: {TORCHVISION_FILES['vgg19'][1]} MB, once)"
    )
    return read_vgg_weights(BUNDLED_WEIGHTS), "bundled", f"features=bundled: {missing}"


def find_weights_folder() -> Path:
    """CNNLAB_WEIGHTS, else where torch keeps such files."""
    given = os.environ.get("CNNLAB_WEIGHTS")
    return Path(given).expanduser() if given else torch_hub_folder()


def load_torchvision_weights(name: str, *, allow_download: bool) -> VGGWeights:
    """torchvision's weights: the convolutions kept from an earlier time; else from the file that torchvision itself
    has fetched; else, where they were asked for by name, fetched and kept."""
    kept = find_weights_folder() / f"{name}_features.safetensors"
    if kept.exists():
        return read_vgg_weights(kept, name)
    file, size = TORCHVISION_FILES[name]
    for whole in (kept.parent / file, torch_hub_folder() / file):
        if whole.exists():
            if not has_valid_checksum(whole, file):
                raise CnnlabError(
                    f"{whole} is damaged (its checksum differs); remove it, and it is fetched again"
                )
            network = drop_unused_convs(read_vgg_weights(whole, name))
            with suppress(CnnlabError):  # a folder that cannot be written to
                save_vgg_weights(kept, *network)
            return network
    if not allow_download:
        sizes = f"{size} MB; {truncated_megabytes(name):.0f} MB are kept"
        raise DataUnavailable(
            f"{name}'s weights are not here: --download fetches them ({sizes}), features=bundled needs none\n"
            f"and features.weights=FILE takes others; {file} could also be in {kept.parent}"
        )
    print(
        f"features={name}: weights of {size} MB, once; {truncated_megabytes(name):.0f} MB are kept",
        file=sys.stderr,
        flush=True,
    )
    from torchvision import models

    url = models.get_model_weights(name).DEFAULT.url
    try:
        unpack = partial(unpack_torchvision_weights, file=file, target=kept)
        fetch(
            file,
            [url.rpartition("/")[0]],
            kept.parent,
            [kept.name],
            unpack,
            max_bytes=int(size * 1.1e6),
        )
    except CnnlabError as error:
        raise DataUnavailable(
            f"{name}'s weights cannot be fetched ({error}); put {file} into {kept.parent}"
        ) from error
    return read_vgg_weights(kept, name)


def truncated_megabytes(name: str) -> float:
    """Megabytes of a network's convolutions down to DEEPEST."""
    blocks = (*CONVS_PER_BLOCK[name][:4], 1)
    return sum(4 * width * (9 * depth + 1) for depth, width in conv_channels(blocks).values()) / 1e6


def drop_unused_convs(network: VGGWeights) -> VGGWeights:
    tensors, convention = network
    return truncate_vgg_weights(tensors, DEEPEST_CONV), convention


def unpack_torchvision_weights(part: Path, file: str, target: Path) -> None:
    """A fetched file's convolutions to where they are kept. Raises Damaged where it is not the published one."""
    if not has_valid_checksum(part, file):
        raise CorruptDownload("its checksum is not the published one")
    save_vgg_weights(target, *drop_unused_convs(read_pth(part)))
