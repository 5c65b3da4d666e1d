"""`cnnlab stylize FOLDER STYLE...`: every image of a folder; styles are evaluated once."""

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

from cnnlab.core.device import describe_device
from cnnlab.core.errors import (
    CnnlabError,
    Stopped,
    UsageError,
    WriteFailed,
    format_error,
)
from cnnlab.core.files import expand_home, path_exists
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.output import erase_live_line
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config
from cnnlab.style.source_image import collect_image_notes, hash_image_file, read_source_image
from cnnlab.tasks.stylize.batch_paths import (
    default_output_folder,
    lock_output_folder,
    make_output_folder,
    plan_output_paths,
)
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.optimize import StylizedImage, stylize_job
from cnnlab.tasks.stylize.output import (
    format_loss,
    list_job_notes,
    list_time_limits,
    resolve_output_path,
)
from cnnlab.tasks.stylize.provenance import hash_inputs, read_transfer_record
from cnnlab.tasks.stylize.setup import StyleSetup, TransferJob, prepare_job

MIN_ENLARGEMENT = 1.1  # worth stylizing again what memory made smaller
MAX_NAME_COLUMNS = 30


class BatchProgress(Progress):
    """A live line that starts with an image's name and disappears at the end."""

    def __init__(self, prefix: str) -> None:
        super().__init__(sys.stderr)
        self.prefix = prefix

    def show(self, line: str, *, keep: bool) -> None:
        super().show(self.prefix + line, keep=False)

    def end(self) -> None:
        erase_live_line()


@dataclass(frozen=True)
class StylizeBatch:
    """A folder's content images, by their output paths, and what each is stylized with."""

    setup: StyleSetup
    outputs: dict[Path, Path]
    config: Config
    overrides: list[str]

    @property
    def stream(self) -> TextIO:
        """Return where text is printed: stdout is reserved for JSON, if requested."""
        return sys.stderr if self.setup.settings.json else sys.stdout

    def prefix(self, number: int, content: Path) -> str:
        """Return the start of an image's line: its number, from 1, and its name."""
        width = min(MAX_NAME_COLUMNS, max(len(printable(path.name)) for path in self.outputs))
        total = len(self.outputs)
        name = printable(content.name)
        return f"{number:>{len(str(total))}}/{total}  {name:<{width}}  "

    def print_text(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def print_json(self, **record: Any) -> None:
        """Print a line of JSON, if requested."""
        if self.setup.settings.json:
            print(json.dumps(record), flush=True)


def stylize_folder(setup: StyleSetup, config: Config, overrides: list[str]) -> None:
    """Stylize a folder's images whose output does not exist yet.

    Raises CnnlabError, at the end, with the images that failed; Stopped for a signal, without an
    output of the image in progress.
    """
    settings = setup.settings
    source = Path(str(settings.content))
    default = default_output_folder(source, [style.path.stem for style in setup.styles])
    folder = expand_home(settings.out) if settings.out else default
    outputs = plan_output_paths(source, folder)
    if settings.out and folder.suffix.lower() in FORMAT_BY_SUFFIX:
        raise UsageError(
            f"{printable(str(source))} is a folder: out= must be a folder too, "
            f"not {printable(folder.name)}"
        )
    make_output_folder(folder, source)
    with lock_output_folder(folder):
        stylize_images(StylizeBatch(setup, outputs, config, overrides), folder)


def stylize_images(batch: StylizeBatch, folder: Path) -> None:
    """Stylize the images of a batch in turn.

    Raises CnnlabError, at the end, with those that failed.
    """
    batch.print_text("\n".join(format_batch_header(batch)))
    failed, num_stylized = list[str](), 0
    for number, content in enumerate(batch.outputs, 1):
        has_failed, lines = stylize_batch_image(batch, number, content)
        batch.print_text(batch.prefix(number, content) + "\n".join(lines or ["already exists"]))
        if has_failed:
            failed.append(printable(content.name))
        elif lines:
            num_stylized += 1
    num_existing = len(batch.outputs) - num_stylized - len(failed)
    counts = f"{num_stylized} stylized, {num_existing} already existed, {len(failed)} failed"
    batch.print_text(f"\n{printable(str(folder))}: {counts}")
    if failed:
        raise CnnlabError(
            f"{len(failed)} of {len(batch.outputs)} images failed: {', '.join(failed)}"
        )


def format_batch_header(batch: StylizeBatch) -> list[str]:
    """Return the lines printed before a folder is stylized."""
    setup = batch.setup
    styles = ", ".join(printable(style.path.name) for style in setup.styles)
    return [
        f"cnnlab stylize: {len(batch.outputs)} images in the style of {styles}",
        *collect_image_notes(*setup.styles),
        *setup.encoder_notes,
        f"{setup.loaded_encoder.name}, device {describe_device(setup.device)}",
    ]


def stylize_batch_image(batch: StylizeBatch, number: int, content: Path) -> tuple[bool, list[str]]:
    """Stylize an image; return whether it failed, and lines on it, none if its output exists."""
    try:
        lines = stylize_folder_image(batch, content, BatchProgress(batch.prefix(number, content)))
    except (WriteFailed, Stopped):
        raise
    except Exception as error:  # the other images are stylized whatever it is
        message = format_error(error)
        batch.print_json(content=str(content), error=message)
        return True, [f"failed: {message}"]
    if not lines:
        batch.print_json(
            content=str(content), image=str(batch.outputs[content]), already_exists=True
        )
    return False, lines


def stylize_folder_image(batch: StylizeBatch, content: Path, progress: Progress) -> list[str]:
    """Stylize one image of a folder; return lines on it, none if its output exists.

    Raises CnnlabError where it cannot be started, WriteFailed where its output cannot be written.
    """
    started_at, out = monotonic(), batch.outputs[content]
    job = prepare_missing_job(batch.setup, content, out)
    if job is None:
        return []
    try:
        resolve_output_path(job, out)
    except WriteFailed as error:  # as for too long a name
        raise CnnlabError(str(error)) from error
    log = TransferLog(job, batch.config, batch.overrides, started_at)
    result = stylize_job(job, job.steps_per_scale, out, log, progress, save_incomplete=False)
    if result.error:
        raise result.error
    if result.stop_signal:
        outcome = "is finished" if result.is_complete else "has no output"
        raise Stopped(
            f"stopped, {printable(content.name)} {outcome}; the same command continues",
            result.stop_signal,
        )
    seconds = monotonic() - started_at
    batch.print_json(
        content=str(content),
        image=str(result.path),
        log=str(log.folder),
        losses=result.record["losses"],
        steps=result.steps,
        seconds=seconds,
    )
    return format_batch_result(job, result, out, seconds)


def prepare_missing_job(setup: StyleSetup, content: Path, out: Path) -> TransferJob | None:
    """Return the job of an image, None if its output exists as large as memory allows.

    Raises UsageError for an existing output that is not to be replaced.
    """
    settings, name = setup.settings, printable(out.name)
    record = read_finished_record(out, content, setup)
    if record and not record.get("shrunk"):
        return None
    if path_exists(out) and not record and not settings.overwrite:
        raise UsageError(
            f"{name} already exists, made otherwise: --overwrite replaces it, out=DIR leaves it"
        )
    job = prepare_job(setup, read_source_image(str(content), settings.max_pixels))
    if record and max(job.size) < MIN_ENLARGEMENT * record["settings"]["size"]:
        return None
    if record and not settings.overwrite:
        raise UsageError(
            f"{name} already exists, smaller than memory allows now: --overwrite replaces it"
        )
    return job


def read_finished_record(out: Path, content: Path, setup: StyleSetup) -> dict[str, Any] | None:
    """Return the record of a complete output of the same images, weights and settings, or None."""
    if path_exists(out):
        with suppress(CnnlabError):
            record = read_transfer_record(out)
            inputs = hash_inputs(setup, hash_image_file(str(content)))
            if record.get("complete") and record["sha256"] == inputs:
                return record
    return None


def format_batch_result(
    job: TransferJob, result: StylizedImage, out: Path, seconds: float
) -> list[str]:
    """Return the lines printed for a stylized image."""
    height, width = job.size
    content, style = (format_loss(result.record["losses"][key]) for key in ("content", "style"))
    summary = f"{width}x{height}  content {content}  style {style}  {format_duration(seconds)}"
    notes = [*list_job_notes(job, out), *list_time_limits(job, result.state)]
    return [summary, *(f"  {note}" for note in notes)]
