"""`cnnlab stylize --again`: what a picture says of how it was made, as settings once more."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, reason
from cnnlab.core.image_formats import said_by
from cnnlab.core.provenance import environment
from cnnlab.core.quoting import plain
from cnnlab.core.schema import call, fits
from cnnlab.style.pretrained import Features, weights_folder
from cnnlab.style.source_image import hashed
from cnnlab.tasks.stylize.settings import FREE, RECORDED, Settings, by_name
from cnnlab.tasks.stylize.setup import Studio, Workshop, precision


@dataclass(frozen=True)
class Earlier:
    """The settings that a picture was made with, its steps at each scale, the fingerprints of its weights and of the
    settings as they were given, and its name."""

    settings: Settings
    steps: list[int]
    weights: str
    asked: str | None  # of what was made before there was one: none
    source: str

    def hold(self, made: Studio) -> None:
        """Raises UsageError where it was made with other weights, at fewer scales than it says, or
        with more memory."""
        if self.weights != made.chosen.sha256:
            raise UsageError(f"{self.source} was made with other weights than {made.chosen.name}'s")
        s = self.settings
        if made.shrunk or made.keys(s) != getattr(s, s.method) or made.piece != s.piece:
            raise UsageError(f"{self.source} was made with more memory than there is now, or memory_limit= leaves")
        if not 1 <= len(self.steps) <= len(made.sizes):
            raise UsageError(f"{self.source} does not say how it was made: {len(self.steps)} scales")


def earlier(s: Settings, overrides: list[str]) -> Earlier:
    """What the picture `s.again` says; pictures, place and device are this command's. Raises UsageError for other
    pictures than it was made of, or other keys, CnnlabError for a record that cannot be one."""
    source, found = plain(str(s.again)), about(str(s.again))
    for word in overrides:
        if word.lstrip("+").partition("=")[0] not in (*FREE, "features.weights"):
            raise UsageError(f"--again takes its settings from {source}: {word} cannot be given with it")
    known, steps = found["sha256"], found["steps"]
    shaped = all(fits(one, dict[str, Any]) for one in (found["settings"], known)) and fits(steps, list[int])
    if not shaped or not fits(known.get("styles"), list[str]) or not fits(known.get("settings"), str | None):
        raise CnnlabError(f"{source} does not say how it was made: its record is none of cnnlab's")
    if [hashed(one) for one in (str(s.content), *s.styles)] != [known.get("content"), *known["styles"]]:
        raise UsageError(f"{source} was made from other pictures (their SHA-256 differ), or in another order")
    if s.time is not None:
        raise UsageError(f"--again takes as many steps as {source} did: time cannot be given with it")
    free = {key: value for key, value in asdict(s).items() if key not in RECORDED}
    made = call(Settings, {"piece": None} | found["settings"] | free, f"{source}'s record")
    call(Features, made.features, "features")
    if made.features["name"] == "auto" and not made.features["weights"]:
        made.features["name"] = "vgg19"  # of before there was another to choose
    if s.features["weights"]:
        made.features["weights"] = s.features["weights"]
    elif name := made.features["weights"]:
        made.features["weights"] = str(weights_folder() / Path(name).name)
        if not Path(made.features["weights"]).exists():
            raise UsageError(f"{source} was made with {plain(name)}: say where it is, features.weights=FILE")
    return Earlier(made, steps, str(known.get("weights")), known.get("settings"), source)


MOST_TEXT = 1_000_000  # characters that are read of what a picture says


def about(path: str) -> dict[str, Any]:
    """What a picture says of how `stylize` made it. Raises CnnlabError for one that says nothing."""
    try:
        text = said_by(path)[:MOST_TEXT]
        found = json.loads(text) if text else None
        if not isinstance(found, dict) or not {"settings", "steps", "sha256"} <= found.keys():
            raise ValueError("there is no record in it")
    except FileNotFoundError:
        raise CnnlabError(f"no picture {plain(path)}") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise CnnlabError(f"{plain(path)} does not say how it was made: {plain(reason(error))[:200]}") from error
    return found


def record(s: Settings, made: Studio, steps: list[int], terms: Tensor) -> dict[str, Any]:
    """What the picture says of itself: enough to make it again, and nothing of where things were."""
    settings = {key: value for key, value in asdict(s).items() if key in RECORDED}
    settings["features"] = by_name(s) | {"name": made.chosen.kind}
    settings |= {"precision": precision(s, made.device), "threads": torch.get_num_threads()}
    settings |= {"size": max(made.sizes[-1]), s.method: made.keys(s), "piece": made.piece}
    return {
        "cnnlab": version("cnnlab"),
        "settings": settings,
        "steps": steps,
        "iterations": sum(steps),
        "losses": made.losses(terms),
        "sha256": hashes(made.shop, made.content.sha256),
        "made_with": {k: v for k, v in environment(made.device).items() if k not in ("command", "platform")},
    }


def hashes(shop: Workshop, content: str) -> dict[str, Any]:
    """SHA-256 of all that a picture comes of."""
    styles = [one.sha256 for one in shop.styles]
    return {"content": content, "styles": styles, "weights": shop.chosen.sha256, "settings": shop.asked}
