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

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average toward the weights of `model`."""
        self.num_updates += 1
        weight = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        values = model.state_dict().values()
        pairs = list(zip(self.model.state_dict().values(), values, strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [x for _, x in floats], weight)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
