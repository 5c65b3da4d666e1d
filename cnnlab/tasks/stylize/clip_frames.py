"""Stylize the frames of a clip in turn, within its steps or its time."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.core.progress import Progress, format_duration
from cnnlab.style.canvas import crop_canvas, extend_to_canvas
from cnnlab.style.color_transfer import luminance_as_rgb, restore_content_colors
from cnnlab.style.frames import Flicker, FramePlan, Scene, hold_pixels, plan_frame
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS, LBFGS
from cnnlab.style.source_image import SourceImage, image_to_tensor, tensor_to_image
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.transfer import TransferState, resize_bicubic, transfer_style
from cnnlab.tasks.stylize.setup import StyleSetup, TransferJob, prepare_job

WARM_HISTORY_SIZE = 5  # L-BFGS steps for a scene's later frames, where no memory is planned for it


@dataclass(frozen=True)
class FrameResult:
    """A stylized frame: (H, W, 3) uint8, its terms, its steps, and the share of fixed pixels."""

    pixels: np.ndarray
    terms: Tensor
    steps: int
    fixed_share: float
    is_cut: bool


class Interrupted(Exception):
    """A signal stopped a frame."""


@dataclass
class ClipClock:
    """The time that is left for a clip's frames; without a limit frames have their steps.

    `deadline`: of the last frame, on the monotonic clock.
    """

    num_frames: int
    deadline: float = float("inf")
    frame_seconds: list[float] = field(default_factory=list)  # of frames after a scene's first

    @property
    def has_limit(self) -> bool:
        return self.deadline < float("inf")

    def share_s(self, number: int, weight: float) -> float:
        """Return the seconds of a frame, by its number from 1, that counts as `weight` others."""
        frames_after = self.num_frames - number
        return (self.deadline - monotonic()) * weight / (weight + frames_after)

    def remaining_s(self, number: int, frame_s: float) -> float:
        """Return the estimated seconds left after a frame's own; `frame_s`: of each further one."""
        return (self.num_frames - number) * frame_s


@dataclass
class FrameStylist:
    """The state of a clip: its scene, and the numbers of the frames so far.

    `job`: of the scene's first frame; `colors`: the last frame's RGB content.
    """

    setup: StyleSetup
    job: TransferJob
    clock: ClipClock
    progress: Progress
    has_stopped: Callable[[], bool]
    scene: Scene | None = None
    colors: Tensor | None = None
    flicker: Flicker = field(default_factory=Flicker)
    last_frame: tuple[Tensor, Tensor] | None = None  # content and output, RGB

    def stylize(self, number: int, source: SourceImage) -> FrameResult:
        """Stylize a frame by its number, from 1. Raises Interrupted for a signal."""
        size, device = self.job.size, self.setup.device
        colors = image_to_tensor(source.resize(size)).to(device)
        content = luminance_as_rgb(colors) if self.is_gray_transfer else colors
        plan = plan_frame(self.scene, content) if self.scene else None
        is_colored = self.job.channels == 1 and not self.is_gray_transfer and not source.is_gray
        if plan is None or plan.is_cut or is_colored:
            result = self.begin_scene(number, source, colors, content)
        else:
            result = self.continue_scene(number, plan, colors)
        output = image_to_tensor(Image.fromarray(result.pixels)).to(device)
        if self.last_frame and plan and not result.is_cut:
            old_content, old_output = self.last_frame
            self.flicker.add(plan.motion, (old_content, colors), (old_output, output))
        self.last_frame = colors, output
        return result

    @property
    def is_gray_transfer(self) -> bool:
        """Return whether only luminance is stylized."""
        return self.setup.settings.color == "content"

    def begin_scene(
        self, number: int, source: SourceImage, colors: Tensor, content: Tensor
    ) -> FrameResult:
        """Stylize a scene's first frame from coarse to fine."""
        if self.scene is not None:
            job = prepare_job(self.setup, source)
            if job.size != self.job.size:
                raise CnnlabError("free memory no longer holds frames of this size")
            self.job = replace(job, channels=max(job.channels, self.job.channels))
        job, state = self.job, None
        budget = self.make_budget(number)
        make_optimizer = partial(
            IMAGE_OPTIMIZERS[self.setup.settings.optimizer], **job.optimizer_settings
        )
        for state in transfer_style(
            job.transfer_loss, job.make_initial_image, make_optimizer, budget
        ):
            self.show_state(number, state, budget)
        assert state is not None  # a transfer takes a step, or raises
        output = quantize(resize_bicubic(state.image, job.size))[:, : job.channels]
        is_cut = self.scene is not None
        self.scene, self.colors = Scene.begin(content, output), colors
        return FrameResult(self.render(output), state.terms, state.total_steps, 0.0, is_cut)

    def make_budget(self, number: int) -> TransferBudget:
        """Return the budget of a scene's first frame."""
        job = self.job
        budget = TransferBudget(
            job.sizes,
            job.steps_per_scale,
            [job.transfer_loss.style_pixel_ratio(size) for size in job.sizes],
            margin=job.transfer_loss.margin,
        )
        if self.clock.has_limit:
            pixels = [budget.pixels(scale) for scale in range(1, len(job.sizes) + 1)]
            work = sum(n * p for n, p in zip(job.steps_per_scale, pixels, strict=True))
            weight = work / (self.setup.settings.frame_steps * pixels[-1])
            budget = replace(
                budget,
                time_limit_s=self.clock.share_s(number, weight),
                started_at=monotonic(),
            )
        return budget

    def continue_scene(self, number: int, plan: FramePlan, colors: Tensor) -> FrameResult:
        """Stylize a further frame of a scene, from the last one."""
        assert self.scene is not None and self.colors is not None
        job, began = self.job, monotonic()
        deadline = began + self.clock.share_s(number, 1.0)
        optimizer = self.make_warm_optimizer(plan)
        steps, step_s = 0, 0.0
        max_steps = None if self.clock.has_limit else self.setup.settings.frame_steps
        while steps == 0 or (steps != max_steps and monotonic() + step_s < deadline):
            has_moved = optimizer.step()
            steps += 1
            step_s = (monotonic() - began) / steps
            self.show_step(number, steps, optimizer.terms)
            if not has_moved:
                break
        image = crop_canvas(optimizer.image, job.transfer_loss.margin)
        output = torch.where(plan.is_fixed, plan.start, quantize(image))
        self.scene = self.scene.extend(plan, output)
        self.colors = torch.where(plan.is_fixed, self.colors, colors)
        self.clock.frame_seconds.append(monotonic() - began)
        fixed_share = float(plan.is_fixed.float().mean())
        return FrameResult(self.render(output), optimizer.terms, steps, fixed_share, False)

    def make_warm_optimizer(self, plan: FramePlan) -> LBFGS:
        """Return L-BFGS for a further frame: its loss never rises from where it starts."""
        job, settings = self.job, self.setup.settings
        margin = job.transfer_loss.margin
        transfer_loss = replace(job.transfer_loss, content=lambda size: plan.content)
        objective = transfer_loss.make_objective(job.size)
        loss = hold_pixels(
            transfer_loss.make_loss_function(objective), plan, settings.temporal_weight, margin
        )
        x = extend_to_canvas(plan.start, margin).contiguous(memory_format=torch.channels_last)
        history_size = job.memory_plan.history_size or WARM_HISTORY_SIZE
        return LBFGS(loss, x, history_size=history_size)

    def render(self, output: Tensor) -> np.ndarray:
        """Return an output (1, K, H, W) as (H, W, 3) uint8, in the content's colors if so set."""
        image = output.expand(-1, 3, -1, -1)
        if self.is_gray_transfer and self.colors is not None:
            image = restore_content_colors(image, self.colors)
        return np.asarray(tensor_to_image(image))

    def show_state(self, number: int, state: TransferState, budget: TransferBudget) -> None:
        """Show the progress of a scene's first frame. Raises Interrupted."""
        ratio = budget.pixels(len(budget.sizes)) / budget.pixels(state.scale)
        frame_s = self.setup.settings.frame_steps * budget.median_step_s * ratio
        own_s = budget.remaining_s(state.scale, state.step)
        self.show(number, state.total_steps, state.terms, own_s, frame_s)

    def show_step(self, number: int, step: int, terms: Tensor) -> None:
        """Show the progress of a further frame. Raises Interrupted."""
        seconds = self.clock.frame_seconds
        frame_s = sum(seconds) / len(seconds) if seconds else 0.0
        self.show(number, step, terms, 0.0, frame_s)

    def show(self, number: int, step: int, terms: Tensor, own_s: float, frame_s: float) -> None:
        """Show a frame's step, and the time left for the clip. Raises Interrupted."""
        if self.has_stopped():
            raise Interrupted
        clock = self.clock
        left = clock.remaining_s(number, frame_s) + own_s
        if clock.has_limit:
            left = max(0.0, clock.deadline - monotonic())
        time_left = f"  {format_duration(left)} left" if left else ""
        _, content, *styles, _, _ = terms.tolist()
        self.progress.show(
            f"frame {number}/{clock.num_frames}  step {step}  content {content:.4g}  "
            f"style {sum(styles):.4g}{time_left}",
            keep=False,
        )


def quantize(image: Tensor) -> Tensor:
    """Return an image rounded to the values that 8 bits hold."""
    return image.detach().float().clamp(0, 1).mul(255).round_().div_(255)
