"""Files of trained convolutions: torchvision's .pth, or safetensors that say in their metadata what their input is."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.files import write_atomically
from cnnlab.core.quoting import printable
from cnnlab.style.vgg import (
    CONVS_PER_BLOCK,
    TORCHVISION_CONVENTION,
    VGGConvention,
    conv_channels,
    list_conv_names,
)

VGGWeights = tuple[dict[str, Tensor], VGGConvention]
TRIPLE_FIELDS = ("mean", "std")
# What readers raise over a file that is not theirs.
WEIGHTS_READ_ERRORS = (
    OSError,
    EOFError,
    LookupError,
    AttributeError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_vgg_weights(path: Path, expected: str | None = None) -> VGGWeights:
    """A file's convolutions as float32 tensors, conv1_1.weight, conv1_1.bias and so on, and its input's convention.
    `expected`: vgg16 or vgg19, which it then must be. Raises CnnlabError for a file that is missing, damaged, another
    network's, or does not say what its input is."""
    try:
        tensors, convention = (read_safetensors if path.suffix == ".safetensors" else read_pth)(
            path
        )
        tensors = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
        names = list_conv_names(tensors)
        if broken := next(
            (name for name, one in tensors.items() if not one.isfinite().all()), None
        ):
            raise ValueError(f"{broken} has values that are not finite")
        if expected:
            check_vgg_shapes(names, tensors, expected)
    except UnpicklingError as error:
        raise CnnlabError(
            f"{printable(str(path))} is no file of torch's, or holds more than tensors"
        ) from error
    except WEIGHTS_READ_ERRORS as error:
        raise CnnlabError(
            f"{printable(str(path))} cannot serve: {printable(summarize_error(error))[:300]}"
        ) from error
    return tensors, convention


def check_vgg_shapes(names: list[str], tensors: Mapping[str, Tensor], expected: str) -> None:
    """Raises ValueError where these are not a network's first convolutions."""
    for name, (place, (depth, width)) in zip(
        names, conv_channels(CONVS_PER_BLOCK[expected]).items(), strict=False
    ):
        if name != place or tensors[f"{name}.weight"].shape != (width, depth, 3, 3):
            raise ValueError(
                f"they are another network's: {expected}'s {place} has {width} filters of {depth}x3x3"
            )


def read_safetensors(path: Path) -> VGGWeights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as opened:
            said = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise ValueError(summarize_error(error)) from error
    convention = parse_vgg_convention(said)
    if "sha256" in said and said["sha256"] != hash_vgg_weights(tensors, convention):
        raise ValueError("it is damaged: its checksum differs")
    return tensors, convention


def parse_vgg_convention(said: Mapping[str, str]) -> VGGConvention:
    """Metadata, texts all, -> a convention. Raises ValueError for what is missing or is none of the choices."""
    values: dict[str, Any] = {}
    for key, kind in get_type_hints(VGGConvention).items():
        if key not in said:
            raise ValueError(
                f"its metadata must say {', '.join(get_type_hints(VGGConvention))}; {key} is missing"
            )
        values[key] = (
            tuple(float(part) for part in said[key].split(","))
            if key in TRIPLE_FIELDS
            else said[key]
        )
        if (key in TRIPLE_FIELDS and len(values[key]) != 3) or (
            key not in TRIPLE_FIELDS and values[key] not in get_args(kind)
        ):
            raise ValueError(f"its metadata's {key} cannot be {printable(said[key])[:60]!r}")
    return VGGConvention(**values)


def read_pth(path: Path) -> VGGWeights:
    """torchvision's names count layers, ReLUs and poolings too; a gap of three is a new block. Nothing but tensors is
    unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # a file of before torch 1.6, which is no zip
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise ValueError("it is not a network's weights")
    numbers = sorted(
        int(found[1]) for key in state if (found := re.fullmatch(r"features\.(\d+)\.weight", key))
    )
    tensors, block, at, before = dict[str, Tensor](), 1, 0, -2
    for number in numbers:
        if number - before not in (2, 3):
            raise ValueError(
                f"features.{number} is not where a VGG without batch normalisation has a convolution"
            )
        block, at = (block, at + 1) if number - before == 2 else (block + 1, 1)
        for part in ("weight", "bias"):
            tensors[f"conv{block}_{at}.{part}"] = state[f"features.{number}.{part}"]
        before = number
    return tensors, TORCHVISION_CONVENTION


def hash_vgg_weights(tensors: Mapping[str, Tensor], convention: VGGConvention) -> str:
    """SHA-256 over names, shapes, float32 values and the input's convention: a network's identity, whatever file holds
    it."""
    digest = hashlib.sha256(json.dumps(asdict(convention), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(json.dumps([name, list(tensors[name].shape)]).encode())
        digest.update(tensors[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_vgg_weights(
    path: Path, tensors: Mapping[str, Tensor], convention: VGGConvention, provenance: str = ""
) -> None:
    """Convolutions to a safetensors file that says what their input is and how they were `made`, whole."""
    from safetensors.torch import save_file

    said = {
        key: ",".join(map(str, value)) if key in TRIPLE_FIELDS else value
        for key, value in asdict(convention).items()
    }
    held = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = (
        said
        | {"sha256": hash_vgg_weights(held, convention)}
        | ({"made": provenance} if provenance else {})
    )
    write_atomically(path, lambda part: save_file(held, part, metadata))


def truncate_vgg_weights(tensors: Mapping[str, Tensor], last: str) -> dict[str, Tensor]:
    """The convolutions up to and including one."""
    names = list_conv_names(tensors)
    kept = set(names[: names.index(last) + 1])
    return {key: tensor for key, tensor in tensors.items() if key.rpartition(".")[0] in kept}
