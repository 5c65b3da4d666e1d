"""`cnnlab visualize`: what a run has learned, in pictures, each with its numbers, and all on one page."""

import json
from pathlib import Path
from textwrap import wrap
from typing import Any

from cnnlab.core.device import describe, environment, pick_device, threads
from cnnlab.core.errors import UsageError, not_one_of
from cnnlab.core.files import new_folder, write_json
from cnnlab.core.run import Run
from cnnlab.core.schema import call, check
from cnnlab.core.taps import out_of_place
from cnnlab.core.text import plain
from cnnlab.tasks import parts
from cnnlab.tasks.looking import Look, NothingToShow, Settings, Shown
from cnnlab.tasks.report import report
from cnnlab.tasks.visualizers import VISUALIZERS
from cnnlab.tasks.visualizers.features import by_hand

NAME = 26  # columns of a figure's name


def run(config: parts.Config, overrides: list[str]) -> None:
    """Make the figures that are asked for, RUN/visualize/<date>_<time>_<what>/, and print where they are; all of them
    where none is named, and report.html beside them."""
    s = call(Settings, config, "")
    for name in s.what:
        if name not in VISUALIZERS:
            raise UsageError(not_one_of("what", name, VISUALIZERS))
    for name, builder in VISUALIZERS.items():
        check(builder, getattr(s, name), name)
    if s.features["filters"]:
        return alone(s)
    trained = parts.load_run(
        s.run, checkpoint=s.checkpoint, device=(device := pick_device(s.device)), outputs=s.outputs
    )
    out_of_place(trained.model)
    names = s.what or list(VISUALIZERS)
    folder = new_folder(trained.folder / "visualize", names[0] if len(names) == 1 else "all" if not s.what else "some")
    look = Look(trained, s, device, Run(folder))
    if not s.json:
        print(f"cnnlab visualize: {trained.folder}, step {trained.step:,}, device {describe(device)}")
        print(f"{look.board.figures}\n", flush=True)
    try:
        with threads(trained.config.get("threads")):
            for name in names:
                made(look, name)
        page = report(look, folder) if not s.what else None
    finally:
        look.board.close()
    write_json(folder / "environment.json", environment(device) | {"seed": s.seed, "step": trained.step})
    tell(look, folder, page)
    return None


def made(look: Look, name: str) -> None:
    """One visualizer's figures, told of as they come; what cannot be is an error only where nothing else was asked."""
    before = len(look.shown)
    try:
        VISUALIZERS[name](look, **getattr(look.settings, name))
    except NothingToShow as error:
        if len(look.settings.what) == 1:
            raise
        look.missing(name, str(error))
    if not look.settings.json:
        print("\n".join(line for shown in look.shown[before:] for line in lines(shown)), flush=True)


def lines(shown: Shown) -> list[str]:
    """A figure's file, and what it says, for a terminal of 80 columns."""
    return wrap(f"{shown.name + '.png':<{NAME}}{plain(shown.title)}", 80, subsequent_indent=" " * NAME)


def alone(s: Settings) -> None:
    """Filters written by hand over a picture: no run has a part in it."""
    if s.what not in ([], ["features"]):
        raise UsageError(f"filters written by hand go with features, not with {', '.join(s.what)}")
    folder = new_folder(parts.outputs_folder(s.outputs) / "visualize", "by_hand")
    board = Run(folder)
    shown = by_hand(s.features["filters"], s.pictures, s.features["match"], board)
    board.close()
    if s.json:
        print(json.dumps({"folder": str(folder), "figures": {one.name: one.numbers for one in shown}}))
    else:
        print("\n".join([f"{board.figures}\n", *(line for one in shown for line in lines(one))]))


def tell(look: Look, folder: Path, page: Path | None) -> None:
    """What there was not, and where everything is."""
    absent: list[Any] = [{"figure": name, "why": why} for name, why in look.absent]
    if look.settings.json:
        figures = {one.name: one.numbers for one in look.shown}
        print(json.dumps({"folder": str(folder), "figures": figures, "absent": absent, "page": page and str(page)}))
        return
    for name, why in look.absent:
        print(f"no {name}: {why}")
    if page:
        print(f"\nall on one page: {page}")
