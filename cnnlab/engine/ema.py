"""The exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import nn


class ModelEMA:
    """An exponential moving average of a network's weights and buffers.

    The decay is min(decay, (1 + t) / (10 + t)) at update t, so that the random initial weights
    lose their influence early. Integers (counts of batches) are copied. `decay` is in (0, 1);
    raises ValueError otherwise.

    torch's AveragedModel is not used: it copies at its first update where this formula averages.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, not {decay}")
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay, self.num_updates = decay, 0
        # The tensors themselves, found once: a state_dict takes longer than the average.
        tensors, averages = (m.state_dict(keep_vars=True).values() for m in (model, self.model))
        pairs = list(zip(averages, tensors, strict=True))
        self.floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self.integers = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average toward the weights of the network."""
        self.num_updates += 1
        weight = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        averages, values = zip(*self.floats, strict=True)
        torch._foreach_lerp_(averages, values, weight)
        if self.integers:
            averages, values = zip(*self.integers, strict=True)
            torch._foreach_copy_(averages, values)
