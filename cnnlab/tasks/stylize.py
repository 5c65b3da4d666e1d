"""`cnnlab stylize`: a photograph in the style of a painting (Gatys, Ecker & Bethge 2015)."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from cnnlab import __version__
from cnnlab.core.device import describe, environment, pick_device, repeatable, threads, whole_float32
from cnnlab.core.errors import CnnlabError, Stopped, UsageError
from cnnlab.core.errors import told as explained
from cnnlab.core.photo import whiten
from cnnlab.core.progress import BEGAN, Progress, clock
from cnnlab.core.schema import call
from cnnlab.core.signals import Signals
from cnnlab.core.text import plain
from cnnlab.style.colours import recoloured
from cnnlab.style.descent import DESCENTS
from cnnlab.style.plan import Budget
from cnnlab.style.transfer import State, enlarged, transfer
from cnnlab.tasks import parts
from cnnlab.tasks.again import earlier
from cnnlab.tasks.endings import format_of
from cnnlab.tasks.painting import notes, original, place_for, save, to_image, to_tensor
from cnnlab.tasks.scoring import scored
from cnnlab.tasks.sketch import Sketchbook
from cnnlab.tasks.studio import MEANINGS, RECORDED, Settings, Studio, precision, studio, workshop

SAVING_S = 1.5  # kept of a limited time to write the picture, and for the process to end


def run(config: parts.Config, overrides: list[str]) -> None:
    """Paint, write the picture, and print where it is and how far it is from both. Raises UsageError, and leaves
    nothing, where something cannot be; Stopped, once the picture so far is written, where a signal asked for it."""
    began = BEGAN.get(monotonic())
    s = call(Settings, config, "")
    if s.again and s.score:
        raise UsageError("--again paints and --score does not: one at a time")
    before = earlier(s, overrides) if s.again else None
    s = before.settings if before else s
    if s.content is None or not s.styles:
        raise UsageError("a photograph and a painting are needed: cnnlab stylize CONTENT STYLE... (-h shows more)")
    device = pick_device(s.device)
    named = s.download or (s.features.get("name") != "auto" and any(w.startswith("features.name=") for w in overrides))
    with threads(s.threads), repeatable(device), whole_float32():
        if s.score:
            scored(s, device, named=named)
            return
        content = original(str(s.content), s.max_pixels)
        made = studio(workshop(s, device, named=named), content)
        usual = Path(s.again) if s.again else None
        styles = [one.path for one in made.styles]
        out = place_for(s.out, made.content.path, styles, usual, made.sizes[-1], overwrite=s.overwrite)
        if before:
            before.hold(made)
        steps = before.steps if before else [s.first_steps, *[s.steps] * (len(made.sizes) - 1)]
        budget = Budget(made.sizes[: len(steps)], steps, s.seconds, began, SAVING_S)
        stream = sys.stderr if s.json else sys.stdout
        print("\n".join(opening(s, made, out, device)), file=stream, flush=True)
        paint(s, made, budget, out, Sketchbook(s, made, config, overrides, began), Progress(stream))


def opening(s: Settings, made: Studio, out: Path, device: torch.device) -> list[str]:
    """What is about to happen."""
    styles = ", ".join(plain(one.path.name) for one in made.styles)
    photograph = plain(made.content.path.name)
    lines = [f"cnnlab stylize: {photograph} in the style of {styles}", *notes(made.content, *made.styles)]
    if made.content.photo.alpha and not format_of(out).alpha:
        lines.append(f"{photograph}: laid on white, for a {out.suffix} has no transparency")
    if s.features["name"] == "random":
        lines.append("RANDOM WEIGHTS: a network that has learned nothing, for study")
    small = [plain(one.path.name) for one in made.styles if made.too_small(one)]
    if small:
        lines.append(f"{', '.join(small)}: fewer pixels than the picture will have, and is not enlarged")
    lines += cramped(s, made)
    height, width = made.sizes[-1]
    return [*lines, f"{made.chosen.name}, {width}x{height} pixels, device {describe(device)}"]


def cramped(s: Settings, made: Studio) -> list[str]:
    """What memory does not hold."""
    lines, (height, width), (tall, wide) = list[str](), made.sizes[-1], made.wanted
    limit = f"memory_limit={s.memory_limit}" if s.memory_limit else "free memory"
    if (height, width) != (tall, wide):
        lines.append(f"{limit} holds {width}x{height} pixels, not {wide}x{tall}")
    if s.method == "lbfgs" and made.room.past < s.lbfgs["memory"]:
        lines.append(f"{limit} holds {made.room.past} past steps of L-BFGS, not {s.lbfgs['memory']}")
    if (count := len(made.easel.pieces(made.sizes[-1]))) > 1:
        lines.append(f"looked at in {count} pieces, which add up to the whole")
    return lines


def paint(s: Settings, made: Studio, budget: Budget, out: Path, book: Sketchbook, progress: Progress) -> None:
    """Step by step, to the picture. What was painted before something went wrong is written first, and then that is
    raised."""
    descend = partial(DESCENTS[s.method], **made.keys(s))
    state: State | None = None
    failure: Exception | None = None
    try:
        with Signals() as signals:
            try:
                for state in transfer(made.easel, made.begin, descend, budget):
                    progress.show(line(state, budget), keep=state.last)
                    if book.unsound(state):
                        back = "the loss was not finite; back to the last picture, with a smaller step"
                        progress.show(f"step {state.total}: {back}", keep=True)
                        progress.end()
                    book.note(state)
                    if signals.asked:
                        break
            except (CnnlabError, MemoryError, RuntimeError) as error:
                if state is None:
                    raise
                failure = error
            progress.end()
            assert state is not None  # a transfer takes a step, or raises
            image, terms = finished(s, made, state)
            about = record(s, made, budget.taken, terms)
            path = save(out, image, about, overwrite=s.overwrite)
        told(s, made, state, path, about["losses"], budget, book.folder)
        book.conclude(path, about)
    finally:
        progress.end()
        book.close()
    height, width = state.size
    kept = f"{plain(str(path))} is as far as it came"
    kept += "" if state.size == made.sizes[-1] else f", painted at {width}x{height} and enlarged"
    if failure:
        raise CnnlabError(f"{explained(failure)}; {kept}") from failure
    if signals.asked:
        raise Stopped(f"stopped at step {state.total}; {kept}", signals.asked)


def line(state: State, budget: Budget) -> str:
    """Where it stands, in 79 columns."""
    height, width = state.size
    _, content, *styles, _ = state.terms.tolist()
    return (
        f"scale {state.scale}/{len(budget.sizes)} {width}x{height}  step {state.step}  content {content:.4g}  "
        f"style {sum(styles):.4g}  {clock(budget.left(state.scale, state.step))} left"
    )


def finished(s: Settings, made: Studio, state: State) -> tuple[Image, Tensor]:
    """The picture at its full size with the photograph's transparency, if any, and its losses as it will be saved,
    before the photograph's colours, if any; where it was not painted at its full size, as it was painted."""
    full = made.sizes[-1]
    image, alpha = to_image(enlarged(state.picture, full)), made.content.alpha_at(full)
    if alpha:
        whiten(image, alpha)  # as it will be read
    painted, terms = to_tensor(image).to(made.device), state.terms
    if state.size == full:
        with torch.no_grad():
            terms = made.easel.judged(state.objective, painted)
    if s.color == "content":
        image = to_image(recoloured(to_tensor(image), to_tensor(made.content.at(full))))
    if alpha:
        image.putalpha(alpha)
    return image, terms


def record(s: Settings, made: Studio, steps: list[int], terms: Tensor) -> dict[str, Any]:
    """What the picture says of itself: enough to make it again, and nothing of where things were."""
    settings = {key: value for key, value in asdict(s).items() if key in RECORDED}
    weights = s.features["weights"]
    settings["features"] = s.features | {"weights": weights and Path(weights).name}
    settings |= {"precision": precision(s, made.device), "threads": torch.get_num_threads()}
    settings |= {"size": max(made.sizes[-1]), s.method: made.keys(s), "piece": made.piece}
    return {
        "cnnlab": __version__,
        "settings": settings,
        "steps": steps,
        "iterations": sum(steps),
        "losses": made.losses(terms),
        "sha256": {
            "content": made.content.sha256,
            "styles": [one.sha256 for one in made.styles],
            "weights": made.chosen.sha256,
        },
        "made_with": {k: v for k, v in environment(made.device).items() if k not in ("command", "platform")},
    }


def told(
    s: Settings, made: Studio, state: State, path: Path, losses: dict[str, Any], budget: Budget, folder: Path
) -> None:
    """Print what came of it."""
    seconds = monotonic() - budget.began
    if s.json:
        print(json.dumps({"picture": str(path), "losses": losses, "steps": budget.taken, "seconds": seconds,
                          "log": str(folder)}), flush=True)  # fmt: skip
        return
    meaning = MEANINGS[s.style["name"]]
    print(f"\ncontent  {number(losses['content']):<11} {meaning[0]}")
    print(f"style    {number(losses['style']):<11} {meaning[1]}")
    cells = [f"{name} {number(value):<10}" for name, value in losses["layers"].items()]
    for at in range(0, len(cells), 4):
        print("  " + " ".join(cells[at : at + 4]).rstrip())
    print(f"{state.total} step{'s' * (state.total != 1)}, {clock(seconds)} in all")
    if state.size != made.sizes[-1] and s.seconds is not None:
        print(f"there was time for {state.scale} of {len(budget.sizes)} scales: painted at "
              f"{state.size[1]}x{state.size[0]}, and enlarged")  # fmt: skip
    print(f"\n{plain(str(path))}")
    print(f"look at it grow  tensorboard --logdir {folder}", flush=True)


def number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
