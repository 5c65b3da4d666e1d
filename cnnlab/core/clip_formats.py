"""The formats that clips are written in, by suffix."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnnlab.core.errors import UsageError
from cnnlab.core.image_formats import encode_exif, encode_png_text
from cnnlab.core.photo import make_srgb_profile
from cnnlab.core.quoting import printable
from cnnlab.core.video_file import VIDEO_SUFFIXES, import_av, write_video

PALETTE_PIXELS = 1 << 20  # pixels of all frames that a GIF's palette is chosen from
GIF_COLORS = 255  # and one index for pixels that do not change
# Thresholds of ordered dithering, 4x4 (Bayer 1973), around 0.
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 15 / 32
DITHER_RANGE = 8.0  # of 255, by which a color is dithered


@dataclass(frozen=True)
class ClipContent:
    """What is written: (H, W, 3) uint8 frames, their durations, and how often it is shown.

    `plays`: 0 for ever; `record`: how it was made.
    """

    frames: Sequence[np.ndarray]
    durations_ms: Sequence[float]
    plays: int
    record: dict[str, Any]

    @property
    def text(self) -> str:
        """Return the record as JSON."""
        return json.dumps(self.record, allow_nan=False)


ClipWriter = Callable[[Path, ClipContent], None]


def find_clip_writer(path: Path) -> ClipWriter:
    """Return the writer of a path's suffix. Raises UsageError for an unknown suffix, or a video
    without PyAV."""
    suffix = path.suffix.lower()
    if suffix not in CLIP_WRITERS:
        *others, last = CLIP_WRITERS
        raise UsageError(
            f"out must end in {', '.join(others)} or {last}, not {printable(path.name)}"
        )
    if suffix in VIDEO_SUFFIXES:
        import_av(path)
    return CLIP_WRITERS[suffix]


def write_gif(path: Path, clip: ClipContent) -> None:
    """Write a GIF with one palette, and dithering that depends on the pixel's place alone.

    So what does not change from frame to frame stays the same.
    """
    palette = choose_palette(clip.frames)
    first, *others = (apply_palette(frame, palette) for frame in clip.frames)
    options = {"loop": max(0, clip.plays - 1)} if clip.plays != 1 else {}
    durations = [10 * n for n in round_to_total([ms / 10 for ms in clip.durations_ms])]
    first.save(
        path,
        "GIF",
        save_all=True,
        append_images=others,
        duration=durations,
        comment=clip.text.encode(),
        optimize=False,
        **options,
    )


def choose_palette(frames: Sequence[np.ndarray]) -> Image.Image:
    """Return an image with a palette for the colors of all frames."""
    step = max(1, sum(frame[..., 0].size for frame in frames) // PALETTE_PIXELS)
    pixels = np.concatenate([frame.reshape(-1, 3)[::step] for frame in frames])
    return Image.fromarray(pixels[None]).quantize(GIF_COLORS, Image.Quantize.MEDIANCUT, kmeans=2)


def apply_palette(frame: np.ndarray, palette: Image.Image) -> Image.Image:
    """Return (H, W, 3) uint8 in a palette's colors, with ordered dithering."""
    height, width = frame.shape[:2]
    threshold = np.tile(BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    dithered = (frame + DITHER_RANGE * threshold).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(dithered).quantize(palette=palette, dither=Image.Dither.NONE)


def round_to_total(values: Sequence[float]) -> list[int]:
    """Return whole numbers whose sums up to each are the rounded sums of the values."""
    ends = np.cumsum([0.0, *values]).round().astype(int)
    return [int(end) for end in np.diff(ends)]


def write_webp(path: Path, clip: ClipContent) -> None:
    """Write a lossless WebP."""
    save_animation(path, clip, "WEBP", lossless=True, quality=20, **encode_exif(clip.text))


def write_apng(path: Path, clip: ClipContent) -> None:
    """Write an animated PNG."""
    save_animation(path, clip, "PNG", compress_level=4, **encode_png_text(clip.text))


def save_animation(path: Path, clip: ClipContent, name: str, **options: Any) -> None:
    """Write a clip by Pillow, as sRGB, in a format that counts milliseconds and plays."""
    first, *others = (Image.fromarray(frame) for frame in clip.frames)
    first.save(
        path,
        name,
        save_all=True,
        append_images=others,
        duration=round_to_total(clip.durations_ms),
        loop=clip.plays,
        icc_profile=make_srgb_profile(),
        **options,
    )


def write_as_video(path: Path, clip: ClipContent, name: str) -> None:
    """Write a clip as a video, which does not say how often it is shown."""
    write_video(path, clip.frames, clip.durations_ms, name, clip.text)


CLIP_WRITERS: dict[str, ClipWriter] = {
    ".gif": write_gif,
    ".webp": write_webp,
    ".apng": write_apng,
    ".mp4": partial(write_as_video, name="mp4"),
    ".webm": partial(write_as_video, name="webm"),
}
