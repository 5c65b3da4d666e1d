"""Stylize the frames of a clip in turn, within its steps or its time."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.core.errors import CnnlabError
from cnnlab.core.progress import Progress, format_duration
from cnnlab.style.canvas import crop_canvas, extend_to_canvas
from cnnlab.style.color_transfer import luminance_as_rgb, restore_content_colors
from cnnlab.style.frames import Flicker, FramePlan, Scene, hold_pixels, plan_frame
from cnnlab.style.guidance import GuidedObjective
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS, LBFGS
from cnnlab.style.scales import Size
from cnnlab.style.source_image import SourceImage, image_to_tensor, tensor_to_image
from cnnlab.style.tiled_loss import spatial_size
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.torus import make_periodic
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
    """The state of a clip: its scene, and what is measured of it.

    `job`: of the scene's first frame; `scene`: at the size of its largest scale, which may be more
    than the output's; `colors`: the last frame's RGB content at that size.
    """

    setup: StyleSetup
    job: TransferJob
    clock: ClipClock
    progress: Progress
    has_stopped: Callable[[], bool]
    scene: Scene | None = None
    colors: Tensor | None = None
    last_pixels: np.ndarray | None = None
    flicker: Flicker = field(default_factory=Flicker)

    @property
    def is_gray_transfer(self) -> bool:
        """Return whether only luminance is stylized."""
        return self.setup.settings.color == "content"

    def stylize(self, number: int, source: SourceImage) -> FrameResult:
        """Stylize a frame by its number, from 1. Raises Interrupted for a signal."""
        is_colored = self.job.channels == 1 and not self.is_gray_transfer and not source.is_gray
        if self.scene and not is_colored:
            colors, content = self.read_content(source, spatial_size(self.scene.content))
            plan = plan_frame(self.scene, content)
            if not plan.is_cut:
                return self.continue_scene(number, plan, colors)
        return self.begin_scene(number, source)

    def read_content(self, source: SourceImage, size: Size) -> tuple[Tensor, Tensor]:
        """Return a frame in color, and as the loss compares with it, both (1, 3, H, W)."""
        colors = image_to_tensor(source.resize(size)).to(self.setup.device)
        colors = make_periodic(colors) if self.setup.settings.wrap else colors
        return colors, luminance_as_rgb(colors) if self.is_gray_transfer else colors

    def begin_scene(self, number: int, source: SourceImage) -> FrameResult:
        """Stylize a scene's first frame from coarse to fine."""
        is_cut = self.scene is not None
        if is_cut:
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
        size = job.size if job.is_enlarged(state.size) else state.size
        output = resize_bicubic(state.image.detach().float(), size)[:, : job.channels]
        self.colors, content = self.read_content(source, size)
        self.scene = Scene.begin(content, output.clamp(0, 1))
        self.last_pixels = self.render(output)
        return FrameResult(self.last_pixels, state.terms, state.total_steps, 0.0, is_cut)

    def make_budget(self, number: int) -> TransferBudget:
        """Return the budget of a scene's first frame."""
        job = self.job
        budget = TransferBudget(
            job.sizes,
            job.steps_per_scale,
            [job.transfer_loss.style_pixel_ratio(size) for size in job.sizes],
            margin=job.transfer_loss.margin,
            output_scale=job.sizes.index(job.size) + 1,
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
        scene, began = self.scene, monotonic()
        deadline = began + self.clock.share_s(number, 1.0)
        optimizer, objective = self.make_warm_optimizer(plan)
        steps, step_s = 0, 0.0
        max_steps = None if self.clock.has_limit else self.setup.settings.frame_steps
        while steps == 0 or (steps != max_steps and monotonic() + step_s < deadline):
            has_moved = optimizer.step()
            steps += 1
            step_s = (monotonic() - began) / steps
            self.show_step(number, steps, optimizer.terms)
            if not has_moved:
                break
        image = objective.mix_content(optimizer.image).detach().float()
        image = crop_canvas(image, self.job.transfer_loss.margin)
        output = torch.where(plan.is_fixed, plan.start, image)
        contents, outputs = (scene.content, plan.content), (scene.output, output)
        self.flicker.add(plan.motion, contents, outputs)
        self.scene = scene.extend(plan, output)
        self.colors = torch.where(plan.is_fixed, self.colors, colors)
        self.clock.frame_seconds.append(monotonic() - began)
        fixed_share = float(plan.is_fixed.float().mean())
        self.last_pixels = self.keep_still_pixels(plan, self.render(output))
        return FrameResult(self.last_pixels, optimizer.terms, steps, fixed_share, False)

    def keep_still_pixels(self, plan: FramePlan, pixels: np.ndarray) -> np.ndarray:
        """Return a frame with the last one's still pixels: reducing mixed them with neighbors."""
        share = interpolate(plan.is_still.float(), self.job.size, mode="area")
        is_still = (share[0, 0] > 0.5).cpu().numpy()
        assert self.last_pixels is not None
        return np.where(is_still[..., None], self.last_pixels, pixels)

    def make_warm_optimizer(self, plan: FramePlan) -> tuple[LBFGS, GuidedObjective]:
        """Return L-BFGS for a further frame: its loss never rises from where it starts."""
        job, settings = self.job, self.setup.settings
        margin = job.transfer_loss.margin
        size = spatial_size(plan.content)
        transfer_loss = replace(job.transfer_loss, content=lambda size: plan.content)
        if size == job.size:
            transfer_loss = replace(transfer_loss, supersampling=1.0)
        objective = transfer_loss.make_objective(size)
        loss = transfer_loss.make_loss_function(objective)
        loss = hold_pixels(loss, plan, settings.temporal_weight, margin)
        x = extend_to_canvas(plan.start, margin).contiguous(memory_format=torch.channels_last)
        history_size = job.memory_plan.history_size or WARM_HISTORY_SIZE
        return LBFGS(loss, x, history_size=history_size), objective

    def render(self, output: Tensor) -> np.ndarray:
        """Return an output (1, K, H, W) as (H, W, 3) uint8, in the content's colors if so set."""
        image = resize_bicubic(output.expand(-1, 3, -1, -1), self.job.size)
        if self.is_gray_transfer and self.colors is not None:
            image = restore_content_colors(image, resize_bicubic(self.colors, self.job.size))
        return np.asarray(tensor_to_image(image))

    def show_state(self, number: int, state: TransferState, budget: TransferBudget) -> None:
        """Show the progress of a scene's first frame. Raises Interrupted."""
        step_s = budget.step_s(state.scale, len(budget.sizes))
        frame_s = self.setup.settings.frame_steps * step_s
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
