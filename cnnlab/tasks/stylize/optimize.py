"""Optimize one job's image scale by scale within its budget, save it, and log it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image_formats import find_image_format
from cnnlab.core.memory import release_cached
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.signals import SignalRecorder
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.transfer import TransferState, transfer_style
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.output import save_result
from cnnlab.tasks.stylize.setup import TransferJob

EXIT_RESERVE_S = 1.5  # of a time limit, for the process to exit
RENDER_S_PER_MEGAPIXEL = 0.2  # to convert the final image, besides writing its file


@dataclass(frozen=True)
class StylizedImage:
    """What a job resulted in.

    `state`: the last; `path` and `record`: of the saved image, None and empty if it was not saved;
    `stop_signal`: the signal that was received meanwhile.
    """

    state: TransferState
    is_complete: bool
    error: Exception | None
    steps: list[int]
    path: Path | None
    record: dict[str, Any]
    stop_signal: int | None


def stylize_job(
    job: TransferJob,
    steps: list[int],
    out: Path,
    log: TransferLog,
    progress: Progress,
    *,
    save_incomplete: bool,
) -> StylizedImage:
    """Optimize, save and log a job's image.

    `steps`: at each scale; `save_incomplete`: whether to save the image after a signal or an error.
    Raises errors of saving, and of optimizing before the first step.
    """
    path, record = None, dict[str, Any]()
    try:
        with SignalRecorder() as signals:
            budget = make_transfer_budget(job, steps, out, log.started_at)
            state, is_complete, error = optimize_image(
                job, budget, log, progress, lambda: signals.received
            )
            if is_complete or save_incomplete:
                is_whole = is_complete and len(budget.sizes) == len(job.sizes)
                path, record = save_result(
                    job, state, out, steps=budget.steps_taken, is_complete=is_whole
                )
                log.write_result(path, record)
    finally:
        progress.end()
        log.close()
    return StylizedImage(
        state, is_complete, error, budget.steps_taken, path, record, signals.received
    )


def optimize_image(
    job: TransferJob,
    budget: TransferBudget,
    log: TransferLog,
    progress: Progress,
    stop_signal: Callable[[], int | None],
) -> tuple[TransferState, bool, Exception | None]:
    """Return the last state, whether the budget was used up, and the error that ended it, if any.

    Raises errors before the first step.
    """
    optimizer = IMAGE_OPTIMIZERS[job.setup.settings.optimizer]
    make_optimizer = partial(optimizer, **job.optimizer_settings)
    state: TransferState | None = None
    try:
        for state in transfer_style(
            job.transfer_loss, job.make_initial_image, make_optimizer, budget
        ):
            report_state(state, budget, log, progress)
            is_end = state.is_last and state.scale == len(budget.sizes)
            if stop_signal() and not is_end:
                return state, False, None
    except (CnnlabError, MemoryError, RuntimeError) as error:
        if state is None:
            raise
        clear_frames(error.__traceback__)  # they hold tensors that memory may be needed for
        release_cached()
        return state, False, error
    finally:
        progress.end()
    assert state is not None  # a transfer takes a step, or raises
    return state, True, None


def report_state(
    state: TransferState, budget: TransferBudget, log: TransferLog, progress: Progress
) -> None:
    """Show and log a step."""
    if progress.is_live or state.is_last:  # the line waits for a GPU to finish the step
        progress.show(format_transfer_progress(state, budget), keep=state.is_last)
    if log.has_new_nonfinite(state):
        message = "the loss was not finite; returned to the last image, with a smaller step"
        progress.show(f"step {state.total_steps}: {message}", keep=True)
        progress.end()
    log.log_state(state)


def make_transfer_budget(
    job: TransferJob, steps: list[int], out: Path, started_at: float
) -> TransferBudget:
    """Return the budget of a job, of as many scales as `steps` has entries.

    `started_at`: of the command, on the monotonic clock.
    """
    sizes = job.sizes[: len(steps)]
    height, width = job.size
    megapixel_s = RENDER_S_PER_MEGAPIXEL + find_image_format(out).seconds_per_megapixel
    return TransferBudget(
        sizes,
        steps,
        [job.transfer_loss.style_pixel_ratio(size) for size in sizes],
        job.setup.settings.time_limit_s,
        started_at,
        margin=job.transfer_loss.margin,
        save_s=EXIT_RESERVE_S + megapixel_s * height * width / 1e6,
        output_scale=job.sizes.index(job.size) + 1,
    )


def format_transfer_progress(state: TransferState, budget: TransferBudget) -> str:
    """Return the progress line of a step, 79 columns at most."""
    height, width = state.size
    _, content, *styles, _, _ = state.terms.tolist()
    left = format_duration(budget.remaining_s(state.scale, state.step))
    return (
        f"scale {state.scale}/{len(budget.sizes)} {width}x{height}  step {state.step}  "
        f"content {content:.4g}  style {sum(styles):.4g}  {left} left"
    )
