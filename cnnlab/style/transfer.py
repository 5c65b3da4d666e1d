"""Coarse-to-fine style transfer.

A small image first, which settles large structures; its enlargement starts the next scale.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.core.memory import release_cached
from cnnlab.style.canvas import crop_canvas, extend_to_canvas, resize_canvas
from cnnlab.style.guidance import GuidedObjective
from cnnlab.style.optimizers import LBFGS, Adam, LossFunction
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import TransferLoss, spatial_size
from cnnlab.style.time_budget import TransferBudget

ImageOptimizer = LBFGS | Adam


@dataclass(frozen=True)
class TransferState:
    """A transfer after a step.

    `scale` and `step` count from 1; `total_steps`: over all scales; `image`: (1, 3, H, W) without
    its margin; `terms`: as Objective returns them, of the canvas; `num_nonfinite`: how often at
    this scale a loss was not finite; `is_last`: whether the scale ends here.
    """

    scale: int
    step: int
    total_steps: int
    image: Tensor
    terms: Tensor
    num_nonfinite: int
    is_last: bool
    objective: GuidedObjective

    @property
    def size(self) -> Size:
        return spatial_size(self.image)


def transfer_style(
    transfer_loss: TransferLoss,
    make_initial_image: Callable[[Size], Tensor],
    make_optimizer: Callable[[LossFunction, Tensor], ImageOptimizer],
    budget: TransferBudget,
) -> Iterator[TransferState]:
    """Optimize an image at each of the budget's sizes; yield the state after each step.

    `make_initial_image`: the first scale's size -> (1, 3, H, W), or (1, 1, H, W) for a gray image.
    Raises CnnlabError where the first loss of a scale is not finite.
    """
    optimizer: ImageOptimizer | None = None
    total_steps, margin = 0, transfer_loss.margin
    for scale, size in enumerate(budget.sizes, 1):
        release_cached()  # blocks as small as the last scale's are of no use here
        objective = transfer_loss.make_objective(size)
        loss = transfer_loss.make_loss_function(objective)
        x = (
            extend_to_canvas(make_initial_image(size), margin)
            if optimizer is None
            else resize_canvas(optimizer.image, size, margin, wrap=transfer_loss.wrap)
        )
        x = x.clamp(0, 1).contiguous(memory_format=torch.channels_last)
        optimizer = optimizer.rescale(loss, x, margin) if optimizer else make_optimizer(loss, x)
        if not bool(optimizer.terms.isfinite().all()):
            at = f"{size[1]}x{size[0]}"
            raise CnnlabError(f"the loss is not finite before the first step at {at}")
        for step in count(1):
            has_moved = optimizer.step()
            total_steps += 1
            is_last = budget.should_stop(scale, step) or not has_moved
            yield TransferState(
                scale,
                step,
                total_steps,
                crop_canvas(objective.mix_content(optimizer.image), margin).expand(-1, 3, -1, -1),
                optimizer.terms,
                optimizer.num_nonfinite,
                is_last,
                objective,
            )
            if is_last:
                break
        if not budget.can_start(scale + 1):
            break


def resize_bicubic(image: Tensor, size: Size) -> Tensor:
    """Return (1, 3, h, w) at (H, W) by bicubic interpolation, clamped to 0..1.

    Antialiased where it is reduced.
    """
    if image.shape[2:] == size:
        return image
    is_reduced = image.shape[2] > size[0] or image.shape[3] > size[1]
    resized = interpolate(image, size, mode="bicubic", align_corners=False, antialias=is_reduced)
    return resized.clamp(0, 1)
