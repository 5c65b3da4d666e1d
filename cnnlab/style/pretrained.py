"""Which network looks at the pictures, and where its weights come from."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from cnnlab.core.download import Damaged, checkpoints, fetch, sound
from cnnlab.core.errors import CnnlabError, NotHere
from cnnlab.core.quoting import plain
from cnnlab.style.vgg import BLOCKS, FILTERS, IMAGENET, Encoder, random_tensors, shapes
from cnnlab.style.vgg_weights import Network, fingerprint, keep, read, read_pth, until

BUNDLED = Path(__file__).with_name("features_quarter.safetensors")
DEEPEST = "conv5_1"  # the last that a style loss asks for
# torchvision's files, which end in the beginning of their checksums, and their megabytes. torchvision itself, which
# knows them too, takes a second to import.
PUBLISHED = {"vgg16": ("vgg16-397923af.pth", 553), "vgg19": ("vgg19-dcbb9e9d.pth", 575)}
QUARTER = tuple(width // 4 for width in FILTERS)


@dataclass(frozen=True, kw_only=True)
class Features:
    """configs/stylize.yaml's features and their types."""

    name: Literal["auto", "vgg19", "vgg16", "bundled", "random"]
    weights: str | None
    pool: Literal["max", "average"] | None


@dataclass(frozen=True)
class Chosen:
    """A network, what it is called, its weights' fingerprint, the `features.name` that it is, and, where that was left
    open, why it is this one."""

    encoder: Encoder
    name: str
    sha256: str
    kind: str
    why: str | None = None


def chosen(spec: Features, *, deepest: str, seed: int, named: bool) -> Chosen:
    """The network that `spec` asks for, down to the ReLU `deepest`. `named`: a download may be made. Raises NotHere
    with what can be done where there are no weights, CnnlabError for weights that cannot serve."""
    kind: str = spec.name
    why: str | None = None
    if spec.name == "random":
        channels = shapes((*BLOCKS["vgg19"][:4], 1), QUARTER)
        network: Network = random_tensors(channels, torch.Generator().manual_seed(seed)), IMAGENET
        name = f"random weights, seed {seed}"
    elif spec.weights:
        path = Path(spec.weights).expanduser()
        network, name = read(path, spec.name if spec.name in BLOCKS else None), plain(path.name)
    elif spec.name == "bundled":
        network, name = read(BUNDLED), "bundled"
    elif spec.name == "auto":
        network, name, why = best(named=named)
        kind = name
    else:
        network, name = published(spec.name, named=named), spec.name
    tensors, convention = network
    try:
        last = deepest.replace("relu", "conv")
        used = until(tensors, last) if f"{last}.weight" in tensors else tensors
        sha256 = fingerprint(used, convention)  # the same for a file that goes deeper
        return Chosen(Encoder(used, replace(convention, pool=spec.pool or convention.pool)), name, sha256, kind, why)
    except ValueError as error:
        raise CnnlabError(f"{name} cannot serve: {error}") from error


def best(*, named: bool) -> tuple[Network, str, str]:
    """The best network that there is, its name, and why it is that one: VGG-19 where its weights are on the disk, or
    may be fetched, and otherwise the one that comes with cnnlab."""
    try:
        return (
            published("vgg19", named=named),
            "vgg19",
            f"features=vgg19: its weights are in {plain(str(weights_folder()))}",
        )
    except NotHere:
        if named:
            raise
    missing = f"VGG-19's weights are not here (--download: {PUBLISHED['vgg19'][1]} MB, once)"
    return read(BUNDLED), "bundled", f"features=bundled: {missing}"


def weights_folder() -> Path:
    """CNNLAB_WEIGHTS, else where torch keeps such files."""
    given = os.environ.get("CNNLAB_WEIGHTS")
    return Path(given).expanduser() if given else checkpoints()


def published(name: str, *, named: bool) -> Network:
    """torchvision's weights: the convolutions kept from an earlier time; else from the file that torchvision itself
    has fetched; else, where they were asked for by name, fetched and kept."""
    kept = weights_folder() / f"{name}_features.safetensors"
    if kept.exists():
        return read(kept, name)
    file, size = PUBLISHED[name]
    for whole in (kept.parent / file, checkpoints() / file):
        if whole.exists():
            if not sound(whole, file):
                raise CnnlabError(f"{whole} is damaged (its checksum differs); remove it, and it is fetched again")
            network = stripped(read(whole, name))
            with suppress(CnnlabError):  # a folder that cannot be written to
                keep(kept, *network)
            return network
    if not named:
        sizes = f"{size} MB; {kept_mb(name):.0f} MB are kept"
        raise NotHere(
            f"{name}'s weights are not here: --download fetches them ({sizes}), features=bundled needs none\n"
            f"and features.weights=FILE takes others; {file} could also be in {kept.parent}"
        )
    print(f"features={name}: weights of {size} MB, once; {kept_mb(name):.0f} MB are kept", file=sys.stderr, flush=True)
    from torchvision import models

    url = models.get_model_weights(name).DEFAULT.url
    try:
        unpack = partial(strip, file=file, kept=kept)
        fetch(file, [url.rpartition("/")[0]], kept.parent, [kept.name], unpack, most=int(size * 1.1e6))
    except CnnlabError as error:
        raise NotHere(f"{name}'s weights cannot be fetched ({error}); put {file} into {kept.parent}") from error
    return read(kept, name)


def kept_mb(name: str) -> float:
    """Megabytes of a network's convolutions down to DEEPEST."""
    blocks = (*BLOCKS[name][:4], 1)
    return sum(4 * width * (9 * depth + 1) for depth, width in shapes(blocks).values()) / 1e6


def stripped(network: Network) -> Network:
    tensors, convention = network
    return until(tensors, DEEPEST), convention


def strip(part: Path, file: str, kept: Path) -> None:
    """A fetched file's convolutions to where they are kept. Raises Damaged where it is not the published one."""
    if not sound(part, file):
        raise Damaged("its checksum is not the published one")
    keep(kept, *stripped(read_pth(part)))
