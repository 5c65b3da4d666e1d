"""From coarse to fine: a small picture first, which settles what is large, then what it became, enlarged, as the start
of the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.core.memory import hand_back
from cnnlab.style.budget import Budget
from cnnlab.style.losses import Objective
from cnnlab.style.optimizers import LBFGS, Adam, Loss
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import Easel

Descent = LBFGS | Adam


@dataclass(frozen=True)
class State:
    """Where a transfer stands after a step. `scale` and `step` count from 1, `total` over all scales; `terms` as
    Objective has them; `unsound`: how often at this scale a loss was not finite; `last`: the scale ends here;
    `objective`: what is minimised there."""

    scale: int
    step: int
    total: int
    picture: Tensor
    terms: Tensor
    unsound: int
    last: bool
    objective: Objective

    @property
    def size(self) -> Size:
        height, width = self.picture.shape[2:]
        return height, width


def transfer(
    easel: Easel,
    begin: Callable[[Size], Tensor],
    descend: Callable[[Loss, Tensor], Descent],
    budget: Budget,
) -> Iterator[State]:
    """Paint at each of the budget's sizes in turn, from what `begin` gives at the first, until it has had enough; after
    each step, where it stands. Raises CnnlabError where the first loss of a scale is not finite."""
    descent: Descent | None = None
    total = 0
    for scale, size in enumerate(budget.sizes, 1):
        hand_back()  # pieces of memory as small as the last scale's are of no use here
        objective = easel.objective(size)
        loss = easel.loss(objective)
        x = (begin(size) if descent is None else enlarged(descent.picture, size)).clamp(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        descent = descent.larger(loss, x) if descent else descend(loss, x)
        if not bool(descent.terms.isfinite().all()):
            raise CnnlabError(f"the loss is not finite before the first step at {size[1]}x{size[0]}")
        for step in count(1):
            moved = descent.step()
            total += 1
            last = budget.enough(scale, step) or not moved
            yield State(scale, step, total, descent.picture, descent.terms, descent.unsound, last, objective)
            if last:
                break
        if not budget.holds(scale + 1):
            break


def enlarged(picture: Tensor, size: Size) -> Tensor:
    """(1, 3, h, w) -> (1, 3, H, W), bicubic."""
    if picture.shape[2:] == size:
        return picture
    return interpolate(picture, size, mode="bicubic", align_corners=False).clamp(0, 1)
