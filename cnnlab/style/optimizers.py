"""Two ways down, each within 0..1: what a file can hold is then what was optimised.

Gatys lets pixels run free and cuts off what is outside at the end, which throws away some of what was won: the pictures
that are saved can get worse while the loss still falls.
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

LossFunction = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # a picture -> terms (the loss is the first) and its gradient
MAX_BACKTRACKS, ARMIJO_C1 = 10, 1e-4


class LBFGS:
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithms 7.4 and 7.5) by projection: pixels at 0 or 1 that would
    leave are held, the others follow the two-loop direction, and what steps out is put back on the border
    (Bertsekas 1982). A step is halved until the loss falls enough (Armijo), so that it never rises, and a loss that is
    not finite is never taken."""

    def __init__(self, loss: LossFunction, x: Tensor, *, history_size: int) -> None:
        """`x`: (1, 3, H, W) in 0..1; `memory`: past steps that shape a direction."""
        if history_size < 1:
            raise ValueError(f"history_size must be at least 1, not {history_size}")
        self.loss, self.x, self.num_nonfinite = loss, x, 0
        self.history: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history_size)
        self.terms, self.gradient = loss(x)
        self.value = float(self.terms[0])

    @property
    def image(self) -> Tensor:
        return self.x

    def step(self) -> bool:
        """One step; False where there is nowhere lower to go."""
        x, g = self.x, self.gradient
        held = ((x <= 0) & (g > 0)) | ((x >= 1) & (g < 0))
        free = g.masked_fill(held, 0)
        d = self.compute_direction(free).masked_fill_(held, 0)
        if not float(dot(d, free)) < 0:
            self.history.clear()
            d = self.compute_direction(free)
            if not float(dot(d, free)) < 0:
                return False
        del free, held  # as large as the picture
        t = 1.0
        for _ in range(MAX_BACKTRACKS):
            new = torch.add(x, d, alpha=t).clamp_(0, 1)
            terms, gradient = self.loss(new)
            value = float(terms[0])
            sound = value < float("inf") and bool(gradient.isfinite().all())
            if sound and value <= self.value + ARMIJO_C1 * min(0.0, float(dot(g, new - x))):
                break
            self.num_nonfinite += not sound
            t *= 0.5
        else:
            if not self.history:
                return False
            self.history.clear()
            return self.step()
        self.update_history(new - x, gradient - g)
        self.x, self.terms, self.gradient, self.value = new, terms, gradient, value
        return True

    def update_history(self, s: Tensor, y: Tensor) -> None:
        """A step and what it did to the gradient, where the curvature along it is positive."""
        curvature = dot(s, y)
        if float(curvature) > 1e-10 * float(dot(y, y)):
            self.history.append((s, y, 1 / curvature))

    def compute_direction(self, g: Tensor) -> Tensor:
        """-H g; without a past, the gradient's direction, the largest change a twentieth of the range."""
        if not self.history:
            return g * (-0.05 / g.abs().max().clamp_min(1e-30))
        q, kept = g.clone(), list[Tensor]()
        for s, y, rho in reversed(self.history):
            kept.append(alpha := rho * dot(s, q))
            q.sub_(y * alpha)
        _, y, rho = self.history[-1]
        q.mul_(1 / (rho * dot(y, y)))
        for (s, y, rho), alpha in zip(self.history, reversed(kept), strict=True):
            q.add_(s * (alpha - rho * dot(y, q)))
        return q.neg_()

    def rescale(self, loss: LossFunction, x: Tensor) -> "LBFGS":
        """At the next scale: what was learned of the curvature does not carry over."""
        return LBFGS(loss, x, history_size=self.history.maxlen or 1)


class Adam:
    """Adam (Kingma & Ba 2015) with pixels put back into 0..1, and the average of its iterates as the picture. Its
    moments are carried from scale to scale, enlarged with the picture (Crowson's style-transfer-pytorch)."""

    def __init__(
        self, loss: LossFunction, x: Tensor, *, lr: float, betas: list[float], ema_decay: float
    ) -> None:
        """`lr`: pixels' change a step, in 0..1; `average`: how much of the mean so far each step keeps, below 1."""
        if not 0 < lr < 1 or len(betas) != 2 or not all(0 <= b < 1 for b in (*betas, ema_decay)):
            raise ValueError(
                f"lr {lr}, betas {betas} and ema_decay {ema_decay} must be between 0 and 1"
            )
        self.loss, self.x, self.lr, self.betas, self.ema_decay = loss, x, lr, betas, ema_decay
        self.steps, self.num_nonfinite = 0, 0
        self.first_moment, self.second_moment, self.ema_sum, self.ema_weight = (
            *(torch.zeros_like(x) for _ in range(3)),
            0.0,
        )
        self.terms, self.gradient = loss(x)

    @property
    def image(self) -> Tensor:
        return self.ema_sum / self.ema_weight if self.ema_weight else self.x

    def step(self) -> bool:
        """One step. Where the loss it leads to is not finite the picture goes back to the average, the moments are
        forgotten and the rate is halved; False once that has happened too often."""
        b1, b2 = self.betas
        self.steps += 1
        self.first_moment = torch.lerp(self.gradient, self.first_moment, b1)
        self.second_moment = torch.lerp(self.gradient.square(), self.second_moment, b2)
        first, second = (
            m / (1 - b**self.steps) for m, b in ((self.first_moment, b1), (self.second_moment, b2))
        )
        new = (self.x - self.lr * first / (second.sqrt() + 1e-12)).clamp_(0, 1)
        terms, gradient = self.loss(new)
        if not bool(terms.isfinite().all() & gradient.isfinite().all()):
            self.num_nonfinite, self.lr, self.steps, self.x = (
                self.num_nonfinite + 1,
                self.lr / 2,
                0,
                self.image,
            )
            self.first_moment, self.second_moment = torch.zeros_like(new), torch.zeros_like(new)
            self.terms, self.gradient = self.loss(self.x)
            return self.num_nonfinite < MAX_BACKTRACKS
        self.x, self.terms, self.gradient = new, terms, gradient
        self.ema_sum, self.ema_weight = (
            torch.lerp(new, self.ema_sum, self.ema_decay),
            self.ema_decay * self.ema_weight + 1 - self.ema_decay,
        )
        return True

    def rescale(self, loss: LossFunction, x: Tensor) -> "Adam":
        """The same at the next scale. Gradients per pixel shrink with the number of pixels: moments with them."""
        new = Adam(loss, x, lr=self.lr, betas=self.betas, ema_decay=self.ema_decay)
        size, fewer = x.shape[2:], self.x[0, 0].numel() / x[0, 0].numel()
        new.first_moment = (
            interpolate(self.first_moment, size, mode="bicubic", align_corners=False) * fewer
        )
        new.second_moment = (
            interpolate(self.second_moment, size, mode="bilinear", align_corners=False) * fewer**2
        )
        new.steps = self.steps
        return new


def dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.permute(0, 2, 3, 1).reshape(-1), b.permute(0, 2, 3, 1).reshape(-1))


IMAGE_OPTIMIZERS: dict[str, type[LBFGS] | type[Adam]] = {"adam": Adam, "lbfgs": LBFGS}
