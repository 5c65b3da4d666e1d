"""`cnnlab visualize`: what a run has learned, in pictures, each with its numbers, and all on one page."""

import json
from pathlib import Path
from typing import Any

from cnnlab.core.device import describe, environment, pick_device, threads
from cnnlab.core.errors import UsageError, not_one_of
from cnnlab.core.files import new_folder, write_json
from cnnlab.core.run import Run
from cnnlab.core.schema import call, check
from cnnlab.core.taps import out_of_place
from cnnlab.tasks import parts
from cnnlab.tasks.looking import Look, NothingToShow, Settings
from cnnlab.tasks.report import report
from cnnlab.tasks.visualizers import VISUALIZERS
from cnnlab.tasks.visualizers.features import by_hand


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
        print(f"cnnlab visualize: {trained.folder}, step {trained.step:,}, device {describe(device)}", flush=True)
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
        for shown in look.shown[before:]:
            print(f"\n{shown.text.split('. ')[0]}\n  {look.board.figures / shown.name}.png", flush=True)


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
        print("\n".join(f"{one.text}\n  {board.figures / one.name}.png" for one in shown))


def tell(look: Look, folder: Path, page: Path | None) -> None:
    """What there was not, and where everything is."""
    absent: list[Any] = [{"figure": name, "why": why} for name, why in look.absent]
    if look.settings.json:
        figures = {one.name: one.numbers for one in look.shown}
        print(json.dumps({"folder": str(folder), "figures": figures, "absent": absent, "page": page and str(page)}))
        return
    for name, why in look.absent:
        print(f"\nno {name}: {why}")
    print(f"\nfigures, with their numbers as JSON: {folder / 'figures'}")
    if page:
        print(f"all on one page: {page}")
