"""`cnnlab stylize --score`: how far a picture, whoever made it, is from a photograph and from a painting."""

import json
from dataclasses import replace
from typing import Any

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.text import plain
from cnnlab.style.losses import chapter, relative
from cnnlab.tasks.painting import original
from cnnlab.tasks.studio import Settings, Studio, studio


def scored(s: Settings, device: torch.device) -> None:
    """Print the losses by layer of the picture `s.score`, at its own size, in float32. Raises UsageError where it is
    of another shape than the photograph."""
    result = original(str(s.score), s.max_pixels)
    s = replace(s, precision="float32", color="style", total_variation=0.0)
    made = studio(s, device, named=s.download, full=result.size)
    shapes = [one.size[1] / one.size[0] for one in (result, made.content)]
    if abs(shapes[0] / shapes[1] - 1) > 0.02:
        raise UsageError(f"{plain(str(s.score))} and {plain(str(s.content))} are not of one shape")
    numbers = losses(made, result.tensor(device)(result.size))
    if s.json:
        print(json.dumps({"picture": s.score, "size": list(result.size), "features": made.chosen.name,
                          "sha256": made.chosen.sha256, **numbers}))  # fmt: skip
        return
    height, width = result.size
    print(f"cnnlab stylize --score: {plain(str(s.score))}, {width}x{height}, seen by {made.chosen.name}\n")
    print(f"{'':<12}{'share':>10}{'chapter':>14}")
    for name, row in {"content": numbers["content"], "style": numbers["style"], **numbers["layers"]}.items():
        print(f"{name:<12}{row['share']:>10.4f}{row['chapter']:>14.4e}")
    print("\nshare of content: 0 the photograph, 1 an unrelated place; of style: 1 the photograph")
    print("untouched, 0 the painting. chapter: its sums, of style with 1 / (4 k^2 m^2)")


def losses(made: Studio, x: torch.Tensor) -> dict[str, Any]:
    """{"content", "style", "layers": {...}}, each as a share (of style's layers, of that layer's own) and as the
    chapter's sum."""
    found: dict[str, Any] = {"layers": {name: {} for name in made.aim.layers}, "content": {}, "style": {}}
    layers, content_layer = list(made.aim.layers), made.aim.content_layer
    aims = {
        "share": relative(strength=0.5, layers=layers, content_layer=content_layer),
        "chapter": chapter(ratio=1.0, layers=layers, content_layer=content_layer),
    }
    for kind, aim in aims.items():
        easel = replace(made.easel, aim=aim)
        with torch.no_grad():
            terms = easel.objective((x.shape[2], x.shape[3]))(easel.maps(x, easel.names), x)
        _, found["content"][kind], *styles, _ = terms.tolist()
        found["style"][kind] = sum(styles)
        for name, value in zip(layers, styles, strict=True):
            found["layers"][name][kind] = value * (len(layers) if kind == "share" else 1)
    return found
