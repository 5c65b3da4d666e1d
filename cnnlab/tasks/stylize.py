"""`cnnlab stylize`: a photograph in the style of a painting (Gatys, Ecker & Bethge 2015)."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from cnnlab import __version__
from cnnlab.core.device import describe, environment, pick_device, repeatable, threads
from cnnlab.core.errors import Stopped, UsageError
from cnnlab.core.progress import COMMAND, Progress, clock
from cnnlab.core.schema import call
from cnnlab.core.signals import Signals
from cnnlab.core.text import plain
from cnnlab.style.colours import recoloured
from cnnlab.style.descent import DESCENTS
from cnnlab.style.plan import Budget
from cnnlab.style.transfer import State, enlarged, transfer
from cnnlab.tasks import parts
from cnnlab.tasks.again import earlier
from cnnlab.tasks.painting import place_for, save, to_image, to_tensor
from cnnlab.tasks.sketch import Sketchbook
from cnnlab.tasks.studio import RECORDED, Settings, Studio, studio
from cnnlab.tasks.verdicts import scored

SAVING_S = 0.5  # kept of a limited time to write the picture


def run(config: parts.Config, overrides: list[str]) -> None:
    """Paint, write the picture, and print where it is and how far it is from both. Raises UsageError, and leaves
    nothing, where something cannot be; Stopped, once the picture so far is written, where a signal asked for it."""
    began = COMMAND.get(monotonic())
    s = call(Settings, config, "")
    before = earlier(s, overrides) if s.again else None
    s = before.settings if before else s
    if s.content is None or not s.styles:
        raise UsageError("a photograph and a painting are needed: cnnlab stylize CONTENT STYLE...")
    device = pick_device(s.device)
    if s.score:
        scored(s, device)
        return
    out = place_for(s.out, Path(s.content), [Path(one) for one in s.styles], overwrite=s.overwrite)
    with threads(s.threads), repeatable(device):
        made = studio(s, device, named=s.download or any(word.startswith("features.name=") for word in overrides))
        if before:
            before.hold(made)
        steps = before.steps if before else [s.first_steps, *[s.steps] * (len(made.sizes) - 1)]
        budget = Budget(made.sizes[: len(steps)], steps, s.seconds, began, SAVING_S)
        if not s.json:
            print("\n".join(opening(s, made, device)), flush=True)
        paint(s, made, budget, out, config, overrides)


def opening(s: Settings, made: Studio, device: torch.device) -> list[str]:
    """What is about to happen."""
    styles = ", ".join(plain(one.path.name) for one in made.styles)
    lines = [f"cnnlab stylize: {plain(made.content.path.name)} in the style of {styles}"]
    if s.features["name"] == "random":
        lines.append("RANDOM WEIGHTS: a network that has learned nothing, for study")
    small = [plain(one.path.name) for one in made.styles if made.too_small(one)]
    if small:
        lines.append(f"{', '.join(small)}: fewer pixels than the picture will have, and is not enlarged")
    height, width = made.sizes[-1]
    return [*lines, f"{made.chosen.name}, {width}x{height} pixels, device {describe(device)}"]


def paint(s: Settings, made: Studio, budget: Budget, out: Path, config: parts.Config, overrides: list[str]) -> None:
    """Step by step, to the picture."""
    descend = partial(DESCENTS[s.method], **getattr(s, s.method))
    progress, book = Progress(sys.stderr if s.json else None), Sketchbook(s, made, config, overrides, budget.began)
    state: State | None = None
    try:
        with Signals() as signals:
            for state in transfer(made.easel, budget.sizes, made.begin, descend, budget.enough):
                progress.show(line(state, budget), keep=state.last)
                if book.unsound(state):
                    progress.end()
                    print(f"step {state.total}: the loss was not finite; back to the last picture, with a smaller step",
                          file=progress.stream)  # fmt: skip
                book.note(state)
                if signals.asked:
                    break
        progress.end()
        assert state is not None
        image, terms = finished(s, made, state)
        about = record(s, made, budget.taken, terms)
        path = save(out, image, about, overwrite=s.overwrite)
        book.conclude(path, about)
    finally:
        progress.end()
        book.close()
    told(s, made, state, path, terms, budget, book.folder)
    if signals.asked:
        height, width = made.sizes[-1]
        where = "" if state.size == made.sizes[-1] else f", painted at {state.size[1]}x{state.size[0]}"
        raise Stopped(f"stopped at step {state.total}; {plain(str(path))} ({width}x{height}{where}) is what there was",
                      signals.asked)  # fmt: skip


def line(state: State, budget: Budget) -> str:
    """Where it stands, in 79 columns."""
    height, width = state.size
    _, content, *styles, _ = state.terms.tolist()
    return (
        f"scale {state.scale}/{state.scales} {width}x{height}  step {state.step}  content {content:.4g}  "
        f"style {sum(styles):.4g}  {clock(budget.left(state.scale, state.step))} left"
    )


def finished(s: Settings, made: Studio, state: State) -> tuple[Any, Tensor]:
    """The picture at its full size, and its losses as it will be saved (before the photograph's colours, if any)."""
    full = made.sizes[-1]
    image = to_image(enlarged(state.picture, full))
    loss = state.loss if state.size == full else made.easel.loss(full)
    painted = to_tensor(image).to(state.picture.device)
    terms = loss(painted.contiguous(memory_format=torch.channels_last))[0].cpu()
    if s.color == "content":
        image = to_image(recoloured(to_tensor(image), to_tensor(made.content.at(full))))
    return image, terms


def record(s: Settings, made: Studio, steps: list[int], terms: Tensor) -> dict[str, Any]:
    """What the picture says of itself: enough to make it again, and nothing of where things were."""
    settings = {key: value for key, value in asdict(s).items() if key in RECORDED}
    weights = s.features["weights"]
    settings["features"] = s.features | {"weights": weights and Path(weights).name}
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


def told(s: Settings, made: Studio, state: State, path: Path, terms: Tensor, budget: Budget, folder: Path) -> None:
    """Print what came of it."""
    losses, seconds = made.losses(terms), monotonic() - budget.began
    if s.json:
        print(json.dumps({"picture": str(path), "losses": losses, "steps": budget.taken, "seconds": seconds,
                          "log": str(folder)}))  # fmt: skip
        return
    meaning = made.meaning
    print(f"\ncontent  {losses['content']:<10.4g} {meaning[0]}")
    print(f"style    {losses['style']:<10.4g} {meaning[1]}")
    cells = [f"{name} {value:<10.3g}" for name, value in losses["layers"].items()]
    for at in range(0, len(cells), 4):
        print("  " + " ".join(cells[at : at + 4]).rstrip())
    print(f"{state.total} steps, {clock(seconds)} in all\n\n{plain(str(path))}")
    print(f"look at it grow  tensorboard --logdir {folder}")
