"""From coarse to fine: a small picture first, which settles what is large, then what it became, enlarged, as the start
of the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.core.memory import release_cached
from cnnlab.style.budget import TransferBudget
from cnnlab.style.losses import Objective
from cnnlab.style.optimizers import LBFGS, Adam, LossFunction
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import TransferLoss

ImageOptimizer = LBFGS | Adam


@dataclass(frozen=True)
class TransferState:
    """Where a transfer stands after a step. `scale` and `step` count from 1, `total` over all scales; `terms` as
    Objective has them; `unsound`: how often at this scale a loss was not finite; `last`: the scale ends here;
    `objective`: what is minimised there."""

    scale: int
    step: int
    total_steps: int
    image: Tensor
    terms: Tensor
    num_nonfinite: int
    is_last: bool
    objective: Objective

    @property
    def size(self) -> Size:
        height, width = self.image.shape[2:]
        return height, width


def transfer_style(
    transfer_loss: TransferLoss,
    make_initial_image: Callable[[Size], Tensor],
    make_optimizer: Callable[[LossFunction, Tensor], ImageOptimizer],
    budget: TransferBudget,
) -> Iterator[TransferState]:
    """Paint at each of the budget's sizes in turn, from what `begin` gives at the first, until it has had enough; after
    each step, where it stands. Raises CnnlabError where the first loss of a scale is not finite."""
    descent: ImageOptimizer | None = None
    total = 0
    for scale, size in enumerate(budget.sizes, 1):
        release_cached()  # pieces of memory as small as the last scale's are of no use here
        objective = transfer_loss.make_objective(size)
        loss = transfer_loss.make_loss_function(objective)
        x = (
            make_initial_image(size) if descent is None else upsample_bicubic(descent.image, size)
        ).clamp(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        descent = descent.rescale(loss, x) if descent else make_optimizer(loss, x)
        if not bool(descent.terms.isfinite().all()):
            raise CnnlabError(
                f"the loss is not finite before the first step at {size[1]}x{size[0]}"
            )
        for step in count(1):
            moved = descent.step()
            total += 1
            last = budget.should_stop(scale, step) or not moved
            yield TransferState(
                scale,
                step,
                total,
                descent.image,
                descent.terms,
                descent.num_nonfinite,
                last,
                objective,
            )
            if last:
                break
        if not budget.can_start(scale + 1):
            break


def upsample_bicubic(picture: Tensor, size: Size) -> Tensor:
    """(1, 3, h, w) -> (1, 3, H, W), bicubic."""
    if picture.shape[2:] == size:
        return picture
    return interpolate(picture, size, mode="bicubic", align_corners=False).clamp(0, 1)
