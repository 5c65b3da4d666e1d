"""The painting itself, step by step, and what the picture says of how it came about."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from cnnlab import __version__
from cnnlab.core.device import environment
from cnnlab.core.errors import CnnlabError
from cnnlab.core.memory import hand_back
from cnnlab.core.photo import whiten
from cnnlab.core.progress import Progress, clock
from cnnlab.core.quoting import plain
from cnnlab.style.color_transfer import recoloured
from cnnlab.style.optimizers import DESCENTS
from cnnlab.style.scales import Budget
from cnnlab.style.transfer import State, enlarged, transfer
from cnnlab.core.image_formats import format_of
from cnnlab.style.source_image import notes, save, to_image, to_tensor
from cnnlab.tasks.stylize.log import Sketchbook
from cnnlab.tasks.stylize.setup import Studio, Workshop, past_steps, precision
from cnnlab.tasks.stylize.settings import RECORDED, Settings, by_name

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


def kept(s: Settings, made: Studio, outcome: Outcome, budget: Budget, out: Path) -> tuple[Path, dict[str, Any]]:
    """Write the picture; where it is, and what it says of itself. What cannot be encoded as `out` asks for becomes a
    PNG."""
    image, terms = finished(s, made, outcome.state)
    about = record(s, made, budget.taken, terms) | {
        "complete": outcome.done and len(budget.sizes) == len(made.sizes), "shrunk": made.shrunk,
    }  # fmt: skip
    try:
        return save(out, image, about, overwrite=s.overwrite), about
    except ValueError:
        return save(out.with_suffix(".png"), image, about, overwrite=False), about


def cramped(s: Settings, made: Studio) -> list[str]:
    """What memory does not hold."""
    lines, (height, width), (tall, wide) = list[str](), made.sizes[-1], made.wanted
    limit = f"memory_limit={s.memory_limit}" if s.memory_limit else "free memory"
    if (count := len(made.easel.pieces(made.sizes[-1]))) > 1:
        lines.append(f"looked at in {count} pieces, which add up to the whole")
    if made.room.past < past_steps(s):
        lines.append(f"{limit} holds {made.room.past} past steps of L-BFGS, not {past_steps(s)}")
    if made.shrunk:
        lines.append(f"{limit} holds {width}x{height} pixels, not {wide}x{tall}")
    return lines


def remarks(s: Settings, made: Studio, out: Path) -> list[str]:
    """What is to be said before one photograph is painted."""
    name, lines = plain(made.content.path.name), notes(made.content)
    if made.content.photo.alpha and not format_of(out).alpha:
        lines.append(f"{name}: laid on white, for a {out.suffix} has no transparency")
    small = [plain(one.path.name) for one in made.styles if made.too_small(one)]
    if small:
        wanted = "the picture will have" if s.style_scale <= 1 else f"style_scale={s.style_scale:g} asks for"
        lines.append(f"{', '.join(small)}: fewer pixels than {wanted}, and is not enlarged")
    height, width = made.content.size
    if s.size and s.size > max(height, width):
        lines.append(f"{name}: {width}x{height} pixels, and is not enlarged")
    return lines + cramped(s, made)


def finished(s: Settings, made: Studio, state: State) -> tuple[Image, Tensor]:
    """The picture at its full size with the photograph's transparency, if any, and its losses as it will be saved,
    before the photograph's colours, if any; where it was not painted at its full size, as it was painted."""
    full = made.sizes[-1]
    image, alpha = to_image(enlarged(state.picture, full)), made.content.alpha_at(full)
    if alpha:
        whiten(image, alpha)  # as it will be read
    painted, terms = to_tensor(image).to(made.device), state.terms
    if state.size == full:
        with suppress(MemoryError, RuntimeError):  # where it was memory that ended it; then as of the last step
            terms = made.easel.judged(state.objective, painted)
    if s.color == "content":
        image = to_image(recoloured(to_tensor(image), to_tensor(made.content.at(full))))
    if alpha:
        image.putalpha(alpha)
    return image, terms


def record(s: Settings, made: Studio, steps: list[int], terms: Tensor) -> dict[str, Any]:
    """What the picture says of itself: enough to make it again, and nothing of where things were."""
    settings = {key: value for key, value in asdict(s).items() if key in RECORDED}
    settings["features"] = by_name(s) | {"name": made.chosen.kind}
    settings |= {"precision": precision(s, made.device), "threads": torch.get_num_threads()}
    settings |= {"size": max(made.sizes[-1]), s.method: made.keys(s), "piece": made.piece}
    return {
        "cnnlab": __version__,
        "settings": settings,
        "steps": steps,
        "iterations": sum(steps),
        "losses": made.losses(terms),
        "sha256": hashes(made.shop, made.content.sha256),
        "made_with": {k: v for k, v in environment(made.device).items() if k not in ("command", "platform")},
    }


def hashes(shop: Workshop, content: str) -> dict[str, Any]:
    """SHA-256 of all that a picture comes of."""
    styles = [one.sha256 for one in shop.styles]
    return {"content": content, "styles": styles, "weights": shop.chosen.sha256, "settings": shop.asked}


def unhurried(s: Settings, made: Studio, state: State) -> list[str]:
    """What there was no time for."""
    if state.size == made.sizes[-1] or s.seconds is None:
        return []
    height, width = state.size
    scales = f"{state.scale} of {len(made.sizes)} scales"
    return [f"there was time for {scales}: painted at {width}x{height}, and enlarged"]


def number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
