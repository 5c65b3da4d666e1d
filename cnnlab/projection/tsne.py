"""t-SNE (van der Maaten & Hinton 2008) from PCA, as Kobak & Berens (2019) advise it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.projection.affinities import Affinities, conditional_probabilities, joint_probabilities
from cnnlab.projection.knn import PointSet
from cnnlab.projection.repulsion import exact_repulsion, repulsive_forces

# Said each time that a sparse matrix is made; multiplying by one is all that is done here.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
INITIAL_STD = 1e-4  # deviation of a map's first axis before the first step
INITIAL_NOISE = 0.01  # of that, on each coordinate, so that equal points can part
MOMENTUM = 0.8
MAX_MOVE = 5.0  # units that a point moves in a step
REPORT_INTERVAL = 50  # steps between two reports

ProjectionCallback = Callable[[int, int, float], None]  # (steps done, steps in all, KL divergence)


def compute_affinities(points: PointSet, perplexity: float) -> Affinities:
    """P over the 3 * perplexity nearest neighbours of each point. Raises ValueError for a perplexity that is not below
    a third of the points."""
    n, most = len(points), (len(points) - 2) // 3
    if not 1 <= perplexity <= most:
        raise ValueError(
            f"perplexity must be at least 1 and below a third of the {n:,} pictures, not {perplexity:,g}; "
            f"{most:,} is the most"
        )
    squares, index = points.kneighbors(int(3 * perplexity) + 1)
    return joint_probabilities(index, conditional_probabilities(squares, perplexity))


def scale_initial_map(y: Tensor, noise: Tensor) -> Tensor:
    """(N, 2) a map to begin with, as small as t-SNE wants it: the first axis's deviation 1e-4, and a hundredth of that
    as noise; `noise`: (N, 2) of deviation 1."""
    deviation = y[:, 0].std(correction=0)
    y = y / torch.where(deviation > 0, deviation, 1) * INITIAL_STD + noise.to(y) * (
        INITIAL_STD * INITIAL_NOISE
    )
    return y.contiguous()  # `attraction` reads a point as one complex number


def attractive_forces(P: Affinities, y: Tensor) -> Tensor:
    """(N, 2) sum_j p_ij (y_i - y_j) / (1 + |y_i - y_j|^2)."""
    points = torch.view_as_complex(y)
    d = points.index_select(0, P.row_indices).sub_(points.index_select(0, P.col_indices))
    pq = d.real.square().addcmul_(d.imag, d.imag).add_(1).reciprocal_().mul_(P.values)
    W = torch.sparse_csr_tensor(
        P.crow_indices, P.col_indices, pq, (len(P), len(P)), check_invariants=False
    )
    pulled = W @ torch.cat([y, torch.ones_like(y[:, :1])], 1)
    return pulled[:, 2:] * y - pulled[:, :2]


def kl_gradient(P: Affinities, y: Tensor, exaggeration: float) -> Tensor:
    """(N, 2): the slope of KL(P || Q) / 4, with P's pull exaggerated."""
    F, Z = repulsive_forces(y)
    return attractive_forces(P, y) * exaggeration - F / Z.to(y.dtype)


def kl_divergence(P: Affinities, y: Tensor, Z: Tensor | None = None) -> float:
    """KL(P || Q) in nats, of all pairs unless their sum Z is known from elsewhere."""
    Z = exact_repulsion(y)[1] if Z is None else Z
    p, d = (
        P.values.double(),
        (y[P.row_indices.long()] - y[P.col_indices.long()]).double().square().sum(1),
    )
    return float((p * (p.clamp_min(1e-300).log() + d.log1p())).sum() + p.sum() * Z.double().log())


@dataclass
class DeltaBarDelta:
    """Gradient descent with momentum and a gain for each coordinate (Jacobs 1988), as all implementations have it."""

    y: Tensor

    def __post_init__(self) -> None:
        self.velocity, self.gains = torch.zeros_like(self.y), torch.ones_like(self.y)

    def step(self, slope: Tensor, lr: float) -> None:
        turned = slope.sign() == self.velocity.sign()
        self.gains = torch.where(turned, self.gains * 0.8, self.gains + 0.2).clamp_min_(0.01)
        self.velocity.mul_(MOMENTUM).sub_(lr * self.gains * slope)
        length = self.velocity.norm(dim=1, keepdim=True)
        self.velocity.mul_(MAX_MOVE / length.clamp_min(MAX_MOVE))
        self.y = self.y + self.velocity
        self.y = self.y - self.y.mean(0)


def optimize_map(
    P: Affinities,
    y: Tensor,
    phases: list[tuple[int, float, float]],
    callback: ProjectionCallback | None = None,
) -> Tensor:
    """(N, 2) a map, and phases of (steps, exaggeration, learning rate) -> the map after them."""
    descent, total, done = DeltaBarDelta(y), sum(steps for steps, _, _ in phases), 0
    for steps, exaggeration, lr in phases:
        for _ in range(steps):
            descent.step(kl_gradient(P, descent.y, exaggeration), lr)
            done += 1
            if callback and (done % REPORT_INTERVAL == 0 or done == total):
                callback(done, total, kl_divergence(P, descent.y, repulsive_forces(descent.y)[1]))
    return descent.y


def tsne(
    points: PointSet,
    begin: Tensor,
    noise: Tensor,
    report: ProjectionCallback | None,
    *,
    perplexity: float,
    early_steps: int,
    early_exaggeration: float,
    steps: int,
    lr: float | None,
) -> tuple[Tensor, dict[str, float]]:
    """(N, D) points -> (N, 2) a map, and KL(P || Q) in nats, exactly. `begin`: (N, 2) where the points are at first, of
    any size; `noise`: (N, 2) of deviation 1. `lr` of both phases; None: N over the exaggeration (Belkina et al. 2019),
    for the gradient without its factor 4, as openTSNE has it. Raises ValueError."""
    if early_steps < 0 or steps < 0 or early_exaggeration < 1 or (lr is not None and lr <= 0):
        raise ValueError(
            "steps must not be below 0, early_exaggeration not below 1, and lr above 0"
        )
    P = compute_affinities(points, perplexity)
    phases = [
        (early_steps, early_exaggeration, lr or len(P) / early_exaggeration),
        (steps, 1.0, lr or float(len(P))),
    ]
    y = optimize_map(
        P.to(points.x.dtype), scale_initial_map(begin, noise).to(points.x.dtype), phases, report
    )
    if not y.isfinite().all():
        raise ValueError("the map is not finite: a lower lr keeps it so, if the points are")
    return y, {"kl": kl_divergence(P, y)}
