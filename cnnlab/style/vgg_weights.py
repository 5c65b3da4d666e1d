"""Weight files: torchvision's .pth, or safetensors whose metadata hold the input's convention."""

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

from cnnlab.core.array_file import read_state_dict
from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.files import check_safetensors_header, write_atomically
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
WEIGHTS_HINT = "features.weights=FILE takes a VGG's weights; features=bundled needs no file"
# Raised by readers for a damaged file or one of another kind.
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
    """Return a file's convolutions as float32, {"conv1_1.weight": ...}, and its convention.

    `expected`: vgg16 or vgg19, which the file must then be. Raises CnnlabError for a file that is
    missing, damaged, another network's, or without a convention.
    """
    try:
        read = read_safetensors if path.suffix == ".safetensors" else read_pth
        tensors, convention = read(path)
        tensors = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
        names = list_conv_names(tensors)
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} has values that are not finite")
        if expected:
            check_vgg_shapes(names, tensors, expected)
    except UnpicklingError as error:
        raise CnnlabError(
            f"{printable(str(path))} is not a PyTorch file, or holds more than tensors\n"
            f"{WEIGHTS_HINT}"
        ) from error
    except WEIGHTS_READ_ERRORS as error:
        raise CnnlabError(
            f"{printable(str(path))} cannot be used: {printable(summarize_error(error))[:300]}"
            f"\n{WEIGHTS_HINT}"
        ) from error
    return tensors, convention


def check_vgg_shapes(names: list[str], tensors: Mapping[str, Tensor], expected: str) -> None:
    """Raise ValueError where these are not the first convolutions of the `expected` network."""
    for name, (place, (depth, width)) in zip(
        names, conv_channels(CONVS_PER_BLOCK[expected]).items(), strict=False
    ):
        if name != place or tensors[f"{name}.weight"].shape != (width, depth, 3, 3):
            raise ValueError(
                f"it is another network: {expected}'s {place} has {width} filters of {depth}x3x3"
            )


def read_safetensors(path: Path) -> VGGWeights:
    """Return a file's tensors and convention. Raises ValueError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    check_safetensors_header(path)
    try:
        with safe_open(path, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise ValueError(summarize_error(error)) from error
    convention = parse_vgg_convention(metadata)
    if "sha256" in metadata and metadata["sha256"] != hash_vgg_weights(tensors, convention):
        raise ValueError("it is damaged: its checksum differs")
    return tensors, convention


def parse_vgg_convention(metadata: Mapping[str, str]) -> VGGConvention:
    """Return the convention in a file's metadata. Raises ValueError for a missing or bad value."""
    values: dict[str, Any] = {}
    for key, kind in get_type_hints(VGGConvention).items():
        if key not in metadata:
            required = ", ".join(get_type_hints(VGGConvention))
            raise ValueError(f"its metadata must contain {required}; {key} is missing")
        text = metadata[key]
        if key in TRIPLE_FIELDS:
            values[key] = tuple(float(number) for number in text.split(","))
            is_valid = len(values[key]) == 3
        else:
            values[key], is_valid = text, text in get_args(kind)
        if not is_valid:
            raise ValueError(f"its metadata's {key} cannot be {printable(text)[:60]!r}")
    return VGGConvention(**values)


def read_pth(path: Path) -> VGGWeights:
    """Return the convolutions of a torchvision state dict; only tensors are unpickled.

    Its names number all layers, with ReLUs and poolings: a gap of three starts a block.
    """
    state = read_state_dict(path)
    matches = (re.fullmatch(r"features\.(\d+)\.weight", key) for key in state)
    tensors, block, index, before = dict[str, Tensor](), 1, 0, -2
    for number in sorted(int(match[1]) for match in matches if match):
        if number - before not in (2, 3):
            raise ValueError(
                f"features.{number} is not a convolution of a VGG without batch normalization"
            )
        block, index = (block, index + 1) if number - before == 2 else (block + 1, 1)
        for part in ("weight", "bias"):
            tensors[f"conv{block}_{index}.{part}"] = state[f"features.{number}.{part}"]
        before = number
    return tensors, TORCHVISION_CONVENTION


def hash_vgg_weights(tensors: Mapping[str, Tensor], convention: VGGConvention) -> str:
    """Return the SHA-256 of names, shapes, float32 values and convention, whatever the file."""
    digest = hashlib.sha256(json.dumps(asdict(convention), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(json.dumps([name, list(tensors[name].shape)]).encode())
        digest.update(tensors[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_vgg_weights(
    path: Path, tensors: Mapping[str, Tensor], convention: VGGConvention, provenance: str = ""
) -> None:
    """Write convolutions, their convention and provenance to a safetensors file, atomically."""
    from safetensors.torch import save_file

    metadata = {
        key: ",".join(map(str, value)) if key in TRIPLE_FIELDS else value
        for key, value in asdict(convention).items()
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata["sha256"] = hash_vgg_weights(contiguous, convention)
    if provenance:
        metadata["made"] = provenance
    write_atomically(path, lambda part: save_file(contiguous, part, metadata))


def truncate_vgg_weights(tensors: Mapping[str, Tensor], last: str) -> dict[str, Tensor]:
    """Return the convolutions up to and including `last`."""
    names = list_conv_names(tensors)
    used = set(names[: names.index(last) + 1])
    return {key: tensor for key, tensor in tensors.items() if key.rpartition(".")[0] in used}
