"""`cnnlab stylize --score`: the losses of any image, whatever program made it."""

import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.style.losses import chapter_loss, relative_loss
from cnnlab.style.source_image import (
    SourceImage,
    collect_image_notes,
    has_same_aspect,
    read_source_image,
)
from cnnlab.style.tiled_loss import TransferLoss, spatial_size
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles

NUMBER_FORMATS = {"wasserstein": ".4g", "relative": ".4f", "chapter": ".4e"}


def score_image(settings: StylizeSettings, device: torch.device, *, allow_download: bool) -> None:
    """Print the losses by layer of the image `settings.score`, at its own size, in float32.

    Raises UsageError for another aspect ratio than the content image's.
    """
    image = read_source_image(str(settings.score), settings.max_pixels)
    settings = replace(settings, precision="float32", color="style", margin=0)
    setup = prepare_styles(settings, device, allow_download=allow_download)
    content = read_source_image(str(settings.content), settings.max_pixels)
    job = prepare_job(setup, content, exact_size=image.size)
    if not has_same_aspect(image.size, content.size):
        raise UsageError(
            f"{printable(str(settings.score))} and {printable(str(settings.content))} "
            "differ in aspect ratio"
        )
    x, kind = image.as_image_at_size(device)(image.size), settings.style["name"]
    losses = compute_image_losses(job.transfer_loss, x, kind)
    if settings.json:
        print_json_scores(job, image, losses)
    else:
        print_image_losses(job, image, losses)


def print_json_scores(job: TransferJob, image: SourceImage, losses: dict[str, Any]) -> None:
    """Print an image's losses as JSON."""
    height, width = image.size
    encoder = job.setup.loaded_encoder
    record = {
        "image": job.setup.settings.score,
        "width": width,
        "height": height,
        "features": encoder.name,
        "sha256": encoder.sha256,
        **losses,
    }
    print(json.dumps(record))


def print_image_losses(job: TransferJob, image: SourceImage, losses: dict[str, Any]) -> None:
    """Print an image's losses as a table."""
    (height, width), setup = image.size, job.setup
    name = printable(str(setup.settings.score))
    print(f"cnnlab stylize --score: {name}, {width}x{height}, by {setup.loaded_encoder.name}")
    notes = collect_image_notes(image, job.content, *setup.styles)
    print("".join(f"{note}\n" for note in notes))
    kinds = [kind for kind in ("wasserstein", "relative", "chapter") if kind in losses["content"]]
    print(" " * 12 + "".join(f"{kind:>14}" for kind in kinds))
    rows = {"content": losses["content"], "style": losses["style"], **losses["layers"]}
    for name, row in rows.items():
        print(f"{name:<12}" + "".join(f"{row[kind]:>14{NUMBER_FORMATS[kind]}}" for kind in kinds))
    print("\ncontent: 0 the content image, 1 unrelated positions;")
    print("style: 1 the content image, 0 the style image;")
    print("wasserstein: of a layer, its part of the sum; relative: of each layer alone;")
    print("chapter: its sums, for style with 1 / (4 k^2 m^2)")


@torch.no_grad()
def compute_image_losses(transfer_loss: TransferLoss, x: Tensor, kind: str) -> dict[str, Any]:
    """Return {"content", "style", "layers": {...}}, each by its relative loss, the chapter's sum,
    and the loss `transfer_loss`, whose name is `kind`.

    A layer's relative loss is relative to that layer alone.
    """
    spec = transfer_loss.spec
    layers, content_layer = list(spec.layers), spec.content_layer
    losses: dict[str, Any] = {"layers": {name: {} for name in layers}, "content": {}, "style": {}}
    specs = {
        kind: spec,
        "relative": relative_loss(
            strength=0.5, color_weight=0.0, layers=layers, content_layer=content_layer
        ),
        "chapter": chapter_loss(ratio=1.0, layers=layers, content_layer=content_layer),
    }
    for kind, loss_spec in specs.items():
        loss = replace(transfer_loss, spec=loss_spec, tv_weight=0.0, style_cache={})
        terms = loss.evaluate_terms(loss.make_objective(spatial_size(x)), x)
        _, losses["content"][kind], *styles, _, _ = terms.tolist()
        losses["style"][kind] = sum(styles)
        factor = len(layers) if kind == "relative" else 1
        for name, value in zip(layers, styles, strict=True):
            losses["layers"][name][kind] = value * factor
    return losses
