"""`cnnlab stylize --reproduce`: what a picture says of how it was made, as settings once more."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.image_formats import read_image_metadata
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.schema import call_checked, is_of_type
from cnnlab.style.pretrained import find_weights_folder
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.source_image import hash_image_file
from cnnlab.tasks.stylize.settings import (
    RECORDED_KEYS,
    UNRECORDED_KEYS,
    StylizeSettings,
    features_without_folder,
)
from cnnlab.tasks.stylize.setup import StyleSetup, TransferJob, resolve_precision


@dataclass(frozen=True)
class SavedTransfer:
    """The settings that a picture was made with, its steps at each scale, the fingerprints of its weights and of the
    settings as they were given, and its name."""

    settings: StylizeSettings
    steps: list[int]
    weights_sha256: str
    settings_sha256: str | None  # of what was made before there was one: none
    source: str

    def check_matches(self, made: TransferJob) -> None:
        """Raises UsageError where it was made with other weights, at fewer scales than it says, or
        with more memory."""
        if self.weights_sha256 != made.loaded_encoder.sha256:
            raise UsageError(
                f"{self.source} was made with other weights than {made.loaded_encoder.name}'s"
            )
        s = self.settings
        if (
            made.is_shrunk
            or made.optimizer_settings(s) != getattr(s, s.optimizer)
            or made.max_tile_pixels != s.max_tile_pixels
        ):
            raise UsageError(
                f"{self.source} was made with more memory than there is now, or memory_limit= leaves"
            )
        if not 1 <= len(self.steps) <= len(made.sizes):
            raise UsageError(
                f"{self.source} does not say how it was made: {len(self.steps)} scales"
            )


def read_saved_transfer(s: StylizeSettings, overrides: list[str]) -> SavedTransfer:
    """What the picture `s.again` says; pictures, place and device are this command's. Raises UsageError for other
    pictures than it was made of, or other keys, CnnlabError for a record that cannot be one."""
    source, found = printable(str(s.reproduce)), read_transfer_record(str(s.reproduce))
    for word in overrides:
        if word.lstrip("+").partition("=")[0] not in (*UNRECORDED_KEYS, "features.weights"):
            raise UsageError(
                f"--reproduce takes its settings from {source}: {word} cannot be given with it"
            )
    known, steps = found["sha256"], found["steps"]
    shaped = all(
        is_of_type(one, dict[str, Any]) for one in (found["settings"], known)
    ) and is_of_type(steps, list[int])
    if (
        not shaped
        or not is_of_type(known.get("styles"), list[str])
        or not is_of_type(known.get("settings"), str | None)
    ):
        raise CnnlabError(f"{source} does not say how it was made: its record is none of cnnlab's")
    if [hash_image_file(one) for one in (str(s.content), *s.styles)] != [
        known.get("content"),
        *known["styles"],
    ]:
        raise UsageError(
            f"{source} was made from other pictures (their SHA-256 differ), or in another order"
        )
    if s.time is not None:
        raise UsageError(
            f"--reproduce takes as many steps as {source} did: time cannot be given with it"
        )
    free = {key: value for key, value in asdict(s).items() if key not in RECORDED_KEYS}
    made = call_checked(
        StylizeSettings, {"max_tile_pixels": None} | found["settings"] | free, f"{source}'s record"
    )
    call_checked(EncoderSettings, made.features, "features")
    if made.features["name"] == "auto" and not made.features["weights"]:
        made.features["name"] = "vgg19"  # of before there was another to choose
    if s.features["weights"]:
        made.features["weights"] = s.features["weights"]
    elif name := made.features["weights"]:
        made.features["weights"] = str(find_weights_folder() / Path(name).name)
        if not Path(made.features["weights"]).exists():
            raise UsageError(
                f"{source} was made with {printable(name)}: say where it is, features.weights=FILE"
            )
    return SavedTransfer(made, steps, str(known.get("weights")), known.get("settings"), source)


MAX_RECORD_CHARS = 1_000_000  # characters that are read of what a picture says


def read_transfer_record(path: str) -> dict[str, Any]:
    """What a picture says of how `stylize` made it. Raises CnnlabError for one that says nothing."""
    try:
        text = read_image_metadata(path)[:MAX_RECORD_CHARS]
        found = json.loads(text) if text else None
        if not isinstance(found, dict) or not {"settings", "steps", "sha256"} <= found.keys():
            raise ValueError("there is no record in it")
    except FileNotFoundError:
        raise CnnlabError(f"no picture {printable(path)}") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise CnnlabError(
            f"{printable(path)} does not say how it was made: {printable(summarize_error(error))[:200]}"
        ) from error
    return found


def make_transfer_record(
    s: StylizeSettings, made: TransferJob, steps: list[int], terms: Tensor
) -> dict[str, Any]:
    """What the picture says of itself: enough to make it again, and nothing of where things were."""
    settings = {key: value for key, value in asdict(s).items() if key in RECORDED_KEYS}
    settings["features"] = features_without_folder(s) | {"name": made.loaded_encoder.features_name}
    settings |= {"precision": resolve_precision(s, made.device), "threads": torch.get_num_threads()}
    settings |= {
        "size": max(made.sizes[-1]),
        s.optimizer: made.optimizer_settings(s),
        "max_tile_pixels": made.max_tile_pixels,
    }
    return {
        "cnnlab": version("cnnlab"),
        "settings": settings,
        "steps": steps,
        "iterations": sum(steps),
        "losses": made.losses_by_name(terms),
        "sha256": hash_inputs(made.setup, made.content.sha256),
        "made_with": {
            k: v
            for k, v in collect_environment(made.device).items()
            if k not in ("command", "platform")
        },
    }


def hash_inputs(shop: StyleSetup, content: str) -> dict[str, Any]:
    """SHA-256 of all that a picture comes of."""
    styles = [one.sha256 for one in shop.styles]
    return {
        "content": content,
        "styles": styles,
        "weights": shop.loaded_encoder.sha256,
        "settings": shop.settings_sha256,
    }
