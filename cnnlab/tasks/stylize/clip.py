"""`cnnlab stylize CLIP STYLE...`: every frame of an animated image or a video, without flicker."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from cnnlab.core.clip_file import (
    Clip,
    ClipFrame,
    TooManyFrames,
    is_animated_image,
    open_animated_image,
)
from cnnlab.core.clip_formats import CLIP_WRITERS, ClipContent, find_clip_writer
from cnnlab.core.device import describe_device
from cnnlab.core.errors import CnnlabError, Stopped, format_error
from cnnlab.core.files import expand_home, truncate_to_bytes, write_atomically, write_unique
from cnnlab.core.image_file import TooManyPixels
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.photo import Photo
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import printable, quote_argument
from cnnlab.core.schema import Config
from cnnlab.core.signals import SignalRecorder
from cnnlab.core.video_file import VIDEO_SUFFIXES, open_video
from cnnlab.style.source_image import SourceImage, collect_image_notes, hash_image_file
from cnnlab.tasks.stylize.clip_frames import ClipClock, FrameResult, FrameStylist, Interrupted
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.output import check_output_path, format_loss, list_memory_limits
from cnnlab.tasks.stylize.provenance import make_transfer_record
from cnnlab.tasks.stylize.settings import LOSS_MEANINGS, StylizeSettings
from cnnlab.tasks.stylize.setup import StyleSetup, TransferJob, prepare_job

MAX_LOGGED_FRAMES = 8  # images in TensorBoard
EXIT_RESERVE_S = 1.5  # of a time limit, for the process to exit
SAVE_S_PER_MEGAPIXEL = 0.5  # of all frames together, to encode them
CLIP_KEYS = ("frame_steps", "temporal_weight")  # recorded of a clip besides an image's


@dataclass
class ClipOutput:
    """The frames so far. `error`: what ended the clip early; `path`: of the written file."""

    results: list[FrameResult] = field(default_factory=list)
    durations_ms: list[float] = field(default_factory=list)
    error: Exception | None = None
    stop_signal: int | None = None
    path: Path | None = None
    record: dict[str, Any] = field(default_factory=dict)


def open_clip(settings: StylizeSettings) -> Clip | None:
    """Return the content if it is a clip to stylize, None for a still image.

    It is a still image if `out` is one, or if an image is evaluated, compared or reproduced.
    Raises CnnlabError for a clip that cannot be read, or exceeds the limits.
    """
    path, out = Path(str(settings.content)), Path(settings.out or "")
    is_still = out.suffix.lower() in FORMAT_BY_SUFFIX.keys() - CLIP_WRITERS.keys()
    if settings.score or settings.reproduce or settings.explore or is_still or path.is_dir():
        return None
    is_video = path.suffix.lower() in VIDEO_SUFFIXES
    if not is_video and not is_animated_image(path):
        return None
    limits = {"max_frames": settings.max_frames, "max_pixels": settings.max_pixels}
    try:
        return (open_video if is_video else open_animated_image)(path, **limits)
    except TooManyFrames as error:
        raise CnnlabError(f"{error}\nmax_frames=N raises the limit") from error
    except TooManyPixels as error:
        raise CnnlabError(f"{error}\nmax_pixels=N raises the limit") from error


def stylize_clip(
    setup: StyleSetup, clip: Clip, config: Config, overrides: list[str], started_at: float
) -> None:
    """Stylize a clip and print the result.

    Raises Stopped and errors after the frames so far are saved as a shorter clip.
    """
    settings = setup.settings
    out = resolve_clip_path(setup, clip)
    frames = clip.iterate()
    first = next(frames, None)
    if first is None:
        raise CnnlabError(f"{printable(str(clip.path))} has no frame that can be read")
    content_sha256 = hash_image_file(str(clip.path))
    job = prepare_job(setup, make_frame_source(clip, first, content_sha256))
    stream = sys.stderr if settings.json else sys.stdout
    print("\n".join(format_clip_header(job, clip)), file=stream, flush=True)
    log = TransferLog(job, config, overrides, started_at)
    progress, output = Progress(stream), ClipOutput()
    try:
        with SignalRecorder() as signals:
            stylist = FrameStylist(
                setup,
                job,
                make_clock(job, clip, started_at),
                progress,
                lambda: signals.received is not None,
            )
            stylize_frames(stylist, clip, chain([first], frames), output, log)
            output.stop_signal = signals.received
            if output.results:
                save_clip(stylist, clip, out, output, log)
    finally:
        progress.end()
        log.close()
    print_clip_result(stylist, clip, output, log)
    check_clip_completed(clip, output)


def resolve_clip_path(setup: StyleSetup, clip: Clip) -> Path:
    """Return the path of the stylized clip: `out`, else beside the content.

    Raises UsageError for a path that cannot be, WriteFailed for one that cannot be written to.
    """
    settings, styles = setup.settings, [style.path for style in setup.styles]
    name = truncate_to_bytes("_".join(path.stem for path in (clip.path, *styles)), 200)
    path = expand_home(settings.out) if settings.out else clip.path.with_name(name + clip.suffix)
    find_clip_writer(path)
    must_be_new = bool(settings.out) and not settings.overwrite
    check_output_path(path, [clip.path, *styles], must_be_new=must_be_new)
    return path


def make_frame_source(clip: Clip, frame: ClipFrame, sha256: str) -> SourceImage:
    """Return a frame as a content image, with the clip's path and hash."""
    return SourceImage(clip.path, Photo(frame.image, None, ()), sha256)


def make_clock(job: TransferJob, clip: Clip, started_at: float) -> ClipClock:
    """Return the clock of a clip; a time limit counts from the start of the command."""
    limit_s = job.setup.settings.time_limit_s
    if limit_s is None:
        return ClipClock(clip.num_frames)
    height, width = job.size
    save_s = EXIT_RESERVE_S + SAVE_S_PER_MEGAPIXEL * clip.num_frames * height * width / 1e6
    return ClipClock(clip.num_frames, started_at + limit_s - save_s)


def stylize_frames(
    stylist: FrameStylist,
    clip: Clip,
    frames: Iterator[ClipFrame],
    output: ClipOutput,
    log: TransferLog,
) -> None:
    """Stylize and log frames in turn, into `output`, until a signal or an error."""
    sha256, size = stylist.job.content.sha256, stylist.job.content.photo.rgb.size
    try:
        for number, frame in enumerate(frames, 1):
            if frame.image.size != size:  # of a video whose size changes
                frame = ClipFrame(frame.image.resize(size), frame.duration_ms)
            result = stylist.stylize(number, make_frame_source(clip, frame, sha256))
            output.results.append(result)
            output.durations_ms.append(frame.duration_ms)
            log_frame(result, number, clip.num_frames, log)
    except Interrupted:
        return
    except (CnnlabError, MemoryError, RuntimeError) as error:
        if not output.results:
            raise
        output.error = error


def log_frame(result: FrameResult, number: int, num_frames: int, log: TransferLog) -> None:
    """Log a frame's losses, and the images of a few frames."""
    log.run.elapsed_s = monotonic() - log.started_at
    losses = list_frame_losses(result, log)
    scalars = {name: losses[name] for name in ("loss", "content", "style")}
    finite = {name: value for name, value in scalars.items() if value is not None}
    log.run.log_scalars("frame", finite | {"fixed": result.fixed_share}, number)
    if (number - 1) % -(-num_frames // MAX_LOGGED_FRAMES) == 0:
        log.run.log_image("frame", result.pixels, number)


def list_frame_losses(result: FrameResult, log: TransferLog) -> dict[str, Any]:
    """Return a frame's losses by name."""
    return log.job.setup.spec.losses_by_name(result.terms)


def save_clip(
    stylist: FrameStylist, clip: Clip, out: Path, output: ClipOutput, log: TransferLog
) -> None:
    """Write the frames so far, and the record of how they were made."""
    settings = stylist.setup.settings
    steps = [result.steps for result in output.results]
    record = make_transfer_record(log.job, steps, output.results[-1].terms)
    record["settings"] |= {
        key: value for key, value in asdict(settings).items() if key in CLIP_KEYS
    }
    record["losses"] = average_losses([list_frame_losses(r, log) for r in output.results])
    record |= {
        "frames": len(output.results),
        "scenes": 1 + sum(result.is_cut for result in output.results),
        "flicker": stylist.flicker.mean,
        "complete": output.error is None and len(output.results) == clip.num_frames,
    }
    frames = [result.pixels for result in output.results]
    content = ClipContent(frames, output.durations_ms, clip.plays, record)
    write_format = find_clip_writer(out)
    if settings.overwrite:
        write_atomically(out, lambda part: write_format(part, content))
        output.path = out
    else:
        output.path = write_unique(out, lambda part: write_format(part, content))
    output.record = record
    log.write_result(output.path, record)


def average_losses(losses: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the means of the frames' losses, None where one is not finite."""
    return {
        name: None if None in values else float(np.mean(values))
        for name in ("loss", "content", "style")
        for values in [[frame[name] for frame in losses]]
    }


def format_clip_header(job: TransferJob, clip: Clip) -> list[str]:
    """Return the lines printed before the first frame is optimized."""
    setup, name = job.setup, printable(clip.path.name)
    styles = ", ".join(printable(style.path.name) for style in setup.styles)
    height, width = job.size
    plural = "s" * (clip.num_frames != 1)
    return [
        f"cnnlab stylize: {name} in the style of {styles}",
        *collect_image_notes(*setup.styles),
        *(f"{name}: {note}" for note in clip.notes),
        *setup.encoder_notes,
        *list_memory_limits(job),
        f"{setup.loaded_encoder.name}, {clip.num_frames} frame{plural} of {width}x{height} pixels, "
        f"device {describe_device(setup.device)}",
    ]


def print_clip_result(
    stylist: FrameStylist, clip: Clip, output: ClipOutput, log: TransferLog
) -> None:
    """Print the numbers and the path of a clip, if any frame was saved."""
    record, settings = output.record, stylist.setup.settings
    if output.path is None:
        return
    seconds = monotonic() - log.started_at
    if settings.json:
        names = ("frames", "scenes", "losses", "flicker", "steps")
        numbers = {"clip": str(output.path)} | {name: record[name] for name in names}
        print(json.dumps(numbers | {"seconds": seconds, "log": str(log.folder)}), flush=True)
        return
    meanings = LOSS_MEANINGS[settings.style["name"]]
    print()
    for name, meaning in zip(("content", "style"), meanings, strict=True):
        print(f"{name:<8} {format_loss(record['losses'][name]):<11} {meaning}")
    if record["flicker"] is not None:
        print(
            f"flicker  {format_loss(record['flicker']):<11} "
            "(mean change, in 0..1, where the content is unchanged)"
        )
    frames, scenes = (
        f"{record[name]} {name if record[name] != 1 else name[:-1]}"
        for name in ("frames", "scenes")
    )
    print(f"{frames}, {scenes}, {format_duration(seconds)} in total")
    print(f"\n{printable(str(output.path))}")
    print(f"TensorBoard:\ntensorboard --logdir {quote_argument(str(log.folder))}", flush=True)


def check_clip_completed(clip: Clip, output: ClipOutput) -> None:
    """Raise the error or the signal that ended a clip early."""
    count = len(output.results)
    if output.error:
        saved = f"the {count} frames before are saved as {printable(str(output.path))}"
        raise CnnlabError(f"{format_error(output.error)}\n{saved}") from output.error
    if output.stop_signal and count < clip.num_frames:
        saved = (
            f"the clip so far is saved as {printable(str(output.path))}"
            if count
            else "no frame was finished"
        )
        message = f"stopped after {count} of {clip.num_frames} frames; {saved}"
        raise Stopped(message, output.stop_signal)
