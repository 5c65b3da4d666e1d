"""What pushes a map's points apart: sums over all pairs, exactly or through a mesh.

With d = |y_i - y_j|^2 both give F_i = sum_j (y_i - y_j) / (1 + d)^2 and Z = sum_{i != j} 1 / (1 + d), of which
t-SNE's repulsion is F / Z. F is minus half the slope of the potential phi(y) = sum_j 1 / (1 + |y - y_j|^2): the mesh
takes phi by smooth particle-mesh summation (Essmann et al. 1995, with this kernel for theirs): charges are spread by
cubic B-splines, convolved with the kernel by FFT, and phi and its slope read off the same splines. One forward and one
inverse FFT a step, where FIt-SNE (Linderman et al. 2019) takes four of each.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from cnnlab.projection.knn import split_rows

MESH_SPACING = (
    0.4  # of the mesh's lines; the kernel is 1 wide. What it costs in exactness: docs/maps.md
)
MIN_MESH_LINES = 64  # lines over a map; a smaller one has finer spacing, down to an eighth: where all is close, errors add up
MESH_MARGIN = (
    10  # lines beyond a map, so that where the kernel wraps round is out of its splines' reach
)
MAX_MESH_LINES = 4096  # at most, a side, half of them for what would else wrap round; a wider map has wider spacing
MAX_MESH_SPACING = 0.8  # spacing; beyond it Z soon falls below 0
MAX_EXACT_POINTS = 1500  # points for which all pairs are as quick


def repulsive_forces(y: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 2) -> (N, 2) F and the scalar Z."""
    return exact_repulsion(y) if len(y) <= MAX_EXACT_POINTS else mesh_repulsion(y)


def exact_repulsion(y: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs, by blocks."""
    F, Z = torch.empty_like(y), torch.zeros((), dtype=torch.float64, device=y.device)
    for rows in split_rows(torch.arange(len(y), device=y.device), 2 * len(y)):
        # The differences themselves: q.sum() * y_i - q @ y would cancel to a thousandth of a float32's exactness.
        across, along = (y[rows, axis].unsqueeze(1) - y[:, axis] for axis in (0, 1))
        q = across.square().addcmul_(along, along).add_(1).reciprocal_()
        Z += q.sum(dtype=torch.float64)
        q.square_()
        F[rows] = torch.stack([across.mul_(q).sum(1), along.mul_(q).sum(1)], 1)
    return F, Z - len(y)


def mesh_repulsion(y: Tensor, spacing: float = MESH_SPACING) -> tuple[Tensor, Tensor]:
    """By FFT: error and time in docs/maps.md. Raises ValueError for a map that is too wide, or not finite."""
    low = y.min(0).values
    span = float((y.max(0).values - low).max())
    finest, least = (
        max(span / MIN_MESH_LINES, spacing / 8),
        span / (MAX_MESH_LINES // 2 - MESH_MARGIN),
    )
    if not least <= MAX_MESH_SPACING:
        raise ValueError(
            f"a map of {span:,.0f} units is wider than a mesh can resolve; a lower lr keeps it together"
        )
    spacing = max(least, spacing / 2 ** max(0, math.ceil(math.log2(spacing / finest))))
    side = next_fast_length(2 * (int(span / spacing) + MESH_MARGIN))
    u = (y - low) / spacing + 1
    corner = u.floor()
    (wx, sx), (wy, sy) = (cubic_b_splines(t) for t in (u - corner).unbind(1))
    first = ((corner[:, 0] - 1) * side + corner[:, 1] - 1).long()
    steps = torch.arange(4, device=y.device)
    nodes = first.unsqueeze(1) + (steps.unsqueeze(1) * side + steps).flatten()
    spread = (wx.unsqueeze(2) * wy.unsqueeze(1)).flatten()
    charge = torch.zeros(side * side, dtype=y.dtype, device=y.device).index_add_(
        0, nodes.flatten(), spread
    )
    transformed = torch.fft.rfft2(charge.view(side, side)) * kernel_transform(
        side, spacing, y.dtype, y.device
    )
    phi = torch.fft.irfft2(transformed, s=(side, side)).flatten()[nodes]
    phi = (phi - spread.view(-1, 16) @ self_interaction(side, spacing, y.dtype, y.device)).view(
        -1, 4, 4
    )
    along = (phi * wy.unsqueeze(1)).sum(2)
    across = (phi * sy.unsqueeze(1)).sum(2)
    slope = torch.stack([(along * sx).sum(1), (across * wx).sum(1)], 1)
    slope -= slope.mean(0)  # the pairs' pushes cancel, all but what the mesh does of its own
    return slope * (-0.5 / spacing), (along * wx).sum(dtype=torch.float64)


def cubic_b_splines(t: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) places between two lines, 0..1 -> (N, 4) cubic B-splines of the four lines around, and their slopes."""
    s = 1 - t
    values = [s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6]
    slopes = [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * s**2 - 4 * s) / 2, t**2 / 2]
    return torch.stack(values, 1), torch.stack(slopes, 1)


@lru_cache(maxsize=4)
def kernel_transform(side: int, spacing: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The transform of 1 / (1 + |y|^2) on a (side, side) mesh, divided by what spreading and reading do to it."""
    line = torch.arange(side, dtype=torch.float64, device=device)
    y = torch.minimum(line, side - line) * spacing
    # A spline's samples are 1/6, 4/6, 1/6, whose transform this is; once to spread, once to read.
    b = ((2 + torch.cos(2 * math.pi / side * line)) / 3) ** -2
    found = (
        torch.fft.rfft2(1 / (1 + y.unsqueeze(1) ** 2 + y**2)) * b.unsqueeze(1) * b[: side // 2 + 1]
    )
    return found.to(torch.complex64 if dtype == torch.float32 else torch.complex128)


@lru_cache(maxsize=4)
def self_interaction(side: int, spacing: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(16, 16): what a charge on each of a point's nodes makes of phi on the others. Without it a point would push
    itself, by where it is between the lines; on a map as sparse as t-SNE's that is half of a mesh's error in F."""
    phi = torch.fft.irfft2(kernel_transform(side, spacing, dtype, device), s=(side, side))
    steps = torch.arange(4, device=device)
    i, j = steps.repeat_interleave(4), steps.repeat(4)
    return phi[i.unsqueeze(1) - i, j.unsqueeze(1) - j]


def next_fast_length(least: int) -> int:
    """The next even number from `least` on with no prime factor above 5: FFTs like them."""
    n = least + least % 2
    while 60 ** n.bit_length() % n:  # its primes are those of 60, and no power of them is higher
        n += 2
    return n
