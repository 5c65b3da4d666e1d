"""t-SNE (van der Maaten & Hinton 2008) with PCA initialization (Kobak & Berens 2019)."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.projection.affinities import Affinities, conditional_probabilities, joint_probabilities
from cnnlab.projection.callback import ProjectionCallback
from cnnlab.projection.knn import PointSet
from cnnlab.projection.repulsion import exact_repulsion, repulsive_forces

# Raised for every sparse matrix; only its product with a dense one is used here.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
INITIAL_STD = 1e-4  # standard deviation of the initial map's first axis
INITIAL_NOISE = 0.01  # relative to INITIAL_STD, so that equal points can separate
MOMENTUM = 0.8
MAX_MOVE = 5.0  # map units per step
REPORT_INTERVAL = 50  # steps between two callbacks


def compute_max_perplexity(n: int) -> int:
    """Return the highest perplexity of n points: below a third of them."""
    return (n - 2) // 3


def compute_affinities(points: PointSet, perplexity: float) -> Affinities:
    """Return P over the 3 * perplexity nearest neighbors of each point.

    Raises ValueError for a perplexity that is not below a third of the points.
    """
    n, maximum = len(points), compute_max_perplexity(len(points))
    if not 1 <= perplexity <= maximum:
        raise ValueError(
            f"perplexity must be at least 1 and below a third of the {n:,} images, "
            f"not {perplexity:,g}; the maximum is {maximum:,}"
        )
    sq_distances, index = points.kneighbors(int(3 * perplexity) + 1)
    return joint_probabilities(index, conditional_probabilities(sq_distances, perplexity))


def scale_initial_map(y: Tensor, noise: Tensor) -> Tensor:
    """Return an (N, 2) initial map whose first axis has a deviation of 1e-4, plus noise.

    `noise`: (N, 2) of deviation 1; it is scaled to a hundredth of that.
    """
    std = y[:, 0].std(correction=0)
    scaled_noise = noise.to(y) * (INITIAL_STD * INITIAL_NOISE)
    y = y / torch.where(std > 0, std, 1) * INITIAL_STD + scaled_noise
    return y.contiguous()  # attractive_forces reads a point as one complex number


def attractive_forces(P: Affinities, y: Tensor) -> Tensor:
    """Return (N, 2) sum_j p_ij (y_i - y_j) / (1 + |y_i - y_j|^2)."""
    points = torch.view_as_complex(y)
    d = points.index_select(0, P.row_indices).sub_(points.index_select(0, P.col_indices))
    pq = d.real.square().addcmul_(d.imag, d.imag).add_(1).reciprocal_().mul_(P.values)
    W = torch.sparse_csr_tensor(
        P.crow_indices, P.col_indices, pq, (len(P), len(P)), check_invariants=False
    )
    sums = W @ torch.cat([y, torch.ones_like(y[:, :1])], 1)
    return sums[:, 2:] * y - sums[:, :2]


def kl_gradient(P: Affinities, y: Tensor, exaggeration: float) -> Tensor:
    """Return (N, 2) the gradient of KL(P || Q) / 4, with exaggerated attraction."""
    F, Z = repulsive_forces(y)
    return attractive_forces(P, y) * exaggeration - F / Z.to(y.dtype)


def kl_divergence(P: Affinities, y: Tensor, Z: Tensor | None = None) -> float:
    """Return KL(P || Q) in nats; Z is computed from all pairs unless it is given."""
    Z = exact_repulsion(y)[1] if Z is None else Z
    p = P.values.double()
    d = (y[P.row_indices.long()] - y[P.col_indices.long()]).double().square().sum(1)
    return float((p * (p.clamp_min(1e-300).log() + d.log1p())).sum() + p.sum() * Z.double().log())


@dataclass
class DeltaBarDelta:
    """Gradient descent with momentum and a gain per coordinate (Jacobs 1988)."""

    y: Tensor

    def __post_init__(self) -> None:
        self.velocity, self.gains = torch.zeros_like(self.y), torch.ones_like(self.y)

    def step(self, gradient: Tensor, lr: float) -> None:
        """Move the map by one step; no point moves further than MAX_MOVE."""
        is_reversed = gradient.sign() == self.velocity.sign()
        self.gains = torch.where(is_reversed, self.gains * 0.8, self.gains + 0.2).clamp_min_(0.01)
        self.velocity.mul_(MOMENTUM).sub_(lr * self.gains * gradient)
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
    """Return an (N, 2) map after phases of (steps, exaggeration, learning rate)."""
    descent, total, step = DeltaBarDelta(y), sum(steps for steps, _, _ in phases), 0
    for steps, exaggeration, lr in phases:
        for _ in range(steps):
            descent.step(kl_gradient(P, descent.y, exaggeration), lr)
            step += 1
            if callback and (step % REPORT_INTERVAL == 0 or step == total):
                callback(step, total, kl_divergence(P, descent.y, repulsive_forces(descent.y)[1]))
    return descent.y


def tsne(
    points: PointSet,
    initial: Tensor,
    noise: Tensor,
    callback: ProjectionCallback | None,
    *,
    perplexity: float,
    early_steps: int,
    early_exaggeration: float,
    steps: int,
    lr: float | None,
) -> tuple[Tensor, dict[str, float]]:
    """Return an (N, 2) map of (N, D) points and its exact KL(P || Q) in nats.

    `initial`: (N, 2) initial map, of any scale; `noise`: (N, 2) of deviation 1. `lr`: learning rate
    of both phases; None: N / exaggeration (Belkina et al. 2019), for the gradient without its
    factor 4, as in openTSNE. Raises ValueError for settings out of range, and for a map that is not
    finite.
    """
    if early_steps < 0 or steps < 0 or early_exaggeration < 1 or (lr is not None and lr <= 0):
        raise ValueError(
            "steps and early_steps must be at least 0, early_exaggeration at least 1, "
            "and lr above 0"
        )
    P = compute_affinities(points, perplexity)
    phases = [
        (early_steps, early_exaggeration, lr or len(P) / early_exaggeration),
        (steps, 1.0, lr or float(len(P))),
    ]
    y = scale_initial_map(initial, noise).to(points.x.dtype)
    y = optimize_map(P.to(points.x.dtype), y, phases, callback)
    if not y.isfinite().all():
        raise ValueError("the map is not finite: use a lower lr")
    return y, {"kl": kl_divergence(P, y)}
