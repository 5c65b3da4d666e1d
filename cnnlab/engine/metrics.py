"""Metrics of (N, K) logits and (N,) labels in float64, independent of the batch size."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_CALIBRATION_BINS = 15  # as in Guo et al. 2017
NUM_BATCH_DRAWS = 1_000  # random single batches
Z95 = 1.959963984540054  # 97.5% quantile of the normal distribution


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Return the 95% score interval of a proportion (Wilson 1927).

    Raises ValueError if `total` is 0.
    """
    if total < 1:
        raise ValueError("no images to evaluate")
    p, z2 = hits / total, Z95**2
    center = p + z2 / (2 * total)
    half_width = Z95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    scale = 1 + z2 / total
    return max(0.0, (center - half_width) / scale), min(1.0, (center + half_width) / scale)


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(N,) predictions and (N,) labels -> (K, K) counts, rows = labels."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def precision_recall_f1(counts: Tensor) -> dict[str, Tensor]:
    """(K, K) confusion counts -> (K,) precision, recall and F1; zero for empty classes."""
    hits, true, predicted = counts.diag().double(), counts.sum(1).double(), counts.sum(0).double()
    return {
        "precision": hits / predicted.clamp(min=1),
        "recall": hits / true.clamp(min=1),
        "f1": 2 * hits / (true + predicted).clamp(min=1),
    }


def measure_calibration(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return the expected calibration error of (N, K) probabilities, and its bins.

    For each of 15 equal bins of confidence (lower edge excluded): count, mean confidence and
    accuracy (Guo et al. 2017, section 2).
    """
    confidence, predicted = probabilities.double().max(1)
    hits = (predicted == labels).double()
    upper_edges = torch.ceil(confidence * NUM_CALIBRATION_BINS)
    bins = (upper_edges - 1).clamp(0, NUM_CALIBRATION_BINS - 1).long()
    count, confidence_sum, hit_sum = (
        torch.zeros(NUM_CALIBRATION_BINS, dtype=torch.float64).index_add_(0, bins, values)
        for values in (torch.ones_like(hits), confidence, hits)
    )
    divisor = count.clamp(min=1)
    return {
        "error": float((confidence_sum - hit_sum).abs().sum() / count.sum()),
        "bins": {
            "count": count.long().tolist(),
            "confidence": (confidence_sum / divisor).tolist(),
            "accuracy": (hit_sum / divisor).tolist(),
        },
    }


def compute_summary_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy, error and mean cross-entropy."""
    accuracy = float((logits.argmax(1) == labels).double().mean())
    loss = float(F.cross_entropy(logits.double(), labels))
    return {"accuracy": accuracy, "error": 1 - accuracy, "loss": loss}


def classification_report(
    logits: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return all metrics of `cnnlab eval` as plain numbers for JSON."""
    predicted, hits = logits.argmax(1), int((logits.argmax(1) == labels).sum())
    counts = confusion_matrix(predicted, labels, len(classes))
    columns = {name: column.tolist() for name, column in precision_recall_f1(counts).items()}
    return {
        **compute_summary_metrics(logits, labels),
        "correct": hits,
        "images": len(labels),
        "interval_95": wilson_interval(hits, len(labels)),
        "calibration": measure_calibration(logits.double().softmax(1), labels),
        "classes": {
            name: {"images": int(counts[k].sum())}
            | {metric: column[k] for metric, column in columns.items()}
            for k, name in enumerate(classes)
        },
        "confusion": counts.tolist(),
    }


def sample_batch_accuracies(
    hits: Tensor, *, batch_size: int, num_batches: int, rng: torch.Generator
) -> dict[str, float]:
    """Return mean, std and best of the accuracies of random single batches.

    `hits`: (N,) whether each prediction is right. Each batch is drawn without replacement. Raises
    ValueError if there are fewer than `batch_size` images.
    """
    if not 1 <= batch_size <= len(hits):
        raise ValueError(f"a batch must hold between 1 and {len(hits):,} images, not {batch_size}")
    values = hits.double()
    accuracies = torch.stack(
        [
            values[torch.randperm(len(values), generator=rng)[:batch_size]].mean()
            for _ in range(num_batches)
        ]
    )
    return {
        "mean": float(accuracies.mean()),
        "std": float(accuracies.std()),
        "best": float(accuracies.max()),
    }


def compare_paired_accuracy(first: Tensor, second: Tensor) -> dict[str, Any]:
    """Return the difference of accuracy between two groups of networks, and a paired test of it.

    `first`: (S, N) and `second`: (T, N) whether the predictions of S and T networks for the same N
    images are right. Returns the difference (second minus first), its 95% interval over images for
    these networks, and the two-sided p-value: McNemar's exact test for one network each, else the
    normal approximation. Raises ValueError if the numbers of images differ.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]:,} images cannot be paired with {second.shape[1]:,}")
    gain = second.double().mean(0) - first.double().mean(0)
    mean, error = float(gain.mean()), float(gain.std(correction=0)) / math.sqrt(len(gain))
    if len(first) == len(second) == 1:
        from scipy.special import bdtr

        better, worse = int((gain > 0).sum()), int((gain < 0).sum())
        p = 1.0
        if better + worse:
            p = min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))
    else:
        p = math.erfc(abs(mean) / error / math.sqrt(2)) if error else float(mean == 0)
    interval = (mean - Z95 * error, mean + Z95 * error)
    return {"difference": mean, "interval_95": interval, "p_value": p}
