"""`cnnlab visualize`: figures of what a run has learned, each with its numbers, and a report of all
of them."""

import json
import sys
from pathlib import Path

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.display_text import isolate_rtl_words, wrap_words
from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import resolve_outputs_folder, write_json
from cnnlab.core.hooks import disable_inplace
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked, check_keywords
from cnnlab.data.settings import MovedDataSettings
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.context import NothingToShow, RunContext
from cnnlab.tasks.visualize.handmade_filters import visualize_handmade_filters
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.tasks.visualize.renamed_visualizers import check_not_renamed
from cnnlab.tasks.visualize.report import write_report
from cnnlab.tasks.visualize.settings import VisualizeSettings

FIGURE_NAME_WIDTH = 26  # columns of a figure's name
IMAGE_VISUALIZERS = {"feature_maps", "saliency"}  # those that take image files


def run(config: Config, overrides: list[str]) -> None:
    """Make the figures that are asked for in RUN/visualize/<date>_<time>_<what>/ and print where
    they are. Without a visualizer's name make all of them, and report.html beside them."""
    settings = call_checked(VisualizeSettings, config, "")
    call_checked(MovedDataSettings, settings.dataset, "dataset")
    check_visualizers(settings)
    if settings.feature_maps["filters"]:
        return run_handmade_filters(settings)
    if settings.images and settings.what and not IMAGE_VISUALIZERS & set(settings.what):
        raise UsageError(
            f"images are for feature_maps and saliency; {settings.what[0]} reads the data set's"
        )
    context = create_context(settings)
    if not settings.json:
        trained, device = context.trained, describe_device(context.device)
        print(
            f"cnnlab visualize: step {trained.step:,}, device {device}\n{trained.folder}",
            flush=True,
        )
    try:
        report = run_visualizers(context)
    finally:
        context.figure_log.close()
    print_visualize_result(settings, context.figure_log, report)
    context.unreadable.raise_if_any()
    return None


def check_visualizers(settings: VisualizeSettings) -> None:
    """Raise UsageError for a visualizer, or a key of one, that does not exist."""
    check_not_renamed(settings.what)
    for name in settings.what:
        if name not in VISUALIZERS:
            raise UsageError(format_unknown_choice("what", name, VISUALIZERS))
    for name, builder in VISUALIZERS.items():
        check_keywords(builder, getattr(settings, name), name)


def create_context(settings: VisualizeSettings) -> RunContext:
    """Load the run, ready for its layers' outputs to be captured."""
    device = pick_device(settings.device)
    trained = load_run(
        settings.run,
        checkpoint=settings.checkpoint,
        device=device,
        outputs=settings.outputs,
        dataset=settings.dataset,
    )
    disable_inplace(trained.model)
    what = settings.what
    name = what[0] if len(what) == 1 else "some" if what else "all"
    log = FigureLog(trained.choose_result_parent("visualize", settings.outputs), name, trained.step)
    return RunContext(trained, settings, device, log)


def run_visualizers(context: RunContext) -> Path | None:
    """Make the figures that are asked for, and the report where all are; return the report's
    path."""
    settings, trained, log = context.settings, context.trained, context.figure_log
    with use_threads(trained.config.get("threads")):
        for name in settings.what or VISUALIZERS:
            run_visualizer(context, name)
    report = None if settings.what else write_report(context)
    environment = collect_environment(context.device)
    numbers = {"seed": settings.seed, "step": trained.step}
    write_json(log.folder / "environment.json", environment | numbers)
    return report


def run_visualizer(context: RunContext, name: str) -> None:
    """Make one visualizer's figures and print them. A network without what it shows is an error
    only where nothing else was asked for."""
    before = len(context.figure_log.figures)
    try:
        VISUALIZERS[name](context, **getattr(context.settings, name))
    except NothingToShow as error:
        if len(context.settings.what) == 1:
            raise
        context.figure_log.record_skipped(name, str(error))
    if not context.settings.json:
        print_figures(context.figure_log, before)


def print_figures(log: FigureLog, before: int) -> None:
    """Print the figures after the first `before`, each with its title, in 80 columns; the folder
    first."""
    if log.figures and not before:
        print(f"{log.run.figures}\n")
    indent = " " * FIGURE_NAME_WIDTH
    for figure in log.figures[before:]:
        file = f"{figure.name}.png"
        if len(file) >= FIGURE_NAME_WIDTH:
            print(file)
            file = ""
        words = wrap_words(printable(figure.title), 80 - FIGURE_NAME_WIDTH)
        lines = [isolate_rtl_words(line) for line in words] or [""]
        print(f"{file:<{FIGURE_NAME_WIDTH}}" + f"\n{indent}".join(lines))
    sys.stdout.flush()


def run_handmade_filters(settings: VisualizeSettings) -> None:
    """Apply hand-written filters to images; this needs no run."""
    if settings.what not in ([], ["feature_maps"]):
        raise UsageError(
            f"hand-written filters go with feature_maps, not with {', '.join(settings.what)}"
        )
    if settings.run != "last":
        raise UsageError(
            "hand-written filters are applied to images and need no run: leave out "
            f"{printable(settings.run)}"
        )
    log = FigureLog(resolve_outputs_folder(settings.outputs) / "visualize", "handmade_filters", 0)
    keys = settings.feature_maps
    try:
        unreadable = visualize_handmade_filters(
            keys["filters"], settings.images, keys["threshold"], log
        )
    finally:
        log.close()
    if not settings.json:
        print_figures(log, 0)
    print_visualize_result(settings, log, None)
    unreadable.raise_if_any()


def print_visualize_result(
    settings: VisualizeSettings, log: FigureLog, report: Path | None
) -> None:
    """Print what was skipped, and where the report is; or all as JSON."""
    if settings.json:
        result = {
            "folder": str(log.folder),
            "figures": {figure.name: figure.numbers for figure in log.figures},
            "skipped": [{"figure": name, "reason": reason} for name, reason in log.skipped],
            "report": report and str(report),
        }
        print(json.dumps(result))
        return
    for name, reason in log.skipped:
        print(f"skipped {name}: {reason}")
    if report:
        print(f"\nreport:\n{report}")
