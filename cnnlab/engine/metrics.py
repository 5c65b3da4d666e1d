"""Scores from (N, K) logits and (N,) labels, in float64: the same whatever batches they came in."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_CALIBRATION_BINS = 15  # of the calibration error, as in Guo et al. 2017
NUM_BATCH_DRAWS = 1_000  # single batches that are tried
Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927). Raises ValueError where nothing was counted."""
    if total < 1:
        raise ValueError("no pictures to score")
    p, z2 = hits / total, Z95**2
    centre, half = p + z2 / (2 * total), Z95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return max(0.0, (centre - half) / (1 + z2 / total)), min(
        1.0, (centre + half) / (1 + z2 / total)
    )


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(N,) predicted and (N,) true classes -> (K, K) counts, rows = true."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def precision_recall_f1(counts: Tensor) -> dict[str, Tensor]:
    """(K, K) confusion counts -> (K,) precision, recall and F1, zero where there is nothing to divide by."""
    hits, true, predicted = counts.diag().double(), counts.sum(1).double(), counts.sum(0).double()
    return {
        "precision": hits / predicted.clamp(min=1),
        "recall": hits / true.clamp(min=1),
        "f1": 2 * hits / (true + predicted).clamp(min=1),
    }


def measure_calibration(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """(N, K) probabilities -> the expected calibration error, and for 15 equal bins of confidence (lower edge
    excluded) the count, mean confidence and accuracy (Guo et al. 2017, section 2)."""
    confidence, predicted = probabilities.double().max(1)
    hits = (predicted == labels).double()
    which = (
        (torch.ceil(confidence * NUM_CALIBRATION_BINS) - 1)
        .clamp(0, NUM_CALIBRATION_BINS - 1)
        .long()
    )
    count, sure, right = (
        torch.zeros(NUM_CALIBRATION_BINS, dtype=torch.float64).index_add_(0, which, v)
        for v in (torch.ones_like(hits), confidence, hits)
    )
    filled = count.clamp(min=1)
    return {
        "error": float((sure - right).abs().sum() / count.sum()),
        "bins": {
            "count": count.long().tolist(),
            "confidence": (sure / filled).tolist(),
            "accuracy": (right / filled).tolist(),
        },
    }


def compute_summary_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, error and mean cross-entropy: what training watches."""
    accuracy = float((logits.argmax(1) == labels).double().mean())
    loss = float(F.cross_entropy(logits.double(), labels))
    return {"accuracy": accuracy, "error": 1 - accuracy, "loss": loss}


def classification_report(
    logits: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> dict[str, Any]:
    """All that `eval` reports, as plain numbers ready for JSON."""
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
    """(N,) which answers are right -> mean, standard deviation and best of the accuracies that `draws` single batches
    of `size` pictures would have shown, each drawn without repetition. Raises ValueError where there are fewer."""
    if not 1 <= batch_size <= len(hits):
        raise ValueError(
            f"a batch must hold between 1 and {len(hits):,} pictures, not {batch_size}"
        )
    right = hits.double()
    found = torch.stack(
        [
            right[torch.randperm(len(right), generator=rng)[:batch_size]].mean()
            for _ in range(num_batches)
        ]
    )
    return {
        "mean": float(found.mean()),
        "std": float(found.std()),
        "best": float(found.max()),
    }


def compare_paired_accuracy(first: Tensor, second: Tensor) -> dict[str, Any]:
    """(S, N) and (T, N) which answers of S and T networks to the same N pictures are right -> how much more often the
    second ones are, as a share of all, its 95 % interval over pictures (the networks taken as they are), and the
    two-sided probability of as much where there is no difference: by McNemar's exact test for one network each, else by
    the normal distribution. Raises ValueError for other pictures."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]:,} pictures cannot be paired with {second.shape[1]:,}")
    gain = second.double().mean(0) - first.double().mean(0)
    mean, error = float(gain.mean()), float(gain.std(correction=0)) / math.sqrt(len(gain))
    if len(first) == len(second) == 1:
        from scipy.special import bdtr

        better, worse = int((gain > 0).sum()), int((gain < 0).sum())
        p = (
            min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))
            if better + worse
            else 1.0
        )
    else:
        p = math.erfc(abs(mean) / error / math.sqrt(2)) if error else float(mean == 0)
    return {"difference": mean, "interval_95": (mean - Z95 * error, mean + Z95 * error), "p_value": p}
