"""A network's predictions for a data set."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.inference_mode()
def predict_logits(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return (N, K) float32 logits and (N,) labels on the CPU, in the order of the batches.

    A batch with V views of each image has V times as many images as labels; the views are averaged
    by `average_views`.
    """
    was_training = model.training
    model.eval()
    pairs = [
        (average_views(model(images).float(), len(labels)), labels) for images, labels in batches
    ]
    model.train(was_training)
    logits, labels = (torch.cat(column).cpu() for column in zip(*pairs, strict=True))
    return logits, labels


def average_views(logits: Tensor, num_images: int) -> Tensor:
    """(N * V, K) logits -> (N, K): the log of the views' mean probabilities.

    The mean over views is that of Krizhevsky et al. 2012, section 4.1; one view stays as it is.
    """
    num_views = len(logits) // num_images
    if num_views == 1:
        return logits
    views = logits.view(num_images, num_views, -1)
    return views.log_softmax(2).logsumexp(1) - math.log(num_views)
