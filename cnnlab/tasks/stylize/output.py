"""The output image: its path, its rendering, its file, and the notes printed with it."""

import json
import os
from contextlib import suppress
from errno import ENAMETOOLONG
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from cnnlab.core.errors import UsageError, WriteFailed
from cnnlab.core.files import temporary_path, truncate_to_bytes, write_atomically, write_unique
from cnnlab.core.image_formats import find_image_format
from cnnlab.core.photo import composite_on_white, make_srgb_profile, whiten_transparent
from cnnlab.core.quoting import printable
from cnnlab.style.color_transfer import restore_content_colors
from cnnlab.style.source_image import (
    SourceImage,
    collect_image_notes,
    image_to_tensor,
    tensor_to_image,
)
from cnnlab.style.torus import make_periodic, resize_wrapped
from cnnlab.style.transfer import TransferState, resize_bicubic
from cnnlab.tasks.stylize.provenance import make_transfer_record
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob

LOSS_MEANINGS = {
    "relative": (
        "(0: the content image, 1: nothing of it)",
        "(1: the content image unchanged, 0: the style image)",
    ),
    "wasserstein": (
        "(0: the content image, 1: nothing of it)",
        "(1: the content image unchanged, 0: the style image)",
    ),
    "chapter": ("(the chapter's sum)", "(the chapter's sum)"),
}


def save_result(
    job: TransferJob, state: TransferState, out: Path, *, steps: list[int], is_complete: bool
) -> tuple[Path, dict[str, Any]]:
    """Write the output image; return its path and its record.

    It becomes a PNG where `out`'s format cannot encode it.
    """
    image, terms = render_final_image(job, state)
    record = make_transfer_record(job, steps, terms)
    record |= {"complete": is_complete, "shrunk": job.is_shrunk}
    overwrite = job.setup.settings.overwrite
    try:
        return save_output_image(out, image, record, overwrite=overwrite), record
    except ValueError:
        return save_output_image(out.with_suffix(".png"), image, record, overwrite=False), record


def render_final_image(job: TransferJob, state: TransferState) -> tuple[Image.Image, Tensor]:
    """Return the image at its size, with the content image's transparency, and its terms.

    The terms are of the 8-bit image in its stylized colors, in float32 as those of `--score`; for
    an image that was enlarged, or that memory is too small to evaluate, they are the last step's.
    """
    content, resize = job.content, resize_wrapped if job.transfer_loss.wrap else resize_bicubic
    image = tensor_to_image(resize(state.image, job.size))
    if alpha := content.resize_alpha(job.size):
        whiten_transparent(image, alpha)  # as readers of the file see it
    x, terms = image_to_tensor(image).to(job.setup.device), state.terms
    if not job.is_enlarged(state.size):
        loss = job.evaluation_loss
        with suppress(MemoryError, RuntimeError):
            terms = loss.evaluate_terms(loss.make_objective(job.size), x)
    settings, gray = job.setup.settings, job.transfer_loss.compute_gray(job.size)
    return finish_image(image, content, color=settings.color, wrap=settings.wrap, gray=gray), terms


def finish_image(
    image: Image.Image,
    content: SourceImage,
    *,
    color: str,
    wrap: bool = False,
    gray: Tensor | None = None,
) -> Image.Image:
    """Return an RGB image with the content image's transparency and, for `color` content, colors.

    `gray`: (1, 1, H, W) of the masks; where it is 0, the image is the content image.
    """
    size = (image.height, image.width)
    if color == "content":
        colors = image_to_tensor(content.resize(size))
        colors = make_periodic(colors) if wrap else colors
        image = tensor_to_image(restore_content_colors(image_to_tensor(image), colors))
    if gray is not None:
        stylized = Image.fromarray((gray[0, 0] > 0).cpu().numpy())
        image = Image.composite(image, content.resize(size), stylized)
    if alpha := content.resize_alpha(size):
        whiten_transparent(image, alpha)
        image.putalpha(alpha)
    return image


def save_output_image(
    path: Path, image: Image.Image, record: dict[str, Any], *, overwrite: bool
) -> Path:
    """Write an RGB or RGBA image atomically, as sRGB with its record as JSON; return its path.

    Without `overwrite`, _2, _3, ... is appended to a name that exists. Transparency is composited
    on white where the format has none.
    """
    form = find_image_format(path)
    if image.mode == "RGBA" and not form.has_alpha:
        image = composite_on_white(image.convert("RGB"), image.getchannel("A"))
    metadata = form.encode_metadata(json.dumps(record, allow_nan=False))
    write = partial(
        image.save, format=form.name, icc_profile=make_srgb_profile(), **form.options, **metadata
    )
    if not overwrite:
        return write_unique(path, write)
    write_atomically(path, write)
    return path


def resolve_output_path(job: TransferJob, out: Path | None, default: Path | None = None) -> Path:
    """Return the path of the output image: `out`, else `default`, else a PNG beside the content.

    A missing folder is created. Raises UsageError for an unknown suffix, an existing file, or a
    format that cannot hold the image, WriteFailed for a folder that cannot be written to.
    """
    content, styles = job.content.path, [style.path for style in job.setup.styles]
    guides = [image.path for image in job.setup.guide_images]
    name = truncate_to_bytes("_".join(path.stem for path in (content, *styles)), 200) + ".png"
    path = out or default or content.with_name(name)
    find_image_format(path).check_fits(path.suffix, job.size, len(styles) + len(guides))
    is_new = bool(out) and not job.setup.settings.overwrite
    check_output_path(path, [content, *styles, *guides], must_be_new=is_new)
    return path


def check_output_path(path: Path, inputs: list[Path], *, must_be_new: bool) -> None:
    """Create the folder of an output file if it is missing.

    Raises UsageError for a folder, an input file or, if `must_be_new`, an existing file;
    WriteFailed for a folder that cannot be written to.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{printable(str(path))} is a folder")
        if path.exists() and any(path.samefile(source) for source in inputs):
            raise UsageError(f"{printable(str(path))} is one of the input images")
        if must_be_new and path.exists():
            raise UsageError(f"{printable(str(path))} already exists: --overwrite replaces it")
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        for probe in (temporary_path(path), path.with_stem(f"{path.stem}_{os.getpid()}")):
            probe.touch(exist_ok=False)
            probe.unlink()
    except OSError as error:
        raise WriteFailed(path.parent if error.errno != ENAMETOOLONG else path, error) from error


def list_job_notes(job: TransferJob, out: Path) -> list[str]:
    """Return what a user should know of a content image before it is stylized."""
    settings, name = job.setup.settings, printable(job.content.path.name)
    notes = collect_image_notes(job.content)
    if job.content.photo.alpha and not find_image_format(out).has_alpha:
        notes.append(f"{name}: composited on white, {out.suffix} has no transparency")
    styles = zip(job.setup.styles, settings.style_scales, strict=True)
    if small := [printable(s.path.name) for s, scale in styles if has_few_pixels(job, s, scale)]:
        scale = max(settings.style_scales)
        requested = "the output image" if scale <= 1 else f"style_scale={scale:g} requests"
        notes.append(f"{', '.join(small)}: fewer pixels than {requested}, not enlarged")
    height, width = job.content.size
    if settings.size and settings.size > max(height, width):
        notes.append(f"{name}: {width}x{height} pixels, not enlarged")
    return notes + list_coverages(job) + list_memory_limits(job)


def list_coverages(job: TransferJob) -> list[str]:
    """Return how much of the output image each mask leaves to its styles."""
    masks, styles = job.setup.masks, [printable(style.path.name) for style in job.setup.styles]
    lines = list[str]()
    for number, mask in enumerate(masks):
        share = float((mask.at_size(job.size) > 0).float().mean())
        subject = styles[number] if len(masks) > 1 else "stylized"
        lines.append(f"{mask.name}: {subject} in {share:.0%} of the image")
    return lines


def has_few_pixels(job: TransferJob, style: SourceImage, scale: float) -> bool:
    """Return whether a style image has fewer pixels than the loss would use."""
    pixels_used = (job.size[0] * job.size[1]) * scale**2
    return style.size[0] * style.size[1] < 0.99 * pixels_used


def list_memory_limits(job: TransferJob) -> list[str]:
    """Return what was reduced to fit into memory."""
    limit, notes = job.setup.settings.memory_limit, list[str]()
    holds = f"memory_limit={limit} holds" if limit else "free memory holds"
    if (count := len(job.transfer_loss.make_tiles(job.sizes[-1]))) > 1:
        notes.append(f"evaluated in {count} tiles, with the same result")
    history_size, requested = job.memory_plan.history_size, job.setup.requested_history_size
    if history_size < requested:
        notes.append(f"{holds} an L-BFGS history of {history_size}, not {requested}")
    if job.supersampling < (wanted := job.setup.settings.max_supersampling):
        notes.append(f"{holds} no supersampling of {wanted:g}")
    if job.is_shrunk:
        (height, width), (wanted_height, wanted_width) = job.size, job.requested_size
        notes.append(f"{holds} {width}x{height} pixels, not {wanted_width}x{wanted_height}")
    return notes


def list_time_limits(job: TransferJob, state: TransferState) -> list[str]:
    """Return at which size the time limit ended the optimization."""
    if job.setup.settings.time_limit_s is None or state.size == job.size:
        return []
    height, width = state.size
    change = "enlarged" if job.is_enlarged(state.size) else "reduced"
    return [f"optimized at {width}x{height} pixels in the time, then {change}"]


def describe_losses(settings: StylizeSettings) -> tuple[str, str]:
    """Return what the values of content and style mean."""
    content, style = LOSS_MEANINGS[settings.style["name"]]
    return ("(weighted by content_map)" if settings.content_map else content), style


def format_loss(value: float | None) -> str:
    """Return a loss with 4 digits."""
    return "not finite" if value is None else f"{value:.4g}"
