"""Measures of a map's quality: preservation of neighborhoods, and separation of classes."""

import torch
from torch import Tensor

from cnnlab.projection.knn import split_rows, squared_distances


def knn_accuracy(index: Tensor, labels: Tensor) -> float:
    """Return the leave-one-out kNN accuracy for (N, k) neighbors and (N,) labels, 0 to 1.

    Each neighbor has one vote; ties go to the first class, as in scikit-learn.
    """
    votes = torch.zeros(len(labels), int(labels.max()) + 1, device=labels.device)
    votes.scatter_add_(1, labels[index], torch.ones(index.shape, device=labels.device))
    return float((votes.argmax(1) == labels).double().mean())


def neighbor_overlap(first: Tensor, second: Tensor) -> float:
    """Return the mean share of common neighbors in two (N, k) neighbor lists, 0 to 1."""
    common = (first.unsqueeze(2) == second.unsqueeze(1)).sum((1, 2))
    return float(common.double().mean() / first.shape[1])


def trustworthiness(x: Tensor, index: Tensor, rows: Tensor | None = None) -> float:
    """Return the trustworthiness of a map (Venna & Kaski 2001), 1 at best.

    `x`: (N, D) points; `index`: (N, k) their neighbors on the map; `rows`: the points that are
    evaluated, ranked among all (None: all). Raises ValueError unless k is below half the points.
    """
    n, k = index.shape
    if 2 * k >= n:
        raise ValueError(
            f"trustworthiness of {k} neighbors needs more than {2 * k} points, not {n}"
        )
    rows = torch.arange(n, device=x.device) if rows is None else rows
    x, penalty = x - x.mean(0), torch.zeros((), dtype=torch.int64, device=x.device)
    for part in split_rows(rows, n):
        d = squared_distances(x[part], x)
        d[torch.arange(len(part), device=x.device), part] = torch.inf
        for distance in d.gather(1, index[part]).unbind(1):
            rank = (d < distance.unsqueeze(1)).sum(1) + 1
            penalty += (rank - k).clamp_min(0).sum()
    return 1 - float(penalty) * 2 / (len(rows) * k * (2 * n - 3 * k - 1))


def silhouette(x: Tensor, labels: Tensor, rows: Tensor | None = None) -> float:
    """Return the mean silhouette coefficient (Rousseeuw 1987) of (N, D) points and (N,) labels.

    The mean of (b - a) / max(a, b): a is a point's mean distance to its own class, b to the
    nearest other class; 0 for a point alone in its class. `rows` as above. Raises ValueError for
    fewer than two classes.
    """
    classes, labels = labels.unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError("the silhouette coefficient needs at least two classes")
    member = torch.nn.functional.one_hot(labels, len(classes)).to(x.dtype)
    size, x = member.sum(0), x - x.mean(0)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    for part in split_rows(rows, len(x)):
        d = squared_distances(x[part], x)
        d[torch.arange(len(part), device=x.device), part] = 0
        sums, own_class = d.sqrt_() @ member, labels[part].unsqueeze(1)
        a = sums.gather(1, own_class).squeeze(1) / (size[labels[part]] - 1).clamp_min(1)
        b = (sums / size).scatter(1, own_class, torch.inf).min(1).values
        s = (b - a) / torch.maximum(a, b).clamp_min(torch.finfo(x.dtype).tiny)
        total += torch.where(size[labels[part]] > 1, s, 0).sum(dtype=torch.float64)
    return float(total) / len(rows)
