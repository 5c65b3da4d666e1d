"""A network's answers to every picture of a data set."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.inference_mode()
def predict_logits(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """(pictures, labels) batches -> (N, K) float32 logits and (N,) labels, on the CPU, in the order given. Where there
    are several pictures for a label, its views side by side, `over_views` makes one answer of theirs."""
    was_training = model.training
    model.eval()
    pairs = [
        (average_views(model(pictures).float(), len(labels)), labels)
        for pictures, labels in batches
    ]
    model.train(was_training)
    logits, labels = (torch.cat(column).cpu() for column in zip(*pairs, strict=True))
    return logits, labels


def average_views(logits: Tensor, pictures: int) -> Tensor:
    """(pictures * V, K) logits -> (pictures, K): the logarithm of the mean of the V views' probabilities (Krizhevsky et
    al. 2012, section 4.1); as they are where V is 1."""
    count = len(logits) // pictures
    if count == 1:
        return logits
    return logits.view(pictures, count, -1).log_softmax(2).logsumexp(1) - math.log(count)
