"""Read an animated GIF, WebP or PNG, or a video, frame by frame.

Frames and pixels are limited before anything is decoded. Frames are upright, in sRGB, and on white
where they are transparent, as `core.photo` reads a style image.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageFile

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import read_bytes
from cnnlab.core.image_file import (
    MAX_FILE_BYTES,
    TooManyPixels,
    open_image,
    printable_path,
    read_exif_transpose,
    translate_read_errors,
)
from cnnlab.core.photo import composite_on_white, convert_to_srgb, extract_alpha, whiten_transparent
from cnnlab.core.sample_depth import find_sample_range, scale_to_8_bits

SUFFIXES = {"GIF": ".gif", "WEBP": ".webp", "PNG": ".apng"}  # of Pillow's formats
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, 0x3B  # first bytes of a GIF's blocks


@dataclass(frozen=True)
class ClipFrame:
    """A frame: RGB, and how long it is shown, in milliseconds; 0 is up to the viewer."""

    image: Image.Image
    duration_ms: float


@dataclass(frozen=True)
class Clip:
    """A clip whose frames are decoded when they are iterated over.

    `suffix`: of its format; `plays`: how often it is shown, 0 for ever; `notes`: what was ignored,
    complete after the last frame.
    """

    path: Path
    suffix: str
    num_frames: int
    plays: int
    notes: list[str]
    iterate: Callable[[], Iterator[ClipFrame]]


class TooManyFrames(CnnlabError):
    """A clip has more frames than may be decoded."""

    def __init__(self, path: str | Path, max_frames: int) -> None:
        super().__init__(f"{printable_path(path)} has more than {max_frames:,} frames")


def is_animated_image(path: str | Path) -> bool:
    """Return whether a file is an animated GIF, WebP or PNG; False for one that cannot be read."""
    try:
        image = open_image(read_bytes(path, MAX_FILE_BYTES), path, max_pixels=1 << 62)
        return image.format in SUFFIXES and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged file can make a decoder raise anything; its reader reports it
        return False


def open_animated_image(path: str | Path, *, max_frames: int, max_pixels: int) -> Clip:
    """Return an animated GIF, WebP or PNG.

    Raises CnnlabError for a file that is missing or damaged, TooManyFrames, TooManyPixels.
    """
    with translate_read_errors(path):
        blob = read_bytes(path, MAX_FILE_BYTES)
        image = open_image(blob, path, max_pixels)
        first = int(getattr(image, "default_image", False))  # of PNG, not part of the animation
        if image.format == "GIF":
            num_frames = count_gif_frames(blob, path, max_frames, max_pixels)
        else:
            num_frames = image.n_frames - first  # type: ignore[attr-defined]
        if num_frames > max_frames:
            raise TooManyFrames(path, max_frames)
    notes = list[str]()

    def iterate() -> Iterator[ClipFrame]:
        for index in range(first, first + num_frames):
            with translate_read_errors(path):
                yield read_frame(image, index, notes)

    suffix = SUFFIXES[str(image.format)]
    return Clip(Path(path), suffix, num_frames, count_plays(image), notes, iterate)


def count_plays(image: Image.Image) -> int:
    """Return how often an opened animation is shown, 0 for ever."""
    loop = image.info.get("loop")
    if image.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else int(loop) + (loop > 0)  # GIF counts repetitions


def read_frame(image: ImageFile.ImageFile, index: int, notes: list[str]) -> ClipFrame:
    """Return a frame of an opened animation; `notes` gets each new line on what was ignored."""
    image.seek(index)
    black, white = find_sample_range(image)
    image.load()
    frame_notes = list[str]()
    frame = scale_to_8_bits(image.copy(), black, white)
    transpose = read_exif_transpose(image, frame_notes)
    alpha = extract_alpha(frame)
    rgb = convert_to_srgb(frame, frame_notes)
    if alpha:
        whiten_transparent(rgb, alpha)
        rgb = composite_on_white(rgb, alpha)
        frame_notes.append("transparency composited on white")
    notes += [note for note in frame_notes if note not in notes]
    rgb = rgb if transpose is None else rgb.transpose(transpose)
    return ClipFrame(rgb, float(image.info.get("duration", 0)))


def count_gif_frames(blob: bytes, path: str | Path, max_frames: int, max_pixels: int) -> int:
    """Return a GIF's frames, counted up to `max_frames` + 1, without decoding them.

    Raises TooManyPixels for a frame that reaches beyond the limit: it would enlarge the image.
    """
    count = 0
    for width, height in islice(iterate_gif_extents(blob), max_frames + 1):
        if width * height > max_pixels:
            raise TooManyPixels(
                f"{printable_path(path)} has {width * height:,} pixels; the limit is {max_pixels:,}"
            )
        count += 1
    return count


def iterate_gif_extents(blob: bytes) -> Iterator[tuple[int, int]]:
    """Yield the right and lower end of each frame of a GIF; stop where it is cut off."""
    position = 13 + count_palette_bytes(blob[10])
    try:
        while (kind := blob[position]) != GIF_END:
            position += 1
            if kind == GIF_EXTENSION:
                position = skip_gif_data(blob, position + 1)
            elif kind == GIF_IMAGE:
                left, top, width, height, flags = struct.unpack_from("<4HB", blob, position)
                yield left + width, top + height
                position = skip_gif_data(blob, position + 10 + count_palette_bytes(flags))
    except (IndexError, struct.error):
        return


def count_palette_bytes(flags: int) -> int:
    """Return the size of the palette that a GIF's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


def skip_gif_data(blob: bytes, position: int) -> int:
    """Return where a GIF's block of data ends that begins at a position."""
    while length := blob[position]:
        position += length + 1
    return position + 1
