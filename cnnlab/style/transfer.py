"""From coarse to fine: a small picture first, which settles what is large, then what it became, enlarged, as the start
of the next."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.style.descent import LBFGS, Adam, Loss
from cnnlab.style.features import Encoder
from cnnlab.style.losses import Aim, Maps, Objective, Sitters, blend, gram, unrelated, wide
from cnnlab.style.plan import Budget, Size, painting_size

Picture = Callable[[Size], Tensor]  # a picture at a size, (1, 3, H, W) in 0..1, on the device
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


@dataclass(frozen=True, kw_only=True)
class Easel:
    """A network and what it paints from. `style_sizes`: each painting's own (H, W); `style_weights`: what each counts;
    `style_scale`: a painting's side as a share of what gives it the picture's area (it is never enlarged)."""

    encoder: Encoder
    content: Picture
    styles: Sequence[Picture]
    style_sizes: Sequence[Size]
    style_weights: Sequence[float]
    style_scale: float
    aim: Aim
    variation: float
    dtype: torch.dtype  # of the convolutions; Gram matrices are float32

    @property
    def names(self) -> tuple[str, ...]:
        """The ReLUs that must be known."""
        return (*dict.fromkeys((*self.aim.layers, self.aim.content_layer)),)

    def maps(self, x: Tensor, names: Sequence[str]) -> Maps:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            return self.encoder(x.contiguous(memory_format=torch.channels_last), names)

    def painting_sizes(self, size: Size) -> list[Size]:
        """Each painting's size beside a picture's."""
        return [painting_size(own, size, self.style_scale) for own in self.style_sizes]

    @torch.no_grad()
    def sitters(self, size: Size) -> Sitters:
        """What a picture of a size is held against."""
        photograph = self.maps(self.content(size), self.names)
        P, grams, apart = wide(photograph[self.aim.content_layer]), [], list[Tensor]()
        for painting, own in zip(self.styles, self.painting_sizes(size), strict=True):
            maps = self.maps(painting(own), self.names)
            grams.append(self.grams(maps))
            apart.append(unrelated(P, wide(maps[self.aim.content_layer])))
        far = torch.stack(apart) @ P.new_tensor(self.style_weights) / sum(self.style_weights)
        return Sitters(P, far, blend(grams, self.style_weights), self.grams(photograph))

    def grams(self, maps: Maps) -> dict[str, Tensor]:
        return {name: gram(maps[name]) for name in self.aim.layers}

    def objective(self, size: Size) -> Objective:
        """The loss of a picture of a size."""
        sitters = self.sitters(size)
        return Objective(sitters, self.aim.scales(sitters), self.aim, self.variation)

    def judged(self, objective: Objective, x: Tensor) -> Tensor:
        """A picture's terms."""
        return objective(self.maps(x, self.names), x)

    def loss(self, objective: Objective) -> Loss:
        """A picture -> its terms, and the loss's gradient, in the picture's own layout of memory."""

        def loss(x: Tensor) -> tuple[Tensor, Tensor]:
            x = x.detach().requires_grad_()
            terms = self.judged(objective, x)
            (gradient,) = torch.autograd.grad(terms[0], x)
            return terms.detach(), gradient.contiguous(memory_format=torch.channels_last)

        return loss


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
