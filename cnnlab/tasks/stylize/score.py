"""`cnnlab stylize --score`: how far a picture, whoever made it, is from a photograph and from a painting."""

import json
from dataclasses import replace
from typing import Any

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.style.losses import chapter_loss, relative_loss
from cnnlab.style.source_image import collect_image_notes, read_source_image
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles


def score_image(s: StylizeSettings, device: torch.device, *, allow_download: bool) -> None:
    """Print the losses by layer of the picture `s.score`, at its own size, in float32. `named`: weights may be fetched.
    Raises UsageError where it is of another shape than the photograph."""
    result = read_source_image(str(s.score), s.max_pixels)
    shop = prepare_styles(
        replace(s, precision="float32", color="style"), device, allow_download=allow_download
    )
    made = prepare_job(
        shop, read_source_image(str(s.content), s.max_pixels), exact_size=result.size
    )
    (height, width), (tall, wide) = result.size, made.content.size
    if (
        abs(height - tall * width / wide) > max(1.0, 0.01 * height)
        and abs(width - wide * height / tall) > 1
    ):
        raise UsageError(
            f"{printable(str(s.score))} and {printable(str(s.content))} are not of one shape"
        )
    numbers = compute_image_losses(made, result.as_image_at_size(device)(result.size))
    if s.json:
        print(json.dumps({"picture": s.score, "width": width, "height": height, "features": made.loaded_encoder.name,
                          "sha256": made.loaded_encoder.sha256, **numbers}))  # fmt: skip
        return
    print(
        f"cnnlab stylize --score: {printable(str(s.score))}, {width}x{height}, seen by {made.loaded_encoder.name}"
    )
    print("".join(f"{note}\n" for note in collect_image_notes(result, made.content, *made.styles)))
    print(f"{'':<12}{'share':>10}{'chapter':>14}")
    for name, row in {
        "content": numbers["content"],
        "style": numbers["style"],
        **numbers["layers"],
    }.items():
        print(f"{name:<12}{row['share']:>10.4f}{row['chapter']:>14.4e}")
    print("\nshare of content: 0 the photograph, 1 an unrelated place; of style: 1 the photograph")
    print("untouched, 0 the painting. chapter: its sums, of style with 1 / (4 k^2 m^2)")


@torch.no_grad()
def compute_image_losses(made: TransferJob, x: torch.Tensor) -> dict[str, Any]:
    """{"content", "style", "layers": {...}}, each as a share (of style's layers, of that layer's own) and as the
    chapter's sum."""
    found: dict[str, Any] = {
        "layers": {name: {} for name in made.transfer_loss.spec.layers},
        "content": {},
        "style": {},
    }
    layers, content_layer = (
        list(made.transfer_loss.spec.layers),
        made.transfer_loss.spec.content_layer,
    )
    aims = {
        "share": relative_loss(strength=0.5, layers=layers, content_layer=content_layer),
        "chapter": chapter_loss(ratio=1.0, layers=layers, content_layer=content_layer),
    }
    objective = made.transfer_loss.make_objective((x.shape[2], x.shape[3]))
    sums = made.transfer_loss.compute_sums(objective, x)
    for kind, aim in aims.items():
        _, found["content"][kind], *styles, _ = replace(
            objective, spec=aim, scales=aim.compute_scales(objective.targets), tv_weight=0.0
        ).compute_terms(sums, x).tolist()  # fmt: skip
        found["style"][kind] = sum(styles)
        for name, value in zip(layers, styles, strict=True):
            found["layers"][name][kind] = value * (len(layers) if kind == "share" else 1)
    return found
