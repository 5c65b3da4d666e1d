"""t-SNE (van der Maaten & Hinton 2008) from PCA, as Kobak & Berens (2019) advise it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.projection.affinities import Affinities, conditional, joint
from cnnlab.projection.knn import Points
from cnnlab.projection.repulsion import exact, repulsion

# Said each time that a sparse matrix is made; multiplying by one is all that is done here.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
START = 1e-4  # deviation of a map's first axis before the first step
NOISE = 0.01  # of that, on each coordinate, so that equal points can part
MOMENTUM = 0.8
LONGEST = 5.0  # units that a point moves in a step
EVERY = 50  # steps between two reports

Report = Callable[[int, int, float], None]  # (steps done, steps in all, KL divergence)


def affinities(points: Points, perplexity: float) -> Affinities:
    """P over the 3 * perplexity nearest neighbours of each point. Raises ValueError for a perplexity that is not below
    a third of the points."""
    n, most = len(points), (len(points) - 2) // 3
    if not 1 <= perplexity <= most:
        raise ValueError(
            f"perplexity must be at least 1 and below a third of the {n:,} pictures, not {perplexity:,g}; "
            f"{most:,} is the most"
        )
    squares, index = points.near(int(3 * perplexity) + 1)
    return joint(index, conditional(squares, perplexity))


def start(y: Tensor, noise: Tensor) -> Tensor:
    """(N, 2) a map to begin with, as small as t-SNE wants it: the first axis's deviation 1e-4, and a hundredth of that
    as noise; `noise`: (N, 2) of deviation 1."""
    deviation = y[:, 0].std(correction=0)
    y = y / torch.where(deviation > 0, deviation, 1) * START + noise.to(y) * (START * NOISE)
    return y.contiguous()  # `attraction` reads a point as one complex number


def attraction(P: Affinities, y: Tensor) -> Tensor:
    """(N, 2) sum_j p_ij (y_i - y_j) / (1 + |y_i - y_j|^2)."""
    points = torch.view_as_complex(y)
    d = points.index_select(0, P.rows).sub_(points.index_select(0, P.columns))
    pq = d.real.square().addcmul_(d.imag, d.imag).add_(1).reciprocal_().mul_(P.values)
    W = torch.sparse_csr_tensor(P.starts, P.columns, pq, (len(P), len(P)), check_invariants=False)
    pulled = W @ torch.cat([y, torch.ones_like(y[:, :1])], 1)
    return pulled[:, 2:] * y - pulled[:, :2]


def gradient(P: Affinities, y: Tensor, exaggeration: float) -> Tensor:
    """(N, 2): the slope of KL(P || Q) / 4, with P's pull exaggerated."""
    F, Z = repulsion(y)
    return attraction(P, y) * exaggeration - F / Z.to(y.dtype)


def divergence(P: Affinities, y: Tensor, Z: Tensor | None = None) -> float:
    """KL(P || Q) in nats, of all pairs unless their sum Z is known from elsewhere."""
    Z = exact(y)[1] if Z is None else Z
    p, d = P.values.double(), (y[P.rows.long()] - y[P.columns.long()]).double().square().sum(1)
    return float((p * (p.clamp_min(1e-300).log() + d.log1p())).sum() + p.sum() * Z.double().log())


@dataclass
class Descent:
    """Gradient descent with momentum and a gain for each coordinate (Jacobs 1988), as all implementations have it."""

    y: Tensor

    def __post_init__(self) -> None:
        self.velocity, self.gains = torch.zeros_like(self.y), torch.ones_like(self.y)

    def step(self, slope: Tensor, lr: float) -> None:
        turned = slope.sign() == self.velocity.sign()
        self.gains = torch.where(turned, self.gains * 0.8, self.gains + 0.2).clamp_min_(0.01)
        self.velocity.mul_(MOMENTUM).sub_(lr * self.gains * slope)
        length = self.velocity.norm(dim=1, keepdim=True)
        self.velocity.mul_(LONGEST / length.clamp_min(LONGEST))
        self.y = self.y + self.velocity
        self.y = self.y - self.y.mean(0)


def descended(P: Affinities, y: Tensor, phases: list[tuple[int, float, float]], report: Report | None = None) -> Tensor:
    """(N, 2) a map, and phases of (steps, exaggeration, learning rate) -> the map after them."""
    descent, total, done = Descent(y), sum(steps for steps, _, _ in phases), 0
    for steps, exaggeration, lr in phases:
        for _ in range(steps):
            descent.step(gradient(P, descent.y, exaggeration), lr)
            done += 1
            if report and (done % EVERY == 0 or done == total):
                report(done, total, divergence(P, descent.y, repulsion(descent.y)[1]))
    return descent.y


def tsne(
    points: Points,
    begin: Tensor,
    noise: Tensor,
    report: Report | None,
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
        raise ValueError("steps must not be below 0, early_exaggeration not below 1, and lr above 0")
    P = affinities(points, perplexity)
    phases = [(early_steps, early_exaggeration, lr or len(P) / early_exaggeration), (steps, 1.0, lr or float(len(P)))]
    y = descended(P.to(points.x.dtype), start(begin, noise).to(points.x.dtype), phases, report)
    if not y.isfinite().all():
        raise ValueError("the map is not finite: a lower lr keeps it so, if the points are")
    return y, {"kl": divergence(P, y)}
