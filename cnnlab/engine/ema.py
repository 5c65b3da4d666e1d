"""The exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import nn


class ModelEMA:
    """An exponential moving average of a network's weights and running statistics.

    The decay is min(decay, (1 + t) / (10 + t)) at update t, so that the first, random weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, not {decay}")
        self.model, self.decay, self.num_updates = (
            deepcopy(model).eval().requires_grad_(False),
            decay,
            0,
        )

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`."""
        self.num_updates += 1
        weight = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        pairs = list(
            zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        )
        floats = [(mine, new) for mine, new in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [new for _, new in floats], weight)
        for mine, new in pairs:
            if not mine.is_floating_point():
                mine.copy_(new)
