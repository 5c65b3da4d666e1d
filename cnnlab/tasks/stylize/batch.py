"""`cnnlab stylize FOLDER STYLE...`: every image of a folder; styles are evaluated once."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from cnnlab.core.device import describe_device
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, WriteFailed
from cnnlab.core.files import path_exists
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config
from cnnlab.style.source_image import collect_image_notes, hash_image_file, read_source_image
from cnnlab.tasks.stylize.image_batch import (
    BatchResult,
    ImageBatch,
    open_image_batch,
    stylize_batch,
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


def stylize_folder(setup: StyleSetup, config: Config, overrides: list[str]) -> None:
    """Stylize a folder's images whose output does not exist yet.

    Raises CnnlabError, at the end, with the images that failed; Stopped for a signal, without an
    output of the image in progress.
    """
    with open_image_batch(setup.settings, [style.path.stem for style in setup.styles]) as batch:
        batch.print_text("\n".join(format_batch_header(setup, batch)))
        stylize_batch(batch, partial(stylize_folder_image, setup, config, overrides))


def format_batch_header(setup: StyleSetup, batch: ImageBatch) -> list[str]:
    """Return the lines printed before a folder is stylized."""
    styles = ", ".join(printable(style.path.name) for style in setup.styles)
    return [
        f"cnnlab stylize: {len(batch.outputs)} images in the style of {styles}",
        *collect_image_notes(*setup.styles),
        *setup.encoder_notes,
        f"{setup.loaded_encoder.name}, device {describe_device(setup.device)}",
    ]


def stylize_folder_image(
    setup: StyleSetup,
    config: Config,
    overrides: list[str],
    content: Path,
    out: Path,
    progress: Progress,
) -> BatchResult | None:
    """Stylize one image of a folder; return None if its output exists.

    Raises CnnlabError where it cannot be started, WriteFailed where its output cannot be written.
    """
    started_at = monotonic()
    job = prepare_missing_job(setup, content, out)
    if job is None:
        return None
    try:
        resolve_output_path(job, out)
    except WriteFailed as error:  # as for too long a name
        raise CnnlabError(str(error)) from error
    log = TransferLog(job, config, overrides, started_at)
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
    numbers = {
        "image": str(result.path),
        "log": str(log.folder),
        "losses": result.record["losses"],
        "steps": result.steps,
        "seconds": seconds,
    }
    return BatchResult(format_batch_result(job, result, out, seconds), numbers)


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
