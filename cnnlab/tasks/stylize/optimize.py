"""Optimize the output image, scale by scale, within the budget."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import clear_frames

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image_formats import find_image_format
from cnnlab.core.memory import release_cached
from cnnlab.core.progress import Progress, format_duration
from cnnlab.style.budget import TransferBudget
from cnnlab.style.optimizers import IMAGE_OPTIMIZERS
from cnnlab.style.transfer import TransferState, transfer_style
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob

EXIT_RESERVE_S = 1.5  # kept of a limited time for the process to end,


RENDER_S_PER_MEGAPIXEL = 0.2  # for a million pixels to become a picture, beside what its file takes


@dataclass(frozen=True)
class TransferResult:
    """How far it came: where it stood, whether that is the end, and what went wrong, if anything did."""

    state: TransferState
    is_complete: bool
    error: Exception | None


def optimize_image(
    s: StylizeSettings,
    made: TransferJob,
    budget: TransferBudget,
    book: TransferLog,
    progress: Progress,
    stop_signal: Callable[[], int | None],
) -> TransferResult:
    """Step by step, until it is done, something goes wrong, or a signal `asked` for its end. Raises what goes wrong
    before the first step."""
    descend = partial(IMAGE_OPTIMIZERS[s.optimizer], **made.optimizer_settings(s))
    state: TransferState | None = None
    failure: Exception | None = None
    done = False
    try:
        for state in transfer_style(made.transfer_loss, made.make_initial_image, descend, budget):
            if progress.is_live or state.is_last:  # a GPU is waited for to say it
                progress.show(format_transfer_progress(state, budget), keep=state.is_last)
            if book.has_new_nonfinite(state):
                back = "the loss was not finite; back to the last picture, with a smaller step"
                progress.show(f"step {state.total_steps}: {back}", keep=True)
                progress.end()
            book.log_state(state)
            if stop_signal() and not (state.is_last and state.scale == len(budget.sizes)):
                break
        else:
            done = True
    except (CnnlabError, MemoryError, RuntimeError) as error:
        if state is None:
            raise
        failure = error
        clear_frames(error.__traceback__)  # which hold what there may be no memory for
        release_cached()
    progress.end()
    assert state is not None  # a transfer takes a step, or raises
    return TransferResult(state, done, failure)


def make_transfer_budget(
    s: StylizeSettings, made: TransferJob, steps: list[int], out: Path, began: float
) -> TransferBudget:
    """What a picture may take: of the first scales, as many as there are `steps` for."""
    sizes = made.sizes[: len(steps)]
    height, width = made.sizes[-1]
    saving = (
        EXIT_RESERVE_S
        + (RENDER_S_PER_MEGAPIXEL + find_image_format(out).seconds_per_megapixel)
        * height
        * width
        / 1e6
    )
    return TransferBudget(
        sizes,
        steps,
        [made.transfer_loss.style_pixel_ratio(size) for size in sizes],
        s.time_limit_s,
        began,
        saving,
    )


def format_transfer_progress(state: TransferState, budget: TransferBudget) -> str:
    """Where it stands, in 79 columns."""
    height, width = state.size
    _, content, *styles, _ = state.terms.tolist()
    return (
        f"scale {state.scale}/{len(budget.sizes)} {width}x{height}  step {state.step}  content {content:.4g}  "
        f"style {sum(styles):.4g}  {format_duration(budget.remaining_s(state.scale, state.step))} left"
    )
