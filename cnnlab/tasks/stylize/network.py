"""`cnnlab stylize IMAGE RUN`: apply a style network that `cnnlab train` trained."""

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from PIL import Image

from cnnlab.core.device import describe_device
from cnnlab.core.errors import UsageError
from cnnlab.core.files import expand_home, path_exists, resolve_outputs_folder, truncate_to_bytes
from cnnlab.core.image_formats import find_image_format
from cnnlab.core.memory import get_free_memory, get_used_memory, parse_bytes
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import printable
from cnnlab.core.run_index import find_run
from cnnlab.models.style_network import MIN_SIDE, StyleNetwork
from cnnlab.style.scales import Size, fit_size
from cnnlab.style.source_image import (
    SourceImage,
    collect_image_notes,
    read_source_image,
    tensor_to_image,
)
from cnnlab.tasks.stylize.image_batch import BatchResult, open_image_batch, stylize_batch
from cnnlab.tasks.stylize.network_tiles import apply_style_network
from cnnlab.tasks.stylize.output import check_output_path, finish_image, save_output_image
from cnnlab.tasks.stylize.provenance import read_record_json
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.trained_run import TrainedRun, find_run_checkpoint, load_trained_run

# What can be set; the other keys are of the optimization.
NETWORK_KEYS = (
    *("color", "content", "device", "json", "max_pixels", "max_tile_pixels", "memory_limit"),
    *("network", "out", "outputs", "overwrite", "size", "threads"),
)
BYTES_PER_PIXEL = 400  # of a tile's activations, for the widest layer at the default width
FREE_MEMORY_SHARE = 0.8
MIN_TILE_PIXELS = 1 << 16


@dataclass(frozen=True)
class LoadedNetwork:
    """A style network, the file that it is from with its hash, and its style image's stem."""

    network: StyleNetwork
    run: TrainedRun
    sha256: str
    style_stem: str
    device: torch.device


def stylize_by_network(
    settings: StylizeSettings, overrides: list[str], device: torch.device, started_at: float
) -> None:
    """Stylize an image, or those of a folder, whose output does not exist yet.

    Raises UsageError for keys of the optimization, and CnnlabError for files that cannot be read.
    """
    check_network_settings(settings, overrides)
    loaded = load_style_network(settings, device)
    stream = sys.stderr if settings.json else sys.stdout
    source, path = Path(str(settings.content)), expand_home(str(settings.network))
    run_name = path.name if path.is_file() else loaded.run.folder.name
    print(
        f"cnnlab stylize: {printable(source.name)} in the style of {printable(loaded.style_stem)}\n"
        f"style network {printable(run_name)}, step {loaded.run.step:,}\n"
        f"device {describe_device(device)}",
        file=stream,
        flush=True,
    )
    if source.is_dir():
        with open_image_batch(settings, [loaded.style_stem]) as batch:
            stylize_batch(batch, partial(stylize_missing_image, settings, loaded))
        return
    default = source.with_name(join_stems(source.stem, loaded) + ".png")
    out = expand_home(settings.out) if settings.out else default
    progress = Progress(sys.stderr)
    must_be_new = bool(settings.out)
    result = stylize_image(settings, loaded, source, out, progress, must_be_new=must_be_new)
    if settings.json:
        print(json.dumps(result | {"seconds": monotonic() - started_at}), flush=True)
    else:
        print("\n".join(format_result(result)))
        print(f"{format_duration(monotonic() - started_at)} in total")
        print(f"\n{printable(str(result['image']))}", flush=True)


def check_network_settings(settings: StylizeSettings, overrides: list[str]) -> None:
    """Raise UsageError for a missing content image, and for keys of the optimization."""
    if settings.content is None:
        raise UsageError("stylize needs a content image: cnnlab stylize CONTENT RUN")
    if settings.styles:
        raise UsageError(
            "a style network has its style: no style image is given with it\n"
            "cnnlab stylize CONTENT RUN"
        )
    for word in overrides:
        if word.lstrip("+~").partition("=")[0] not in NETWORK_KEYS:
            raise UsageError(
                f"{printable(word)} is of the optimization, and a style network has none\n"
                "size=, out=, color=content and --overwrite can be given with it"
            )
    if settings.color == "matched":
        raise UsageError("color=matched is of the optimization\nuse color=style or color=content")


def load_style_network(settings: StylizeSettings, device: torch.device) -> LoadedNetwork:
    """Return the network of a run, or of a checkpoint's file. Raises UsageError for another kind
    of network."""
    name = str(settings.network)
    path = expand_home(name)
    if not path.is_file():
        folder = find_run(name, resolve_outputs_folder(settings.outputs))
        path = find_run_checkpoint(folder, "result", lambda path: "")
    run = load_trained_run(path, device, format_earlier=lambda path: "")
    if not isinstance(run.model, StyleNetwork):
        raise UsageError(
            f"{printable(name)} is a classifier, not a style network\n"
            "train one: cnnlab train model=style_network style=STYLE.jpg"
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    style_stem = Path(str(run.config["model"]["style"])).stem
    return LoadedNetwork(run.model, run, sha256, style_stem, device)


def join_stems(stem: str, loaded: LoadedNetwork) -> str:
    """Return the name of an output, or a folder of them: `tubingen_starry_night`."""
    return truncate_to_bytes(f"{stem}_{loaded.style_stem}", 200)


def stylize_image(
    settings: StylizeSettings,
    loaded: LoadedNetwork,
    source: Path,
    out: Path,
    progress: Progress,
    *,
    must_be_new: bool,
) -> dict[str, Any]:
    """Stylize one image file and save it; return its path and numbers.

    `must_be_new`: whether an existing `out` is refused, without `overwrite`; otherwise _2, _3, ...
    is appended.
    """
    content = read_source_image(str(source), settings.max_pixels)
    size = fit_size(content.size, settings.size or max(content.size))
    if min(size) < MIN_SIDE:
        raise UsageError(
            f"{printable(source.name)}: {size[1]}x{size[0]} pixels are too few\n"
            f"each side needs at least {MIN_SIDE}"
        )
    find_image_format(out).check_fits(out.suffix, size, 1)
    check_output_path(out, [source], must_be_new=must_be_new and not settings.overwrite)
    began = monotonic()
    image = render_image(settings, loaded, content, size, progress)
    network_s = monotonic() - began
    record = make_network_record(settings, loaded, content, size)
    path = save_output_image(out, image, record, overwrite=settings.overwrite)
    notes = collect_image_notes(content)
    return {
        "content": str(source),
        "image": str(path),
        "width": size[1],
        "height": size[0],
        "network_seconds": network_s,
        "notes": notes,
    }


def render_image(
    settings: StylizeSettings,
    loaded: LoadedNetwork,
    content: SourceImage,
    size: Size,
    progress: Progress,
) -> Image.Image:
    """Return the stylized image at a size, with the content image's transparency."""
    x = content.as_image_at_size(loaded.device)(size)

    def report(done: int, total: int) -> None:
        progress.show(f"pass {done + 1}/{total} over the image's tiles", keep=False)

    try:
        stylized = apply_style_network(
            loaded.network, x, choose_tile_pixels(settings, loaded.device), report
        ).cpu()
    finally:
        progress.end()
    return finish_image(tensor_to_image(stylized), content, color=settings.color)


def choose_tile_pixels(settings: StylizeSettings, device: torch.device) -> int:
    """Return the most pixels of a tile: as requested, else what memory holds."""
    if settings.max_tile_pixels is not None:
        return settings.max_tile_pixels
    usable = int(FREE_MEMORY_SHARE * get_free_memory(device))
    if settings.memory_limit is not None:
        limit = parse_bytes(str(settings.memory_limit)) - get_used_memory(device)
        usable = min(usable, limit)
    return max(MIN_TILE_PIXELS, usable // BYTES_PER_PIXEL)


def make_network_record(
    settings: StylizeSettings, loaded: LoadedNetwork, content: SourceImage, size: Size
) -> dict[str, Any]:
    """Return what an image was made with, without paths."""
    run = loaded.run
    return {
        "cnnlab": version("cnnlab"),
        "network": {
            "run": run.folder.name,
            "step": run.step,
            "style": loaded.style_stem,
            "model": {k: v for k, v in run.config["model"].items() if k != "style"},
        },
        "settings": {"size": max(size), "color": settings.color},
        "sha256": {"content": content.sha256, "network": loaded.sha256},
        "complete": True,
    }


def format_result(result: dict[str, Any]) -> list[str]:
    """Return the line of a stylized image, and its notes."""
    line = f"{result['width']}x{result['height']} pixels, {result['network_seconds']:.2f} s"
    return [f"{line} in the network", *result["notes"]]


def stylize_missing_image(
    settings: StylizeSettings, loaded: LoadedNetwork, content: Path, out: Path, progress: Progress
) -> BatchResult | None:
    """Stylize one image of a folder, unless its output exists, made by the same network and
    settings: then return None. Raises UsageError for another existing output."""
    if path_exists(out) and not settings.overwrite:
        source = read_source_image(str(content), settings.max_pixels)
        size = fit_size(source.size, settings.size or max(source.size))
        record = make_network_record(settings, loaded, source, size)
        if read_record_json(out) == json.loads(json.dumps(record)):
            return None
        raise UsageError(
            f"{printable(out.name)} already exists, made otherwise: "
            "--overwrite replaces it, out=DIR leaves it"
        )
    result = stylize_image(settings, loaded, content, out, progress, must_be_new=True)
    return BatchResult(format_result(result), result)
