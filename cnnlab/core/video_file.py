"""Read and write MP4 and WebM by PyAV, which is optional: pip install 'cnnlab[video]'."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.clip_file import Clip, ClipFrame, TooManyFrames
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import open_regular_file
from cnnlab.core.image_file import TooManyPixels, printable_path, translate_read_errors

# FFmpeg's names of the formats that are read, by the first bytes of a file. Others could refer to
# further files or addresses.
CONTAINERS = {"mov": (4, b"ftyp"), "matroska": (0, b"\x1a\x45\xdf\xa3")}
SUFFIXES = {"mov": ".mp4", "matroska": ".webm"}  # of clips that are written in the same format
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv")  # of files that are read as videos
ENCODERS: dict[str, dict[str, Any]] = {
    "mp4": {"codec": "libx264", "options": {"crf": "16", "preset": "medium"}},
    "webm": {"codec": "libvpx-vp9", "options": {"crf": "20", "b": "0"}},
}
DEFAULT_FRAME_MS = 100.0  # of a frame whose duration is up to the viewer
SMPTE_170M = 6  # the matrix by which RGB is converted, in FFmpeg's numbers
TIME_BASE = Fraction(1, 1000)


def import_av(path: str | Path) -> Any:
    """Return PyAV. Raises UsageError, which names the extra, where it is not installed."""
    try:
        return import_module("av")
    except ImportError:
        raise UsageError(
            f"{printable_path(path)} is a video, which needs PyAV\npip install 'cnnlab[video]'"
        ) from None


def open_video(path: str | Path, *, max_frames: int, max_pixels: int) -> Clip:
    """Return a video. Raises CnnlabError for a file that is missing, damaged or no video,
    TooManyFrames, TooManyPixels, UsageError without PyAV."""
    av = import_av(path)
    with translate_read_errors(path):
        durations, notes = scan_video(av, path, max_frames, max_pixels)

    def iterate() -> Iterator[ClipFrame]:
        with open_container(av, path, max_pixels) as container:
            decoded = iter(container.decode(video=0))
            for duration in durations:
                with translate_read_errors(path):
                    frame = next(decoded, None)
                    if frame is None:
                        return
                    check_pixels(path, frame, max_pixels)
                    image = frame.to_image()
                    rotation = getattr(frame, "rotation", 0)
                yield ClipFrame(image.rotate(rotation, expand=True), duration)

    suffix = SUFFIXES[find_container(path)]
    return Clip(Path(path), suffix, len(durations), 0, notes, iterate)


def scan_video(
    av: Any, path: str | Path, max_frames: int, max_pixels: int
) -> tuple[list[float], list[str]]:
    """Return each frame's duration in milliseconds, and notes, from what is not decoded."""
    with open_container(av, path, max_pixels) as container:
        if not container.streams.video:
            raise CnnlabError(f"{printable_path(path)} has no video stream")
        stream, times = container.streams.video[0], list[int]()
        check_pixels(path, stream.codec_context, max_pixels)
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                times.append(len(times) if packet.pts is None else packet.pts)
            if len(times) > max_frames:
                raise TooManyFrames(path, max_frames)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        tick_ms = 1000 * float(stream.time_base or 1 / rate)
        steps = [(after - before) * tick_ms for before, after in pairwise(sorted(times))]
        sound = ["its sound is not copied"] * bool(container.streams.audio)
    steps = [step if step > 0 else 1000 / rate for step in steps]
    return [*steps, *([1000 / rate] if times else [])], sound


def find_container(path: str | Path) -> str:
    """Return FFmpeg's name of a video's format. Raises CnnlabError for others."""
    with open_regular_file(path) as file:
        head = file.read(16)
    for name, (start, signature) in CONTAINERS.items():
        if head[start : start + len(signature)] == signature:
            return name
    raise CnnlabError(f"{printable_path(path)} is not a video that can be read: MP4, MOV or WebM")


def open_container(av: Any, path: str | Path, max_pixels: int) -> Any:
    """Return an opened video, of a format that refers to no other file."""
    name, options = find_container(path), {"max_pixels": str(max_pixels)}
    return av.open(open_regular_file(path), format=name, options=options)


def check_pixels(path: str | Path, frame: Any, max_pixels: int) -> None:
    """Raise TooManyPixels where a stream or a frame exceeds a limit."""
    if frame.width * frame.height > max_pixels:
        raise TooManyPixels(
            f"{printable_path(path)} has {frame.width * frame.height:,} pixels; "
            f"the limit is {max_pixels:,}"
        )


def write_video(
    path: Path, frames: Sequence[np.ndarray], durations_ms: Sequence[float], name: str, record: str
) -> None:
    """Write (H, W, 3) uint8 frames as `name`, mp4 or webm, with a record as its comment.

    An odd side is extended by a pixel: colors have half the resolution. Raises OSError.
    """
    av = import_av(path)
    durations = [duration or DEFAULT_FRAME_MS for duration in durations_ms]
    height, width = (side + side % 2 for side in frames[0].shape[:2])
    try:
        with av.open(str(path), "w", format=name) as container:
            container.metadata["comment"] = record
            rate = Fraction(1000 * len(frames) / sum(durations)).limit_denominator(1000)
            encoder = ENCODERS[name]
            stream = container.add_stream(encoder["codec"], rate=rate, options=encoder["options"])
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.time_base, context.colorspace = TIME_BASE, SMPTE_170M
            start_ms = 0.0
            for pixels, duration in zip(frames, durations, strict=True):
                frame = av.VideoFrame.from_ndarray(extend_to_even(pixels), format="rgb24")
                frame.pts, frame.time_base = round(start_ms), TIME_BASE
                container.mux(stream.encode(frame))
                start_ms += duration
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise OSError(error.errno, str(error.strerror)) from error


def extend_to_even(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) with even sides, the last row or column repeated."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
