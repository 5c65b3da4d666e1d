"""Counter-based random numbers: they depend on their purpose, not on the order of the calls."""

import zlib
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

MASK64 = (1 << 64) - 1


def splitmix64(z: int) -> int:
    """Apply the finalizer of SplitMix64 (Steele, Lea & Flood 2014) to a Python integer."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK64
    return z ^ (z >> 31)


def as_signed_int64(z: int) -> int:
    """Return the int64 that has the same bits as a 64-bit unsigned integer."""
    return z - (1 << 64) if z >> 63 else z


def splitmix64_tensor(z: Tensor) -> Tensor:
    """Apply `splitmix64` to an int64 tensor, whose products wrap around."""
    # `>>` copies the sign bit of an int64: the masks clear the copies.
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * as_signed_int64(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * as_signed_int64(0x94D049BB133111EB)
    return z ^ ((z >> 31) & ((1 << 33) - 1))


@dataclass(frozen=True)
class CounterRNG:
    """Uniform numbers for (N,) images, each a hash of (seed, epoch, image's index, operation).

    They are computed once for all of `indices`; `slice_batch` returns those of some of them.
    """

    seed: int
    epoch: int
    indices: Tensor
    start: int = 0
    end: int | None = None
    cache: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def slice_batch(self, start: int, count: int) -> "CounterRNG":
        """Return the random numbers of `count` images, from position `start` on."""
        return replace(self, start=start, end=start + count)

    def uniform(self, op: str, count: int, *, on_cpu: bool = False) -> Tensor:
        """Return (N, count) float32 in [0, 1), in steps of 2^-24, where the indices are or on the
        CPU: the host then waits once for all of `indices`, not for each batch."""
        if (op, count) not in self.cache:
            indices = self.indices.cpu() if on_cpu else self.indices
            self.cache[op, count] = hash_to_uniform(self.seed, self.epoch, indices, op, count)
        return self.cache[op, count][self.start : self.end]

    def alternating_uniform(self, op: str) -> Tensor:
        """Return (N, 1) float32 in [0, 1), the same in every other epoch, plus 0.5 modulo 1 in
        the others: each is below 0.5 in every second epoch."""
        if (op, 0) not in self.cache:
            first = hash_to_uniform(self.seed, 0, self.indices, op, 1)
            self.cache[op, 0] = (first + 0.5 * (self.epoch % 2)) % 1
        return self.cache[op, 0][self.start : self.end]


def hash_to_uniform(seed: int, epoch: int, index: Tensor, op: str, count: int) -> Tensor:
    """Return (N, count) float32 in [0, 1) for (N,) indices of images."""
    key = splitmix64(
        splitmix64(splitmix64(seed & MASK64) + epoch & MASK64) + zlib.crc32(op.encode()) & MASK64
    )
    number = torch.arange(count, device=index.device) * as_signed_int64(0x9E3779B97F4A7C15)
    z = splitmix64_tensor(splitmix64_tensor(index.unsqueeze(1) + as_signed_int64(key)) + number)
    return ((z >> 40) & ((1 << 24) - 1)).float() * 2.0**-24
