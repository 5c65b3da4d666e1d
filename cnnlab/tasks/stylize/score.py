"""`cnnlab stylize --score`: how far a picture, whoever made it, is from a photograph and from a painting."""

import json
from dataclasses import replace
from typing import Any

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import plain
from cnnlab.style.losses import chapter, relative
from cnnlab.style.source_image import notes, original
from cnnlab.tasks.stylize.settings import Settings
from cnnlab.tasks.stylize.setup import Studio, studio, workshop


def scored(s: Settings, device: torch.device, *, named: bool) -> None:
    """Print the losses by layer of the picture `s.score`, at its own size, in float32. `named`: weights may be fetched.
    Raises UsageError where it is of another shape than the photograph."""
    result = original(str(s.score), s.max_pixels)
    shop = workshop(replace(s, precision="float32", color="style"), device, named=named)
    made = studio(shop, original(str(s.content), s.max_pixels), full=result.size)
    (height, width), (tall, wide) = result.size, made.content.size
    if abs(height - tall * width / wide) > max(1.0, 0.01 * height) and abs(width - wide * height / tall) > 1:
        raise UsageError(f"{plain(str(s.score))} and {plain(str(s.content))} are not of one shape")
    numbers = losses(made, result.tensor(device)(result.size))
    if s.json:
        print(json.dumps({"picture": s.score, "width": width, "height": height, "features": made.chosen.name,
                          "sha256": made.chosen.sha256, **numbers}))  # fmt: skip
        return
    print(f"cnnlab stylize --score: {plain(str(s.score))}, {width}x{height}, seen by {made.chosen.name}")
    print("".join(f"{note}\n" for note in notes(result, made.content, *made.styles)))
    print(f"{'':<12}{'share':>10}{'chapter':>14}")
    for name, row in {"content": numbers["content"], "style": numbers["style"], **numbers["layers"]}.items():
        print(f"{name:<12}{row['share']:>10.4f}{row['chapter']:>14.4e}")
    print("\nshare of content: 0 the photograph, 1 an unrelated place; of style: 1 the photograph")
    print("untouched, 0 the painting. chapter: its sums, of style with 1 / (4 k^2 m^2)")


@torch.no_grad()
def losses(made: Studio, x: torch.Tensor) -> dict[str, Any]:
    """{"content", "style", "layers": {...}}, each as a share (of style's layers, of that layer's own) and as the
    chapter's sum."""
    found: dict[str, Any] = {"layers": {name: {} for name in made.easel.aim.layers}, "content": {}, "style": {}}
    layers, content_layer = list(made.easel.aim.layers), made.easel.aim.content_layer
    aims = {
        "share": relative(strength=0.5, layers=layers, content_layer=content_layer),
        "chapter": chapter(ratio=1.0, layers=layers, content_layer=content_layer),
    }
    objective = made.easel.objective((x.shape[2], x.shape[3]))
    sums = made.easel.sums(objective, x)
    for kind, aim in aims.items():
        _, found["content"][kind], *styles, _ = replace(
            objective, aim=aim, scales=aim.scales(objective.sitters), variation=0.0
        ).terms(sums, x).tolist()  # fmt: skip
        found["style"][kind] = sum(styles)
        for name, value in zip(layers, styles, strict=True):
            found["layers"][name][kind] = value * (len(layers) if kind == "share" else 1)
    return found
