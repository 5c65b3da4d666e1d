"""Frames of a clip stylized one from another, so that the result does not flicker.

A frame starts from the last output, moved as the content is. Pixels whose content did not change
are fixed, also where they were covered meanwhile (long-term consistency); others are held to where
they started by a penalty. Both follow Ruder, Dosovitskiy & Brox (2016, section 4 and equation 5),
with a motion of whole pixels in place of optical flow.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.style.canvas import extend_to_canvas
from cnnlab.style.motion import Motion, average_around, estimate_motion
from cnnlab.style.optimizers import LossFunction

STILL_TOLERANCE = 5 / 255  # largest change of a channel, averaged over 3x3 pixels, of still content
FILL_WINDOW = 31  # pixels a side from which what was covered takes its first colors
OPENING_SIDE = 5  # pixels: smaller islands of still content are not fixed
STEADY_TOLERANCE = 1 / 255  # largest change of a channel that the eye does not see
# Of the pixels of a scene's next frame that match the last one, at least. Measured: a cut 0.01, a
# zoom of 5 % or a turn of 3 degrees from frame to frame 0.37 and more.
MIN_MATCHED_SHARE = 0.25


@dataclass(frozen=True)
class Scene:
    """What the next frame starts from, all (1, 3 or 1, H, W) in 0..1.

    `content` and `output`: of the last frame; `seen_content` and `seen_output`: what was last still
    at each pixel, which reappears behind something that passes.
    """

    content: Tensor
    output: Tensor
    seen_content: Tensor
    seen_output: Tensor

    @classmethod
    def begin(cls, content: Tensor, output: Tensor) -> "Scene":
        """Return the scene after its first frame."""
        return cls(content, output, content, output)

    def extend(self, plan: "FramePlan", output: Tensor) -> "Scene":
        """Return the scene after a further frame."""
        seen, is_seen = (plan.content, output), plan.is_fixed & plan.motion.is_still
        seen_content, seen_output = (
            torch.where(is_seen, new, old)
            for new, old in zip(seen, (self.seen_content, self.seen_output), strict=True)
        )
        return Scene(plan.content, output, seen_content, seen_output)


@dataclass(frozen=True)
class FramePlan:
    """How a frame starts.

    `content` (1, 3, H, W): that of the frame, or where it is fixed that of the frame it has not
    changed since; `start` (1, K, H, W): where the optimization starts; the masks are (1, 1, H, W):
    `is_fixed`, pixels that stay as they start; `is_still`, those of them that are as in the last
    frame, not as before they were covered; `is_matched`, those that are held where they start;
    `motion`: from the last frame; `is_cut`: whether this is another scene.
    """

    content: Tensor
    start: Tensor
    is_fixed: Tensor
    is_still: Tensor
    is_matched: Tensor
    motion: Motion
    is_cut: bool


def plan_frame(scene: Scene, content: Tensor) -> FramePlan:
    """Return the plan of a scene's next frame, with `content` (1, 3, H, W) in 0..1."""
    motion, channels = estimate_motion(scene.content, content), scene.output.shape[1]
    is_background_still = float(motion.is_still.float().mean()) > 0.5
    is_still = find_still_pixels(scene.content, content) & (
        is_background_still | (motion.is_still & motion.is_matched)
    )
    is_seen = find_still_pixels(scene.seen_content, content) & (
        is_background_still | ~motion.is_matched
    )
    stylization = motion.apply(scene.output - scene.content[:, :channels])
    stylization = fill_smoothly(stylization, motion.is_matched)
    start = (content[:, :channels] + stylization).clamp(0, 1)
    for is_kept, old_content, old_output in (
        (is_seen, scene.seen_content, scene.seen_output),
        (is_still, scene.content, scene.output),
    ):
        content = torch.where(is_kept, old_content, content)
        start = torch.where(is_kept, old_output, start)
    return FramePlan(
        content,
        start,
        is_still | is_seen,
        is_still,
        motion.is_matched,
        motion,
        float(motion.is_matched.float().mean()) < MIN_MATCHED_SHARE,
    )


def find_still_pixels(last_content: Tensor, content: Tensor) -> Tensor:
    """Return where the content does not change but for noise, (1, 1, H, W)."""
    change = (content - last_content).abs().amax(1, keepdim=True)
    is_noise = (average_around(change, 3) <= STILL_TOLERANCE) & (change <= 3 * STILL_TOLERANCE)
    return open_mask((change <= STILL_TOLERANCE) | is_noise, OPENING_SIDE)


def fill_smoothly(values: Tensor, is_known: Tensor) -> Tensor:
    """Return (1, K, H, W) with the mean of the known values around in place of the others."""
    known = is_known.float()
    weight = average_around(known, FILL_WINDOW)
    around = average_around(values * known, FILL_WINDOW) / weight.clamp_min(1e-6)
    return torch.where(is_known, values, torch.where(weight > 1e-3, around, 0.0))


def open_mask(mask: Tensor, side: int) -> Tensor:
    """Return a mask (1, 1, H, W) without what no square of `side` pixels fits into."""
    eroded = ~dilate_mask(~mask, side)
    return dilate_mask(eroded, side) & mask


def dilate_mask(mask: Tensor, side: int) -> Tensor:
    """Return where a square of `side` pixels around a pixel has one of the mask, (1, 1, H, W)."""
    return average_around(mask.float(), side) > 0.5 / side**2


def hold_pixels(loss: LossFunction, plan: FramePlan, weight: float, margin: int) -> LossFunction:
    """Return a loss with a penalty on changes of matched pixels, without gradient at fixed ones.

    The penalty is `weight` times the mean squared change from the start. Both take a canvas.
    """
    anchor = extend_to_canvas(plan.start, margin)
    is_fixed = extend_to_canvas(plan.is_fixed.float(), margin) > 0.5
    matched = extend_to_canvas(plan.is_matched.float(), margin) * (weight / anchor.numel())

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        terms, gradient = loss(x)
        pull = matched * (x - anchor)
        terms = terms.clone()
        terms[0] += (pull * (x - anchor)).sum()
        return terms, (gradient + 2 * pull).masked_fill_(is_fixed, 0)

    return evaluate


@dataclass
class Flicker:
    """The mean change of outputs, in 0..1, where content stays as it is, or as it is moved.

    That is where no channel of the content changes by more than STEADY_TOLERANCE from a frame to
    the next, outputs being moved as the content is (the warping error of Lai et al. 2018).
    """

    total: float = 0.0
    num_pixels: int = 0

    def add(
        self, motion: Motion, contents: tuple[Tensor, Tensor], outputs: tuple[Tensor, Tensor]
    ) -> None:
        """Add two successive frames, each (1, 3, H, W), and the motion between them."""
        change = (contents[1] - motion.apply(contents[0])).abs().amax(1, keepdim=True)
        is_steady = (change <= STEADY_TOLERANCE + 1e-6) & motion.is_matched
        difference = (outputs[1] - motion.apply(outputs[0])).abs().mean(1, keepdim=True)
        self.total += float(difference[is_steady].double().sum())
        self.num_pixels += int(is_steady.sum())

    @property
    def mean(self) -> float | None:
        """Return the mean, None where there is no such pixel."""
        return self.total / self.num_pixels if self.num_pixels else None
