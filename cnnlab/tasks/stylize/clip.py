"""`cnnlab stylize CLIP STYLE...`: every frame of an animated image or a video, without flicker."""

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from time import monotonic

import torch

from cnnlab.core.clip_file import (
    Clip,
    ClipFrame,
    TooManyFrames,
    is_animated_image,
    open_animated_image,
)
from cnnlab.core.clip_formats import CLIP_WRITERS, find_clip_writer
from cnnlab.core.device import describe_device
from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import expand_home, truncate_to_bytes
from cnnlab.core.image_file import TooManyPixels
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.memory import format_bytes, get_free_memory
from cnnlab.core.photo import Photo
from cnnlab.core.progress import Progress
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config
from cnnlab.core.signals import SignalRecorder
from cnnlab.core.video_file import VIDEO_SUFFIXES, open_video
from cnnlab.style.source_image import SourceImage, collect_image_notes, hash_image_file
from cnnlab.tasks.stylize.clip_frames import ClipClock, FrameResult, FrameStylist, Interrupted
from cnnlab.tasks.stylize.clip_output import (
    ClipOutput,
    check_clip_completed,
    list_frame_losses,
    print_clip_result,
    save_clip,
)
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.output import check_output_path, list_memory_limits
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import StyleSetup, TransferJob, prepare_job

MAX_LOGGED_FRAMES = 8  # images in TensorBoard
EXIT_RESERVE_S = 1.5  # of a time limit, for the process to exit
SAVE_S_PER_MEGAPIXEL = 0.5  # of all frames together, to encode them
ENCODER_COPIES = 3  # of all frames in memory while they are written


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
    check_memory(job, clip)
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


def check_memory(job: TransferJob, clip: Clip) -> None:
    """Raise CnnlabError where memory does not hold the output frames, which are written at once."""
    (height, width), free = job.size, get_free_memory(torch.device("cpu"))
    if (needed := ENCODER_COPIES * 3 * height * width * clip.num_frames) > free:
        raise CnnlabError(
            f"{clip.num_frames} frames of {width}x{height} pixels need {format_bytes(needed)}, "
            f"{format_bytes(free)} is free\nsize=N makes them smaller"
        )


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
