"""Optimize the output image, scale by scale, within the budget."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import clear_frames

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image_formats import format_of
from cnnlab.core.memory import hand_back
from cnnlab.core.progress import Progress, clock
from cnnlab.style.budget import Budget
from cnnlab.style.optimizers import DESCENTS
from cnnlab.style.transfer import State, transfer
from cnnlab.tasks.stylize.log import Sketchbook
from cnnlab.tasks.stylize.settings import Settings
from cnnlab.tasks.stylize.setup import Studio

SAVING_S = 1.5  # kept of a limited time for the process to end,


FINISHING_S = 0.2  # for a million pixels to become a picture, beside what its file takes


@dataclass(frozen=True)
class Outcome:
    """How far it came: where it stood, whether that is the end, and what went wrong, if anything did."""

    state: State
    done: bool
    failure: Exception | None


def paint(
    s: Settings, made: Studio, budget: Budget, book: Sketchbook, progress: Progress, asked: Callable[[], int | None]
) -> Outcome:
    """Step by step, until it is done, something goes wrong, or a signal `asked` for its end. Raises what goes wrong
    before the first step."""
    descend = partial(DESCENTS[s.method], **made.keys(s))
    state: State | None = None
    failure: Exception | None = None
    done = False
    try:
        for state in transfer(made.easel, made.begin, descend, budget):
            if progress.live or state.last:  # a GPU is waited for to say it
                progress.show(line(state, budget), keep=state.last)
            if book.unsound(state):
                back = "the loss was not finite; back to the last picture, with a smaller step"
                progress.show(f"step {state.total}: {back}", keep=True)
                progress.end()
            book.note(state)
            if asked() and not (state.last and state.scale == len(budget.sizes)):
                break
        else:
            done = True
    except (CnnlabError, MemoryError, RuntimeError) as error:
        if state is None:
            raise
        failure = error
        clear_frames(error.__traceback__)  # which hold what there may be no memory for
        hand_back()
    progress.end()
    assert state is not None  # a transfer takes a step, or raises
    return Outcome(state, done, failure)


def budget_for(s: Settings, made: Studio, steps: list[int], out: Path, began: float) -> Budget:
    """What a picture may take: of the first scales, as many as there are `steps` for."""
    sizes = made.sizes[: len(steps)]
    height, width = made.sizes[-1]
    saving = SAVING_S + (FINISHING_S + format_of(out).megapixel_s) * height * width / 1e6
    return Budget(sizes, steps, [made.easel.beside(size) for size in sizes], s.seconds, began, saving)


def line(state: State, budget: Budget) -> str:
    """Where it stands, in 79 columns."""
    height, width = state.size
    _, content, *styles, _ = state.terms.tolist()
    return (
        f"scale {state.scale}/{len(budget.sizes)} {width}x{height}  step {state.step}  content {content:.4g}  "
        f"style {sum(styles):.4g}  {clock(budget.left(state.scale, state.step))} left"
    )
