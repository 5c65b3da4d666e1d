"""The painting itself, step by step, and what the picture says of how it came about."""

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
from cnnlab.style.budget import TransferBudget
from cnnlab.style.color_transfer import restore_content_colors
from cnnlab.style.scales import Size
from cnnlab.style.source_image import collect_image_notes, image_to_tensor, tensor_to_image
from cnnlab.style.transfer import TransferState, upsample_bicubic
from cnnlab.tasks.stylize.optimize import TransferResult
from cnnlab.tasks.stylize.provenance import make_transfer_record
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, requested_history_size


def save_result(
    s: StylizeSettings,
    made: TransferJob,
    outcome: TransferResult,
    budget: TransferBudget,
    out: Path,
) -> tuple[Path, dict[str, Any]]:
    """Write the picture; where it is, and what it says of itself. What cannot be encoded as `out` asks for becomes a
    PNG."""
    image, terms = render_final_image(s, made, outcome.state)
    about = make_transfer_record(s, made, budget.steps_taken, terms) | {
        "complete": outcome.is_complete and len(budget.sizes) == len(made.sizes), "shrunk": made.is_shrunk,
    }  # fmt: skip
    try:
        return save_output_image(out, image, about, overwrite=s.overwrite), about
    except ValueError:
        return save_output_image(out.with_suffix(".png"), image, about, overwrite=False), about


def list_memory_limits(s: StylizeSettings, made: TransferJob) -> list[str]:
    """What memory does not hold."""
    lines, (height, width), (tall, wide) = list[str](), made.sizes[-1], made.requested_size
    limit = f"memory_limit={s.memory_limit}" if s.memory_limit else "free memory"
    if (count := len(made.transfer_loss.make_tiles(made.sizes[-1]))) > 1:
        lines.append(f"looked at in {count} pieces, which add up to the whole")
    if made.memory_plan.history_size < requested_history_size(s):
        lines.append(
            f"{limit} holds {made.memory_plan.history_size} past steps of L-BFGS, not {requested_history_size(s)}"
        )
    if made.is_shrunk:
        lines.append(f"{limit} holds {width}x{height} pixels, not {wide}x{tall}")
    return lines


def list_job_notes(s: StylizeSettings, made: TransferJob, out: Path) -> list[str]:
    """What is to be said before one photograph is painted."""
    name, lines = printable(made.content.path.name), collect_image_notes(made.content)
    if made.content.photo.alpha and not find_image_format(out).has_alpha:
        lines.append(f"{name}: laid on white, for a {out.suffix} has no transparency")
    small = [printable(one.path.name) for one in made.styles if made.is_too_small(one)]
    if small:
        wanted = (
            "the picture will have"
            if s.style_scale <= 1
            else f"style_scale={s.style_scale:g} asks for"
        )
        lines.append(f"{', '.join(small)}: fewer pixels than {wanted}, and is not enlarged")
    height, width = made.content.size
    if s.size and s.size > max(height, width):
        lines.append(f"{name}: {width}x{height} pixels, and is not enlarged")
    return lines + list_memory_limits(s, made)


def render_final_image(
    s: StylizeSettings, made: TransferJob, state: TransferState
) -> tuple[Image.Image, Tensor]:
    """The picture at its full size with the photograph's transparency, if any, and its losses as it will be saved,
    before the photograph's colours, if any; where it was not painted at its full size, as it was painted."""
    full = made.sizes[-1]
    image, alpha = (
        tensor_to_image(upsample_bicubic(state.image, full)),
        made.content.resize_alpha(full),
    )
    if alpha:
        whiten_transparent(image, alpha)  # as it will be read
    painted, terms = image_to_tensor(image).to(made.device), state.terms
    if state.size == full:
        with suppress(
            MemoryError, RuntimeError
        ):  # where it was memory that ended it; then as of the last step
            terms = made.transfer_loss.evaluate_terms(state.objective, painted)
    if s.color == "content":
        image = tensor_to_image(
            restore_content_colors(
                image_to_tensor(image), image_to_tensor(made.content.resize(full))
            )
        )
    if alpha:
        image.putalpha(alpha)
    return image, terms


def list_time_limits(s: StylizeSettings, made: TransferJob, state: TransferState) -> list[str]:
    """What there was no time for."""
    if state.size == made.sizes[-1] or s.time_limit_s is None:
        return []
    height, width = state.size
    scales = f"{state.scale} of {len(made.sizes)} scales"
    return [f"there was time for {scales}: painted at {width}x{height}, and enlarged"]


def format_loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def resolve_output_path(
    out: Path | None,
    content: Path,
    styles: list[Path],
    default: Path | None,
    size: Size,
    *,
    overwrite: bool,
) -> Path:
    """Where the picture goes: `out`, else `usual`, else beside the photograph, as a PNG. Raises UsageError for a name
    that no format has, that is taken, or whose format cannot hold the picture, Unwritable for a folder that cannot be
    written to."""
    name = truncate_to_bytes("_".join(p.stem for p in (content, *styles)), 200) + ".png"
    path = out or default or content.with_name(name)
    find_image_format(path).check_fits(path.suffix, size, len(styles))
    try:
        if path.is_dir():
            raise UsageError(f"{printable(str(path))} is a folder")
        if path.exists() and any(path.samefile(one) for one in (content, *styles)):
            raise UsageError(f"{printable(str(path))} is one of the pictures to paint from")
        if out and path.exists() and not overwrite:
            raise UsageError(f"{printable(str(path))} is there already: --overwrite replaces it")
        for probe in (temporary_path(path), path.with_stem(f"{path.stem}_{os.getpid()}")):
            probe.touch(exist_ok=False)
            probe.unlink()
    except OSError as error:
        raise WriteFailed(path.parent if error.errno != ENAMETOOLONG else path, error) from error
    return path


def save_output_image(
    path: Path, image: Image.Image, record: dict[str, Any], *, overwrite: bool
) -> Path:
    """RGB or RGBA in the format that the name asks for, as sRGB, with `about` as JSON in it, whole, and where it is:
    behind the name comes _2, _3, ... where a file is there that may not be replaced. Where the format has no
    transparency the picture is laid on white."""
    form = find_image_format(path)
    if image.mode == "RGBA" and not form.has_alpha:
        image = composite_on_white(image.convert("RGB"), image.getchannel("A"))
    said = form.encode_metadata(json.dumps(record, allow_nan=False))
    write = partial(
        image.save, format=form.name, icc_profile=make_srgb_profile(), **form.options, **said
    )
    if not overwrite:
        return write_unique(path, write)
    write_atomically(path, write)
    return path
