"""`cnnlab visualize`: what a run has learned, in pictures, each with its numbers, and all on one page."""

import json
import sys
from pathlib import Path
from textwrap import wrap

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import resolve_outputs_folder, write_json
from cnnlab.core.hooks import disable_inplace
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked, check_keywords
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.context import NothingToShow, RunContext
from cnnlab.tasks.visualize.handmade_filters import visualize_handmade_filters
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.tasks.visualize.report import write_report
from cnnlab.tasks.visualize.settings import VisualizeSettings

FIGURE_NAME_WIDTH = 26  # columns of a figure's name


def run(config: Config, overrides: list[str]) -> None:
    """Make the figures that are asked for, RUN/visualize/<date>_<time>_<what>/, and print where they are; all of them
    where none is named, and report.html beside them."""
    s = call_checked(VisualizeSettings, config, "")
    for name in s.what:
        if name not in VISUALIZERS:
            raise UsageError(format_unknown_choice("what", name, VISUALIZERS))
    for name, builder in VISUALIZERS.items():
        check_keywords(builder, getattr(s, name), name)
    if s.feature_maps["filters"]:
        return run_handmade_filters(s)
    if s.images and s.what and not {"feature_maps", "saliency"} & set(s.what):
        raise UsageError(
            f"images are for feature_maps and saliency; {s.what[0]} looks at the data set's"
        )
    trained = load_run(
        s.run, checkpoint=s.checkpoint, device=(device := pick_device(s.device)), outputs=s.outputs
    )
    disable_inplace(trained.model)
    names = s.what or list(VISUALIZERS)
    name = names[0] if len(names) == 1 else "some" if s.what else "all"
    look = RunContext(
        trained, s, device, FigureLog(trained.folder / "visualize", name, trained.step)
    )
    if not s.json:
        print(
            f"cnnlab visualize: {trained.folder}, step {trained.step:,}, device {describe_device(device)}",
            flush=True,
        )
    try:
        with use_threads(trained.config.get("threads")):
            for name in names:
                run_visualizer(look, name)
        page = write_report(look) if not s.what else None
        write_json(
            look.figure_log.folder / "environment.json",
            collect_environment(device) | {"seed": s.seed, "step": trained.step},
        )
    finally:
        look.figure_log.close()
    print_visualize_result(s, look.figure_log, page)
    return None


def run_visualizer(look: RunContext, name: str) -> None:
    """One visualizer's figures, told of as they come; what cannot be is an error only where nothing else was asked."""
    before = len(look.figure_log.figures)
    try:
        VISUALIZERS[name](look, **getattr(look.settings, name))
    except NothingToShow as error:
        if len(look.settings.what) == 1:
            raise
        look.figure_log.record_skipped(name, str(error))
    if not look.settings.json:
        print_figures(look.figure_log, before)


def print_figures(album: FigureLog, before: int) -> None:
    """The figures after the first `before`, each with what it says, for a terminal of 80 columns; the folder first."""
    if album.figures and not before:
        print(f"{album.run.figures}\n")
    for one in album.figures[before:]:
        print(
            "\n".join(
                wrap(
                    f"{one.name + '.png':<{FIGURE_NAME_WIDTH}}{printable(one.title)}",
                    80,
                    subsequent_indent=" " * FIGURE_NAME_WIDTH,
                )
            )
        )
    sys.stdout.flush()


def run_handmade_filters(s: VisualizeSettings) -> None:
    """Filters written by hand over a picture: no run has a part in it."""
    if s.what not in ([], ["feature_maps"]):
        raise UsageError(f"filters written by hand go with feature_maps, not with {', '.join(s.what)}")
    if s.run != "last":
        raise UsageError(
            f"filters written by hand are over pictures, no run has a part in it: leave out {printable(s.run)}"
        )
    album = FigureLog(resolve_outputs_folder(s.outputs) / "visualize", "by_hand", 0)
    try:
        visualize_handmade_filters(
            s.feature_maps["filters"], s.images, s.feature_maps["threshold"], album
        )
    finally:
        album.close()
    if not s.json:
        print_figures(album, 0)
    print_visualize_result(s, album, None)


def print_visualize_result(s: VisualizeSettings, album: FigureLog, page: Path | None) -> None:
    """What there was not, and where the page is; or all as JSON."""
    if s.json:
        figures = {one.name: one.numbers for one in album.figures}
        absent = [{"figure": name, "why": why} for name, why in album.skipped]
        place = page and str(page)
        print(
            json.dumps(
                {"folder": str(album.folder), "figures": figures, "absent": absent, "page": place}
            )
        )
        return
    for name, why in album.skipped:
        print(f"no {name}: {why}")
    if page:
        print(f"\nall on one page: {page}")
