"""`cnnlab stylize`: a photograph in the style of a painting (Gatys, Ecker & Bethge 2015)."""

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from cnnlab.core.device import describe, pick_device, repeatable, threads, whole_float32
from cnnlab.core.errors import CnnlabError, Stopped, UsageError
from cnnlab.core.errors import told as explained
from cnnlab.core.progress import BEGAN, Progress, clock
from cnnlab.core.quoting import plain
from cnnlab.core.schema import Config, call
from cnnlab.core.signals import Signals
from cnnlab.style.budget import Budget
from cnnlab.style.source_image import notes, original
from cnnlab.style.transfer import State
from cnnlab.tasks.stylize.batch import paint_folder
from cnnlab.tasks.stylize.log import Sketchbook
from cnnlab.tasks.stylize.optimize import budget_for, paint
from cnnlab.tasks.stylize.output import kept, number, place_for, remarks, unhurried
from cnnlab.tasks.stylize.provenance import earlier
from cnnlab.tasks.stylize.score import scored
from cnnlab.tasks.stylize.settings import MEANINGS, Settings
from cnnlab.tasks.stylize.setup import Studio, studio, workshop


def run(config: Config, overrides: list[str]) -> None:
    """Paint, write the picture, and print where it is and how far it is from both. Raises UsageError, and leaves
    nothing, where something cannot be; Stopped, once the picture so far is written, where a signal asked for it."""
    began = BEGAN.get(monotonic())
    s = call(Settings, config, "")
    if s.again and s.score:
        raise UsageError("--again paints and --score does not: one at a time")
    if s.content is None or not s.styles:
        raise UsageError("a photograph and a painting are needed: cnnlab stylize CONTENT STYLE... (-h shows more)")
    folder = Path(s.content).is_dir()
    if folder and (s.again or s.score):
        raise UsageError(f"{plain(str(s.content))} is a folder: --again and --score take one photograph")
    before = earlier(s, overrides) if s.again else None
    s = before.settings if before else s
    device = pick_device(s.device)
    named = s.download or (s.features.get("name") != "auto" and any(w.startswith("features.name=") for w in overrides))
    with threads(s.threads), repeatable(device), whole_float32():
        if s.score:
            scored(s, device, named=named)
            return
        if folder:
            paint_folder(workshop(s, device, named=named), config, overrides)
            return
        content = original(str(s.content), s.max_pixels)
        made = studio(workshop(s, device, named=named, asked=before.asked if before else None), content)
        usual = Path(s.again) if s.again else None
        styles = [one.path for one in made.styles]
        place = Path(s.out).expanduser() if s.out else None
        out = place_for(place, content.path, styles, usual, made.sizes[-1], overwrite=s.overwrite)
        if before:
            before.hold(made)
        steps = before.steps if before else made.steps(s)
        stream = sys.stderr if s.json else sys.stdout
        print("\n".join(opening(s, made, out, device)), file=stream, flush=True)
        budget, book = budget_for(s, made, steps, out, began), Sketchbook(s, made, config, overrides, began)
        single(s, made, budget, out, book, Progress(stream))


def single(s: Settings, made: Studio, budget: Budget, out: Path, book: Sketchbook, progress: Progress) -> None:
    """Paint one picture. What was painted before something went wrong is written first, and then that is raised."""
    try:
        with Signals() as signals:
            outcome = paint(s, made, budget, book, progress, lambda: signals.asked)
            path, about = kept(s, made, outcome, budget, out)
        told(s, made, outcome.state, path, about["losses"], budget, book.folder)
        book.conclude(path, about)
    finally:
        progress.end()
        book.close()
    state = outcome.state
    height, width = state.size
    far = f"{plain(str(path))} is as far as it came"
    far += "" if state.size == made.sizes[-1] else f", painted at {width}x{height} and enlarged"
    if outcome.failure:
        raise CnnlabError(f"{explained(outcome.failure)}; {far}") from outcome.failure
    if signals.asked and not outcome.done:
        raise Stopped(f"stopped at step {state.total}; {far}", signals.asked)


def opening(s: Settings, made: Studio, out: Path, device: torch.device) -> list[str]:
    """What is about to happen."""
    styles = ", ".join(plain(one.path.name) for one in made.styles)
    lines = [f"cnnlab stylize: {plain(made.content.path.name)} in the style of {styles}", *notes(*made.styles)]
    lines += made.shop.said + remarks(s, made, out)
    height, width = made.sizes[-1]
    return [*lines, f"{made.chosen.name}, {width}x{height} pixels, device {describe(device)}"]


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
    for line in unhurried(s, made, state):
        print(line)
    print(f"\n{plain(str(path))}")
    print(f"look at it grow  tensorboard --logdir {folder}", flush=True)
