"""Whether to believe a map: what of the points' neighbourhoods it keeps, and of their classes."""

import torch
from torch import Tensor

from cnnlab.projection.knn import split_rows, squared_distances


def knn_accuracy(index: Tensor, labels: Tensor) -> float:
    """(N, k) neighbours and (N,) labels -> the share of points whose neighbours, each with one vote, name their class;
    of classes with as many votes the first, as scikit-learn has it. No point votes for itself."""
    votes = torch.zeros(len(labels), int(labels.max()) + 1, device=labels.device)
    votes.scatter_add_(1, labels[index], torch.ones(index.shape, device=labels.device))
    return float((votes.argmax(1) == labels).double().mean())


def neighbor_overlap(one: Tensor, other: Tensor) -> float:
    """(N, k) and (N, k) neighbours of the same points -> the mean share that both have."""
    both = (one.unsqueeze(2) == other.unsqueeze(1)).sum((1, 2))
    return float(both.double().mean() / one.shape[1])


def trustworthiness(x: Tensor, index: Tensor, rows: Tensor | None = None) -> float:
    """(N, D) points and (N, k) their neighbours on the map -> 1 where those are neighbours among the points too, less
    by how far down their ranks are (Venna & Kaski 2001). `rows`: the points that it is measured of, among all; all.
    Raises ValueError for k that is not below half the points."""
    n, k = index.shape
    if 2 * k >= n:
        raise ValueError(
            f"trustworthiness of {k} neighbours wants more than {2 * k} points, not {n}"
        )
    rows = torch.arange(n, device=x.device) if rows is None else rows
    x, beyond = x - x.mean(0), torch.zeros((), dtype=torch.int64, device=x.device)
    for part in split_rows(rows, n):
        d = squared_distances(x[part], x)
        d[torch.arange(len(part), device=x.device), part] = torch.inf
        for near in d.gather(1, index[part]).unbind(1):
            rank = (d < near.unsqueeze(1)).sum(1) + 1
            beyond += (rank - k).clamp_min(0).sum()
    return 1 - float(beyond) * 2 / (len(rows) * k * (2 * n - 3 * k - 1))


def silhouette(x: Tensor, labels: Tensor, rows: Tensor | None = None) -> float:
    """(N, D) points and (N,) labels -> the mean of (b - a) / max(a, b), a being a point's mean distance to its own
    class and b to the next (Rousseeuw 1987); 0 for one alone in its class. `rows` as above. Raises ValueError where
    there is one class."""
    classes, labels = labels.unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError("a silhouette wants two classes")
    member = torch.nn.functional.one_hot(labels, len(classes)).to(x.dtype)
    size, x, total = (
        member.sum(0),
        x - x.mean(0),
        torch.zeros((), dtype=torch.float64, device=x.device),
    )
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    for part in split_rows(rows, len(x)):
        d = squared_distances(x[part], x)
        d[torch.arange(len(part), device=x.device), part] = 0
        sums, own = d.sqrt_() @ member, labels[part].unsqueeze(1)
        a = sums.gather(1, own).squeeze(1) / (size[labels[part]] - 1).clamp_min(1)
        b = (sums / size).scatter(1, own, torch.inf).min(1).values
        s = (b - a) / torch.maximum(a, b).clamp_min(torch.finfo(x.dtype).tiny)
        total += torch.where(size[labels[part]] > 1, s, 0).sum(dtype=torch.float64)
    return float(total) / len(rows)
