"""`cnnlab stylize --explore KEY=A,B`: one content image with every value of one or two keys."""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

import torch

from cnnlab.core.device import describe_device
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, WriteFailed, format_error
from cnnlab.core.files import expand_home, path_exists
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import printable, quote_argument
from cnnlab.core.schema import Config, build_registered
from cnnlab.style.losses import STYLE_LOSSES
from cnnlab.style.source_image import collect_image_notes, read_source_image
from cnnlab.tasks.stylize.explore_plan import Variant, plan_variants
from cnnlab.tasks.stylize.image_batch import BatchProgress
from cnnlab.tasks.stylize.log import TransferLog, make_log_folder
from cnnlab.tasks.stylize.optimize import StylizedImage, stylize_job
from cnnlab.tasks.stylize.output import format_loss, list_job_notes, resolve_output_path
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import (
    StyleSetup,
    TransferJob,
    check_optimizer_settings,
    prepare_job,
    prepare_styles,
)

FIGURE_NAME = "explore.png"


@dataclass
class VariantResult:
    """A variant's job and, once it is stylized, its image or the error; `seconds` it took."""

    variant: Variant
    job: TransferJob
    out: Path
    image: StylizedImage | None = None
    error: str = ""
    seconds: float = 0.0

    def list_numbers(self) -> dict[str, Any]:
        """Return what is recorded of a variant, as JSON."""
        numbers: dict[str, Any] = {"values": self.variant.values}
        if self.image is None:
            return numbers | ({"error": self.error} if self.error else {})
        return numbers | {
            "image": str(self.image.path),
            "losses": self.image.record["losses"],
            "steps": self.image.steps,
            "seconds": self.seconds,
        }

    def format_numbers(self) -> str:
        """Return the losses and the seconds on one line, or the error."""
        if self.image is None:
            return f"failed: {self.error}" if self.error else "not stylized"
        losses = self.image.record["losses"]
        content, style = (format_loss(losses[name]) for name in ("content", "style"))
        return f"content {content}  style {style}  {format_duration(self.seconds)}"


@dataclass(frozen=True)
class Exploration:
    """The variants of one content image and where they are written; `num_rows` of the figure."""

    results: list[VariantResult]
    num_rows: int
    folder: Path
    log_folder: Path

    @property
    def settings(self) -> StylizeSettings:
        return self.results[0].variant.settings

    @property
    def stream(self) -> TextIO:
        """Return where text is printed: stdout is reserved for JSON, if requested."""
        return sys.stderr if self.settings.json else sys.stdout

    def print_text(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def print_json(self, record: dict[str, Any]) -> None:
        """Print a line of JSON, if requested."""
        if self.settings.json:
            print(json.dumps(record), flush=True)


def explore_values(
    settings: StylizeSettings,
    device: torch.device,
    config: Config,
    overrides: list[str],
    *,
    allow_download: bool,
) -> None:
    """Stylize an image with every value of the explored keys, and draw them in one figure.

    Raises UsageError for an invalid value before the first image is stylized; CnnlabError, after
    the figure is drawn, with the variants that failed; Stopped for a signal, after the figure of
    the finished images is drawn.
    """
    variants, num_rows = plan_variants(settings, overrides)
    content = read_source_image(str(settings.content), settings.max_pixels)
    shared = SharedSetups(device, allow_download)
    jobs = [prepare_job(shared.prepare(variant.settings), content) for variant in variants]
    exploration = make_exploration(variants, jobs, num_rows)
    exploration.print_text("\n".join(format_explore_header(exploration)))
    stop_signal = None
    for number, result in enumerate(exploration.results, 1):
        stop_signal = stylize_variant(exploration, number, result)
        if stop_signal:
            break
    finish_exploration(exploration, stop_signal)


@dataclass
class SharedSetups:
    """The networks and style images of the variants; equal ones are read once.

    They share the style images' statistics too, unless the layers or the kind of loss differ.
    """

    device: torch.device
    allow_download: bool
    setups: dict[str, StyleSetup] = field(default_factory=dict)

    def prepare(self, settings: StylizeSettings) -> StyleSetup:
        """Return the setup of settings. Raises UsageError or CnnlabError where that fails."""
        style = [settings.style.get(key) for key in ("name", "layers", "content_layer")]
        seed = settings.seed if settings.features["name"] == "random" else None
        guides = [settings.mask_paths, settings.content_map]
        network = [settings.features, settings.precision, seed]
        key = json.dumps([settings.styles, *guides, *network, *style])
        if key not in self.setups:
            allow_download = self.allow_download
            self.setups[key] = prepare_styles(settings, self.device, allow_download=allow_download)
            return self.setups[key]
        spec = build_registered(STYLE_LOSSES, settings.style, "style")
        check_optimizer_settings(settings)
        return replace(self.setups[key], settings=settings, spec=spec)


def make_exploration(
    variants: list[Variant], jobs: list[TransferJob], num_rows: int
) -> Exploration:
    """Return the exploration, its folder created. Raises UsageError for existing outputs."""
    settings = variants[0].settings
    folder = expand_home(settings.out) if settings.out else None
    if folder:
        check_output_folder(folder, variants, jobs)
    log_folder = make_log_folder(jobs[0], "_explore")
    results = [
        VariantResult(variant, job, (folder or log_folder) / f"{variant.stem}.png")
        for variant, job in zip(variants, jobs, strict=True)
    ]
    return Exploration(results, num_rows, folder or log_folder, log_folder)


def check_output_folder(folder: Path, variants: list[Variant], jobs: list[TransferJob]) -> None:
    """Raise UsageError where `out` is no folder or holds outputs already, WriteFailed where it
    cannot be written to."""
    if folder.suffix.lower() in FORMAT_BY_SUFFIX:
        raise UsageError(
            f"--explore writes several images: out={printable(str(folder))} must be a folder\n"
            "use out=DIR"
        )
    figure = folder / FIGURE_NAME
    if path_exists(figure) and not variants[0].settings.overwrite:
        raise UsageError(f"{printable(str(figure))} already exists: --overwrite replaces it")
    for variant, job in zip(variants, jobs, strict=True):
        resolve_output_path(job, folder / f"{variant.stem}.png")


def format_explore_header(exploration: Exploration) -> list[str]:
    """Return the lines printed before the first image is optimized."""
    job = exploration.results[0].job
    setup, (height, width) = job.setup, job.size
    styles = ", ".join(printable(style.path.name) for style in setup.styles)
    names = f"{printable(job.content.path.name)} in the style of {styles}"
    return [
        f"cnnlab stylize --explore: {len(exploration.results)} images, {names}",
        *collect_image_notes(*setup.styles),
        *setup.encoder_notes,
        *list_job_notes(job, exploration.results[0].out),
        f"{setup.loaded_encoder.name}, {width}x{height} pixels, "
        f"device {describe_device(setup.device)}",
    ]


def stylize_variant(exploration: Exploration, number: int, result: VariantResult) -> int | None:
    """Stylize a variant, print its line, and return the signal that was received meanwhile.

    Whatever makes it fail, but a file that cannot be written, is recorded: others may succeed.
    """
    width = max(len(other.variant.label) for other in exploration.results)
    total = len(exploration.results)
    prefix = f"{number:>{len(str(total))}}/{total}  {result.variant.label:<{min(width, 30)}}  "
    started_at, stop_signal = monotonic(), None
    try:
        image = optimize_variant(exploration, result, started_at, BatchProgress(prefix))
        stop_signal = image.stop_signal
        if image.error:
            raise image.error
        result.image = image if image.is_complete else None
    except WriteFailed:
        raise
    except Exception as error:
        result.error = format_error(error)
    result.seconds = monotonic() - started_at
    if result.image or result.error:
        exploration.print_text(prefix + result.format_numbers())
        exploration.print_json(result.list_numbers())
    return stop_signal


def optimize_variant(
    exploration: Exploration, result: VariantResult, started_at: float, progress: Progress
) -> StylizedImage:
    """Stylize a variant and save it if it was completed."""
    variant, job = result.variant, result.job
    folder = exploration.log_folder / "logs" / variant.stem
    folder.mkdir(parents=True)
    log = TransferLog(job, variant.config, variant.overrides, started_at, folder)
    steps = job.steps_per_scale
    return stylize_job(job, steps, result.out, log, progress, save_incomplete=False)


def finish_exploration(exploration: Exploration, stop_signal: int | None) -> None:
    """Draw the finished images in a figure, and print its path.

    Raises CnnlabError for variants that failed, Stopped for a signal.
    """
    from cnnlab.tasks.stylize.explore_figure import write_explore_figure  # imports matplotlib

    results = exploration.results
    num_finished = sum(result.image is not None for result in results)
    if num_finished:
        figure = write_explore_figure(exploration)
        exploration.print_text(f"\n{printable(str(figure))}")
        exploration.print_text(
            f"TensorBoard:\ntensorboard --logdir {quote_argument(str(exploration.log_folder))}"
        )
        exploration.print_json({"figure": str(figure), "log": str(exploration.log_folder)})
    if stop_signal and num_finished < len(results):
        kept = f"{num_finished} of {len(results)} images are finished"
        raise Stopped(f"stopped; {kept}", stop_signal)
    if failed := [result.variant.label for result in results if result.error]:
        raise CnnlabError(f"{len(failed)} of {len(results)} images failed: {'; '.join(failed)}")
