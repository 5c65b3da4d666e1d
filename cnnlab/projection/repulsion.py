"""t-SNE's repulsive forces: sums over all pairs, exactly or on a mesh.

With d = |y_i - y_j|^2 both return F_i = sum_j (y_i - y_j) / (1 + d)^2 and
Z = sum_{i != j} 1 / (1 + d); t-SNE's repulsion is F / Z. F is minus half the gradient of the
potential phi(y) = sum_j 1 / (1 + |y - y_j|^2). The mesh computes phi by smooth particle-mesh
summation (Essmann et al. 1995, with this kernel): charges are spread by cubic B-splines, convolved
with the kernel by FFT, and phi and its gradient are interpolated by the same splines. That takes
one forward and one inverse FFT per step, where FIt-SNE (Linderman et al. 2019) takes four of each.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from cnnlab.projection.knn import split_rows

MESH_SPACING = 0.4  # between mesh lines; the kernel has width 1. Its error: docs/maps.md
# Lines over a map; a smaller map has finer spacing, down to an eighth, because errors of close
# points add up.
MIN_MESH_LINES = 64
MESH_MARGIN = 10  # lines beyond a map, so that its splines never reach the kernel's wraparound
MAX_MESH_LINES = 4096  # a side, half of them padding against wraparound; wider maps: wider spacing
MAX_MESH_SPACING = 0.8  # beyond it Z soon falls below 0
MAX_EXACT_POINTS = 1500  # points up to which all pairs are as fast


def repulsive_forces(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, 2) F and the scalar Z of an (N, 2) map."""
    return exact_repulsion(y) if len(y) <= MAX_EXACT_POINTS else mesh_repulsion(y)


def exact_repulsion(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return F and Z from all pairs, a block at a time."""
    F, Z = torch.empty_like(y), torch.zeros((), dtype=torch.float64, device=y.device)
    for rows in split_rows(torch.arange(len(y), device=y.device), 2 * len(y)):
        # The differences themselves: q.sum() * y_i - q @ y would lose three digits of float32.
        dx, dy = (y[rows, axis].unsqueeze(1) - y[:, axis] for axis in (0, 1))
        q = dx.square().addcmul_(dy, dy).add_(1).reciprocal_()
        Z += q.sum(dtype=torch.float64)
        q.square_()
        F[rows] = torch.stack([dx.mul_(q).sum(1), dy.mul_(q).sum(1)], 1)
    return F, Z - len(y)


def mesh_repulsion(y: Tensor, spacing: float = MESH_SPACING) -> tuple[Tensor, Tensor]:
    """Return F and Z by FFT; error and time in docs/maps.md.

    Raises ValueError for a map that is too wide or not finite.
    """
    low = y.min(0).values
    span = float((y.max(0).values - low).max())
    finest = max(span / MIN_MESH_LINES, spacing / 8)
    min_spacing = span / (MAX_MESH_LINES // 2 - MESH_MARGIN)
    if not min_spacing <= MAX_MESH_SPACING:
        raise ValueError(
            f"the map is {span:,.0f} units wide, too wide for the mesh: use a lower lr"
        )
    spacing = max(min_spacing, spacing / 2 ** max(0, math.ceil(math.log2(spacing / finest))))
    side = next_fast_length(2 * (int(span / spacing) + MESH_MARGIN))
    u = (y - low) / spacing + 1
    corner = u.floor()
    (wx, sx), (wy, sy) = (cubic_b_splines(t) for t in (u - corner).unbind(1))
    first = ((corner[:, 0] - 1) * side + corner[:, 1] - 1).long()
    steps = torch.arange(4, device=y.device)
    nodes = first.unsqueeze(1) + (steps.unsqueeze(1) * side + steps).flatten()
    spread = (wx.unsqueeze(2) * wy.unsqueeze(1)).flatten()
    charge = torch.zeros(side * side, dtype=y.dtype, device=y.device)
    charge.index_add_(0, nodes.flatten(), spread)
    kernel = kernel_transform(side, spacing, y.dtype, y.device)
    potential = torch.fft.irfft2(torch.fft.rfft2(charge.view(side, side)) * kernel, s=(side, side))
    self_potential = spread.view(-1, 16) @ self_interaction(side, spacing, y.dtype, y.device)
    phi = (potential.flatten()[nodes] - self_potential).view(-1, 4, 4)
    phi_y = (phi * wy.unsqueeze(1)).sum(2)
    slope_y = (phi * sy.unsqueeze(1)).sum(2)
    gradient = torch.stack([(phi_y * sx).sum(1), (slope_y * wx).sum(1)], 1)
    gradient -= gradient.mean(0)  # pairwise forces cancel; what is left is the mesh's error
    return gradient * (-0.5 / spacing), (phi_y * wx).sum(dtype=torch.float64)


def cubic_b_splines(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, 4) cubic B-spline weights and slopes of the four lines around.

    `t`: (N,) positions between two lines, 0..1.
    """
    s = 1 - t
    values = [s**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * s**3 - 6 * s**2 + 4) / 6, t**3 / 6]
    slopes = [-(s**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * s**2 - 4 * s) / 2, t**2 / 2]
    return torch.stack(values, 1), torch.stack(slopes, 1)


@lru_cache(maxsize=4)
def kernel_transform(side: int, spacing: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the transform of 1 / (1 + |y|^2) on a (side, side) mesh.

    It is divided by the transform of the splines, once for spreading and once for interpolation.
    """
    line = torch.arange(side, dtype=torch.float64, device=device)
    y = torch.minimum(line, side - line) * spacing
    # The transform of a spline's samples 1/6, 4/6, 1/6, squared.
    b = ((2 + torch.cos(2 * math.pi / side * line)) / 3) ** -2
    kernel = torch.fft.rfft2(1 / (1 + y.unsqueeze(1) ** 2 + y**2))
    transform = kernel * b.unsqueeze(1) * b[: side // 2 + 1]
    return transform.to(torch.complex64 if dtype == torch.float32 else torch.complex128)


@lru_cache(maxsize=4)
def self_interaction(side: int, spacing: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (16, 16) potentials that a charge on each of a point's nodes causes on the others.

    Without it a point would repel itself, depending on its position between the lines; on maps as
    sparse as t-SNE's that is half of the mesh's error in F.
    """
    phi = torch.fft.irfft2(kernel_transform(side, spacing, dtype, device), s=(side, side))
    steps = torch.arange(4, device=device)
    i, j = steps.repeat_interleave(4), steps.repeat(4)
    return phi[i.unsqueeze(1) - i, j.unsqueeze(1) - j]


def next_fast_length(minimum: int) -> int:
    """Return the next even number >= `minimum` without prime factors above 5, fast for FFTs."""
    n = minimum + minimum % 2
    while 60 ** n.bit_length() % n:  # divides a power of 60: its primes are 2, 3 and 5
        n += 2
    return n
