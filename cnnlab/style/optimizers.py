"""Two optimizers of an image within 0..1, so that the saved file holds what was optimized.

Gatys leaves pixels unconstrained and clamps them at the end: saved images can then get worse
while the loss still falls.
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from cnnlab.style.canvas import crop_canvas, resize_canvas

# Image -> (terms, of which the loss is the first; gradient of the loss).
LossFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
MAX_BACKTRACKS, ARMIJO_C1 = 10, 1e-4
FIRST_STEP = 0.05  # largest change of a pixel in the first step of L-BFGS


class LBFGS:
    """Projected limited-memory BFGS (Nocedal & Wright 2006, algorithms 7.4 and 7.5).

    Pixels at 0 or 1 that would leave the range are fixed, the others follow the two-loop direction
    and are projected onto the range (Bertsekas 1982). A step is halved until the loss decreases
    enough (Armijo): the loss never rises, and a loss that is not finite is never accepted.
    """

    def __init__(self, loss: LossFunction, x: Tensor, *, history_size: int) -> None:
        """`x`: (1, 3, H, W) in 0..1; `history_size`: steps that the curvature is taken from."""
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
        """Take a step; return False where no direction decreases the loss."""
        x, g = self.x, self.gradient
        fixed = ((x <= 0) & (g > 0)) | ((x >= 1) & (g < 0))
        free = g.masked_fill(fixed, 0)
        d = self.compute_direction(free).masked_fill_(fixed, 0)
        if not float(dot(d, free)) < 0:
            self.history.clear()
            d = self.compute_direction(free)
            if not float(dot(d, free)) < 0:
                return False
        del free, fixed  # each as large as the image
        t = 1.0
        for _ in range(MAX_BACKTRACKS):
            new = torch.add(x, d, alpha=t).clamp_(0, 1)
            terms, gradient = self.loss(new)
            value = float(terms[0])
            is_finite = value < float("inf") and bool(gradient.isfinite().all())
            if is_finite and value <= self.value + ARMIJO_C1 * min(0.0, float(dot(g, new - x))):
                break
            self.num_nonfinite += not is_finite
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
        """Append a step s and its change of the gradient y where the curvature is positive."""
        curvature = dot(s, y)
        if float(curvature) > 1e-10 * float(dot(y, y)):
            self.history.append((s, y, 1 / curvature))

    def compute_direction(self, g: Tensor) -> Tensor:
        """Return -H g by the two-loop recursion; without history, a scaled gradient."""
        if not self.history:
            return g * (-FIRST_STEP / g.abs().max().clamp_min(1e-30))
        q, alphas = g.clone(), list[Tensor]()
        for s, y, rho in reversed(self.history):
            alphas.append(alpha := rho * dot(s, q))
            q.sub_(y * alpha)
        _, y, rho = self.history[-1]
        q.mul_(1 / (rho * dot(y, y)))
        for (s, y, rho), alpha in zip(self.history, reversed(alphas), strict=True):
            q.add_(s * (alpha - rho * dot(y, q)))
        return q.neg_()

    def rescale(self, loss: LossFunction, x: Tensor, margin: int) -> "LBFGS":
        """Return an optimizer for the next scale; the curvature does not carry over."""
        return LBFGS(loss, x, history_size=self.history.maxlen or 1)


class Adam:
    """Adam (Kingma & Ba 2015) clamped to 0..1; its image is the moving average of the iterates.

    Moments are carried over to the next scale, interpolated like the image (Crowson's
    style-transfer-pytorch).
    """

    def __init__(
        self, loss: LossFunction, x: Tensor, *, lr: float, betas: list[float], ema_decay: float
    ) -> None:
        """`lr`: a pixel's change per step, in 0..1; `ema_decay`: of the average, below 1."""
        if not 0 < lr < 1 or len(betas) != 2 or not all(0 <= b < 1 for b in (*betas, ema_decay)):
            raise ValueError(
                f"lr {lr}, betas {betas} and ema_decay {ema_decay} must be between 0 and 1"
            )
        self.loss, self.x, self.lr, self.betas, self.ema_decay = loss, x, lr, betas, ema_decay
        self.steps, self.num_nonfinite = 0, 0
        self.first_moment, self.second_moment = torch.zeros_like(x), torch.zeros_like(x)
        self.ema_sum, self.ema_weight = torch.zeros_like(x), 0.0
        self.terms, self.gradient = loss(x)

    @property
    def image(self) -> Tensor:
        return self.ema_sum / self.ema_weight if self.ema_weight else self.x

    def step(self) -> bool:
        """Take a step; return False once the loss was not finite too often."""
        b1, b2 = self.betas
        self.steps += 1
        self.first_moment = torch.lerp(self.gradient, self.first_moment, b1)
        self.second_moment = torch.lerp(self.gradient.square(), self.second_moment, b2)
        first = self.first_moment / (1 - b1**self.steps)
        second = self.second_moment / (1 - b2**self.steps)
        new = (self.x - self.lr * first / (second.sqrt() + 1e-12)).clamp_(0, 1)
        terms, gradient = self.loss(new)
        if not bool(terms.isfinite().all() & gradient.isfinite().all()):
            return self.restart()
        self.x, self.terms, self.gradient = new, terms, gradient
        self.ema_sum = torch.lerp(new, self.ema_sum, self.ema_decay)
        self.ema_weight = self.ema_decay * self.ema_weight + 1 - self.ema_decay
        return True

    def restart(self) -> bool:
        """Return to the average with half the learning rate and no moments; False if too often."""
        self.num_nonfinite, self.lr, self.steps = self.num_nonfinite + 1, self.lr / 2, 0
        self.x = self.image
        self.first_moment, self.second_moment = (torch.zeros_like(self.x) for _ in range(2))
        self.terms, self.gradient = self.loss(self.x)
        return self.num_nonfinite < MAX_BACKTRACKS

    def rescale(self, loss: LossFunction, x: Tensor, margin: int) -> "Adam":
        """Return the optimizer at the next scale.

        Gradients per pixel are inversely proportional to the number of pixels: so are moments.
        """
        new = Adam(loss, x, lr=self.lr, betas=self.betas, ema_decay=self.ema_decay)
        height, width = crop_canvas(x, margin).shape[2:]
        ratio = self.x[0, 0].numel() / x[0, 0].numel()
        first = resize_canvas(self.first_moment, (height, width), margin)
        second = resize_canvas(self.second_moment, (height, width), margin, "bilinear")
        new.first_moment, new.second_moment = first * ratio, second * ratio**2
        new.steps = self.steps
        return new


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the dot product of two images, in channels-last order."""
    return torch.dot(a.permute(0, 2, 3, 1).reshape(-1), b.permute(0, 2, 3, 1).reshape(-1))


IMAGE_OPTIMIZERS: dict[str, type[LBFGS] | type[Adam]] = {"adam": Adam, "lbfgs": LBFGS}
