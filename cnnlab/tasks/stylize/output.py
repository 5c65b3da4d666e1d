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

from cnnlab.core.errors import Unwritable, UsageError
from cnnlab.core.files import clipped, part_of, write_new, write_whole
from cnnlab.core.image_formats import format_of
from cnnlab.core.photo import on_white, srgb_profile, whiten
from cnnlab.core.quoting import plain
from cnnlab.style.budget import Budget
from cnnlab.style.color_transfer import recoloured
from cnnlab.style.scales import Size
from cnnlab.style.source_image import notes, to_image, to_tensor
from cnnlab.style.transfer import State, enlarged
from cnnlab.tasks.stylize.optimize import Outcome
from cnnlab.tasks.stylize.provenance import record
from cnnlab.tasks.stylize.settings import Settings
from cnnlab.tasks.stylize.setup import Studio, past_steps


def kept(s: Settings, made: Studio, outcome: Outcome, budget: Budget, out: Path) -> tuple[Path, dict[str, Any]]:
    """Write the picture; where it is, and what it says of itself. What cannot be encoded as `out` asks for becomes a
    PNG."""
    image, terms = finished(s, made, outcome.state)
    about = record(s, made, budget.taken, terms) | {
        "complete": outcome.done and len(budget.sizes) == len(made.sizes), "shrunk": made.shrunk,
    }  # fmt: skip
    try:
        return save(out, image, about, overwrite=s.overwrite), about
    except ValueError:
        return save(out.with_suffix(".png"), image, about, overwrite=False), about


def cramped(s: Settings, made: Studio) -> list[str]:
    """What memory does not hold."""
    lines, (height, width), (tall, wide) = list[str](), made.sizes[-1], made.wanted
    limit = f"memory_limit={s.memory_limit}" if s.memory_limit else "free memory"
    if (count := len(made.easel.pieces(made.sizes[-1]))) > 1:
        lines.append(f"looked at in {count} pieces, which add up to the whole")
    if made.room.past < past_steps(s):
        lines.append(f"{limit} holds {made.room.past} past steps of L-BFGS, not {past_steps(s)}")
    if made.shrunk:
        lines.append(f"{limit} holds {width}x{height} pixels, not {wide}x{tall}")
    return lines


def remarks(s: Settings, made: Studio, out: Path) -> list[str]:
    """What is to be said before one photograph is painted."""
    name, lines = plain(made.content.path.name), notes(made.content)
    if made.content.photo.alpha and not format_of(out).alpha:
        lines.append(f"{name}: laid on white, for a {out.suffix} has no transparency")
    small = [plain(one.path.name) for one in made.styles if made.too_small(one)]
    if small:
        wanted = "the picture will have" if s.style_scale <= 1 else f"style_scale={s.style_scale:g} asks for"
        lines.append(f"{', '.join(small)}: fewer pixels than {wanted}, and is not enlarged")
    height, width = made.content.size
    if s.size and s.size > max(height, width):
        lines.append(f"{name}: {width}x{height} pixels, and is not enlarged")
    return lines + cramped(s, made)


def finished(s: Settings, made: Studio, state: State) -> tuple[Image.Image, Tensor]:
    """The picture at its full size with the photograph's transparency, if any, and its losses as it will be saved,
    before the photograph's colours, if any; where it was not painted at its full size, as it was painted."""
    full = made.sizes[-1]
    image, alpha = to_image(enlarged(state.picture, full)), made.content.alpha_at(full)
    if alpha:
        whiten(image, alpha)  # as it will be read
    painted, terms = to_tensor(image).to(made.device), state.terms
    if state.size == full:
        with suppress(MemoryError, RuntimeError):  # where it was memory that ended it; then as of the last step
            terms = made.easel.judged(state.objective, painted)
    if s.color == "content":
        image = to_image(recoloured(to_tensor(image), to_tensor(made.content.at(full))))
    if alpha:
        image.putalpha(alpha)
    return image, terms


def unhurried(s: Settings, made: Studio, state: State) -> list[str]:
    """What there was no time for."""
    if state.size == made.sizes[-1] or s.seconds is None:
        return []
    height, width = state.size
    scales = f"{state.scale} of {len(made.sizes)} scales"
    return [f"there was time for {scales}: painted at {width}x{height}, and enlarged"]


def number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def place_for(
    out: Path | None, content: Path, styles: list[Path], usual: Path | None, size: Size, *, overwrite: bool
) -> Path:
    """Where the picture goes: `out`, else `usual`, else beside the photograph, as a PNG. Raises UsageError for a name
    that no format has, that is taken, or whose format cannot hold the picture, Unwritable for a folder that cannot be
    written to."""
    name = clipped("_".join(p.stem for p in (content, *styles)), 200) + ".png"
    path = out or usual or content.with_name(name)
    format_of(path).hold(path.suffix, size, len(styles))
    try:
        if path.is_dir():
            raise UsageError(f"{plain(str(path))} is a folder")
        if path.exists() and any(path.samefile(one) for one in (content, *styles)):
            raise UsageError(f"{plain(str(path))} is one of the pictures to paint from")
        if out and path.exists() and not overwrite:
            raise UsageError(f"{plain(str(path))} is there already: --overwrite replaces it")
        for probe in (part_of(path), path.with_stem(f"{path.stem}_{os.getpid()}")):
            probe.touch(exist_ok=False)
            probe.unlink()
    except OSError as error:
        raise Unwritable(path.parent if error.errno != ENAMETOOLONG else path, error) from error
    return path


def save(path: Path, image: Image.Image, about: dict[str, Any], *, overwrite: bool) -> Path:
    """RGB or RGBA in the format that the name asks for, as sRGB, with `about` as JSON in it, whole, and where it is:
    behind the name comes _2, _3, ... where a file is there that may not be replaced. Where the format has no
    transparency the picture is laid on white."""
    form = format_of(path)
    if image.mode == "RGBA" and not form.alpha:
        image = on_white(image.convert("RGB"), image.getchannel("A"))
    said = form.said(json.dumps(about, allow_nan=False))
    write = partial(image.save, format=form.name, icc_profile=srgb_profile(), **form.options, **said)
    if not overwrite:
        return write_new(path, write)
    write_whole(path, write)
    return path
