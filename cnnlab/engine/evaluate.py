"""A network's answers to every picture of a data set."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.inference_mode()
def answers(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """(pictures, labels) batches -> (N, K) float32 logits and (N,) labels, on the CPU, in the order given."""
    was_training = model.training
    model.eval()
    pairs = [(model(pictures).float(), labels) for pictures, labels in batches]
    model.train(was_training)
    logits, labels = (torch.cat(column).cpu() for column in zip(*pairs, strict=True))
    return logits, labels
