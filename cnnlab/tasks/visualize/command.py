"""`cnnlab visualize`: what a run has learned, in pictures, each with its numbers, and all on one page."""

import json
import sys
from pathlib import Path
from textwrap import wrap

from cnnlab.core.device import describe, pick_device, threads
from cnnlab.core.errors import UsageError, not_one_of
from cnnlab.core.figure_log import Album
from cnnlab.core.files import outputs_folder, write_json
from cnnlab.core.hooks import out_of_place
from cnnlab.core.provenance import environment
from cnnlab.core.quoting import plain
from cnnlab.core.schema import Config, call, check
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.context import Look, NothingToShow, Settings
from cnnlab.tasks.visualize.handmade_filters import by_hand
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.tasks.visualize.report import report

NAME = 26  # columns of a figure's name


def run(config: Config, overrides: list[str]) -> None:
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
    if s.pictures and s.what and not {"features", "saliency"} & set(s.what):
        raise UsageError(f"pictures are for features and saliency; {s.what[0]} looks at the data set's")
    trained = load_run(s.run, checkpoint=s.checkpoint, device=(device := pick_device(s.device)), outputs=s.outputs)
    out_of_place(trained.model)
    names = s.what or list(VISUALIZERS)
    name = names[0] if len(names) == 1 else "some" if s.what else "all"
    look = Look(trained, s, device, Album(trained.folder / "visualize", name, trained.step))
    if not s.json:
        print(f"cnnlab visualize: {trained.folder}, step {trained.step:,}, device {describe(device)}", flush=True)
    try:
        with threads(trained.config.get("threads")):
            for name in names:
                made(look, name)
        page = report(look) if not s.what else None
        write_json(look.album.folder / "environment.json", environment(device) | {"seed": s.seed, "step": trained.step})
    finally:
        look.album.close()
    conclude(s, look.album, page)
    return None


def made(look: Look, name: str) -> None:
    """One visualizer's figures, told of as they come; what cannot be is an error only where nothing else was asked."""
    before = len(look.album.shown)
    try:
        VISUALIZERS[name](look, **getattr(look.settings, name))
    except NothingToShow as error:
        if len(look.settings.what) == 1:
            raise
        look.album.missing(name, str(error))
    if not look.settings.json:
        tell(look.album, before)


def tell(album: Album, before: int) -> None:
    """The figures after the first `before`, each with what it says, for a terminal of 80 columns; the folder first."""
    if album.shown and not before:
        print(f"{album.board.figures}\n")
    for one in album.shown[before:]:
        print("\n".join(wrap(f"{one.name + '.png':<{NAME}}{plain(one.title)}", 80, subsequent_indent=" " * NAME)))
    sys.stdout.flush()


def alone(s: Settings) -> None:
    """Filters written by hand over a picture: no run has a part in it."""
    if s.what not in ([], ["features"]):
        raise UsageError(f"filters written by hand go with features, not with {', '.join(s.what)}")
    if s.run != "last":
        raise UsageError(
            f"filters written by hand are over pictures, no run has a part in it: leave out {plain(s.run)}"
        )
    album = Album(outputs_folder(s.outputs) / "visualize", "by_hand", 0)
    try:
        by_hand(s.features["filters"], s.pictures, s.features["match"], album)
    finally:
        album.close()
    if not s.json:
        tell(album, 0)
    conclude(s, album, None)


def conclude(s: Settings, album: Album, page: Path | None) -> None:
    """What there was not, and where the page is; or all as JSON."""
    if s.json:
        figures = {one.name: one.numbers for one in album.shown}
        absent = [{"figure": name, "why": why} for name, why in album.absent]
        place = page and str(page)
        print(json.dumps({"folder": str(album.folder), "figures": figures, "absent": absent, "page": place}))
        return
    for name, why in album.absent:
        print(f"no {name}: {why}")
    if page:
        print(f"\nall on one page: {page}")
