"""What a training minimizes and what is measured of it: here, of a classifier."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.metrics import compute_summary_metrics


class Objective(Protocol):
    """A loss, and the metrics that are logged beside it."""

    @property
    def fingerprint(self) -> str | None:
        """A digest of the files that the loss depends on; None if there are none."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics in training, M of them."""

    def compute_loss(
        self, outputs: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return a batch's mean loss and the (M,) sums of its images' metrics.

        `outputs`: the network's, of (N, C, H, W) `images`.
        """

    def evaluate(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
    ) -> dict[str, float]:
        """Return the network's scores on all images of some batches."""

    def format_metrics(self, metrics: dict[str, float]) -> str:
        """Return the metrics in training as the progress line shows them."""

    def format_scores(self, scores: dict[str, float]) -> str:
        """Return the scores of a validation as the progress line shows them."""


@dataclass(frozen=True)
class CrossEntropy:
    """The cross-entropy of a classifier's logits, and its accuracy."""

    label_smoothing: float
    fingerprint = None
    metrics = ("accuracy",)

    def compute_loss(
        self, outputs: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss of (N, K) logits in float32, and the number of hits, (1,).

        `labels`: (N,) classes, or (N, K) shares, of which the largest counts.
        """
        loss = F.cross_entropy(outputs.float(), labels, label_smoothing=self.label_smoothing)
        with torch.no_grad():
            classes = labels if labels.ndim == 1 else labels.argmax(1)
            is_hit = outputs.argmax(1) == classes
        return loss, is_hit.sum(0, keepdim=True, dtype=torch.float32)

    def evaluate(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
    ) -> dict[str, float]:
        """Return accuracy, error and loss."""
        return compute_summary_metrics(*predict_logits(model, batches))

    def format_metrics(self, metrics: dict[str, float]) -> str:
        return f"acc {metrics['accuracy']:.2%}"

    def format_scores(self, scores: dict[str, float]) -> str:
        return f"val {scores['accuracy']:.2%}"
