"""Random numbers that depend on what they are for, not on the order in which they are asked for."""

import zlib
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

MASK64 = (1 << 64) - 1


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
    """Uniform numbers for (N,) pictures, each a hash of (seed, epoch, picture's index, operation). They are made once
    for all that `index` holds; `batch` hands out those of a part of it."""

    seed: int
    epoch: int
    index: Tensor
    start: int = 0
    end: int | None = None
    made: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def batch(self, start: int, count: int) -> "Draws":
        """The draws of `count` pictures from the one at `start` on."""
        return replace(self, start=start, end=start + count)

    def uniform(self, op: str, count: int) -> Tensor:
        """(N, count) float32 in [0, 1), in steps of 2^-24."""
        if (op, count) not in self.made:
            self.made[op, count] = hashed(self.seed, self.epoch, self.index, op, count)
        return self.made[op, count][self.start : self.end]

    def alternating(self, op: str) -> Tensor:
        """(N, 1): drawn once for a run, and half a turn further at each epoch: below 0.5 every other time."""
        if (op, 0) not in self.made:
            turned = hashed(self.seed, 0, self.index, op, 1) + 0.5 * (self.epoch % 2)
            self.made[op, 0] = turned % 1
        return self.made[op, 0][self.start : self.end]


def hashed(seed: int, epoch: int, index: Tensor, op: str, count: int) -> Tensor:
    """(N,) indices -> (N, count) float32 in [0, 1)."""
    key = mix(mix(mix(seed & MASK64) + epoch & MASK64) + zlib.crc32(op.encode()) & MASK64)
    number = torch.arange(count, device=index.device) * signed(0x9E3779B97F4A7C15)
    z = mix_tensor(mix_tensor(index.unsqueeze(1) + signed(key)) + number)
    return ((z >> 40) & ((1 << 24) - 1)).float() * 2.0**-24
