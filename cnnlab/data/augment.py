"""What happens to a batch of pictures between the data set and the network: on their device, all at once.

A pipeline is a mapping of operations, in order, as `augment.train` and `augment.eval` have it in YAML:
`{shift: {px: 2}, normalize: {mean: [0.13], std: [0.31]}}`. Each random operation is given uniform numbers
that depend on (seed, epoch, picture, operation) alone, so that neither the batch's size nor its order matters.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.schema import call, pick

MASK64 = (1 << 64) - 1


@dataclass(frozen=True)
class Op:
    """(N, C, H, W) float pictures in [0, 1], which may be overwritten, and (N, `numbers`) uniform numbers in [0, 1)
    -> changed pictures."""

    numbers: int
    apply: Callable[[Tensor, Tensor], Tensor]


def normalize(*, mean: list[float], std: list[float]) -> Op:
    """(x - mean) / std, a number each for every channel, in units of the full range 0..1."""
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError(f"mean and std must be of one length, std above 0, not {mean} and {std}")

    @cache
    def constants(device: torch.device) -> list[Tensor]:
        return [torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std)]

    def apply(x: Tensor, u: Tensor) -> Tensor:
        if x.shape[1] != len(mean):
            raise ValueError(f"normalize has {len(mean)} channels, the pictures {x.shape[1]}")
        centre, width = constants(x.device)
        return x.sub_(centre).div_(width)

    return Op(0, apply)


def shift(*, px: int) -> Op:
    """Each picture moved by a whole number of pixels, -px..px down and across, all equally likely; zeros come in."""
    if px < 0:
        raise ValueError(f"px must be at least 0, not {px}")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        n, _, height, width = x.shape
        top, left = (u * (2 * px + 1)).long().unbind(1)
        rows = top.view(n, 1, 1) + torch.arange(height, device=x.device).view(1, -1, 1)
        columns = left.view(n, 1, 1) + torch.arange(width, device=x.device).view(1, 1, -1)
        which = torch.arange(n, device=x.device).view(n, 1, 1)
        return F.pad(x, (px, px, px, px))[which, :, rows, columns].permute(0, 3, 1, 2)

    return Op(2, apply)


def affine(*, degrees: float, scale: float, shear: float, px: float) -> Op:
    """Each picture turned by up to `degrees`, made larger or smaller by a factor of up to 1 + `scale`, sheared by up
    to `shear` (a slope) and moved by up to `px` pixels each way, all uniform; bilinear, zeros come in."""
    if min(degrees, scale, shear, px) < 0:
        raise ValueError("degrees, scale, shear and px must be at least 0")

    def apply(x: Tensor, u: Tensor) -> Tensor:
        turn, grow, lean, down, across = (2 * u - 1).unbind(1)
        angle, factor = torch.deg2rad(degrees * turn), (1 + scale) ** grow
        cos, sin = factor * angle.cos(), factor * angle.sin()
        # theta maps an output place to the input place it is read from, both in [-1, 1].
        theta = torch.stack(
            (cos, lean * shear * cos - sin, 2 * px / x.shape[3] * across,
             sin, lean * shear * sin + cos, 2 * px / x.shape[2] * down), 1
        ).view(-1, 2, 3)  # fmt: skip
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    return Op(5, apply)


OPS: dict[str, Callable[..., Op]] = {"affine": affine, "normalize": normalize, "shift": shift}


def mix(z: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea & Flood 2014) on a Python integer."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK64
    return z ^ (z >> 31)


def signed(z: int) -> int:
    """A 64-bit pattern as torch's int64 holds it."""
    return z - (1 << 64) if z >> 63 else z


def mix_tensor(z: Tensor) -> Tensor:
    """`mix` on int64 tensors, whose products wrap; `>>` keeps the sign there, so the sign's copies are masked off."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * signed(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * signed(0x94D049BB133111EB)
    return z ^ ((z >> 31) & ((1 << 33) - 1))


@dataclass(frozen=True)
class Draws:
    """Uniform numbers for the (N,) pictures of a batch, each a hash of (seed, epoch, picture's index, operation)."""

    seed: int
    epoch: int
    index: Tensor

    def uniform(self, op: str, count: int) -> Tensor:
        """(N, count) float32 in [0, 1), in steps of 2^-24."""
        key = mix(mix(mix(self.seed & MASK64) + self.epoch & MASK64) + zlib.crc32(op.encode()) & MASK64)
        number = torch.arange(count, device=self.index.device) * signed(0x9E3779B97F4A7C15)
        z = mix_tensor(mix_tensor(self.index.unsqueeze(1) + signed(key)) + number)
        return ((z >> 40) & ((1 << 24) - 1)).float() * 2.0**-24


class Pipeline:
    """(N, C, H, W) uint8 pictures -> float32, through named operations in order, `normalize` always last: what an
    operation brings in at the edges is black before it and grey after."""

    def __init__(self, spec: Mapping[str, Any], where: str) -> None:
        """Raises UsageError, naming `where`, for an operation or a setting that there is not."""
        ordered = sorted(spec.items(), key=lambda item: item[0] == "normalize")
        self.ops = {name: call(pick(OPS, name, where), keys or {}, f"{where}.{name}") for name, keys in ordered}

    def __call__(self, pictures: Tensor, draws: Draws | None = None) -> Tensor:
        """Random operations need `draws`; without, as in `augment.eval`, they raise ValueError, as pictures do that are
        not uint8."""
        if pictures.dtype != torch.uint8:
            raise ValueError(f"pictures must be uint8, 0 to 255, not {pictures.dtype}")
        x = pictures.float().div_(255)
        for name, op in self.ops.items():
            if op.numbers and draws is None:
                raise ValueError(f"{name} is random: it has no place in augment.eval")
            u = draws.uniform(name, op.numbers) if draws and op.numbers else x.new_empty(len(x), 0)
            x = op.apply(x, u)
        return x
