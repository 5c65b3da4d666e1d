"""The record in a stylized image: how it was made, and reading that for `stylize --reproduce`."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from sys import maxsize
from typing import Any

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.files import read_bytes
from cnnlab.core.image_file import MAX_FILE_BYTES, open_image
from cnnlab.core.image_formats import read_record_text
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.renamed_keys import RENAMED_KEYS, rename_keys
from cnnlab.core.schema import call_checked, is_of_type
from cnnlab.style.encoder import find_weights_folder
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.source_image import hash_image_file
from cnnlab.tasks.stylize.settings import (
    RECORDED_KEYS,
    UNRECORDED_KEYS,
    StylizeSettings,
)
from cnnlab.tasks.stylize.setup import StyleSetup, TransferJob

MAX_RECORD_CHARS = 1_000_000  # characters that are read of a record


def upgrade_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a record's settings under today's keys, with the values of those it did not have."""
    defaults = {"max_tile_pixels": None, "margin": 0, "wrap": False, "content_map_weight": 1.0}
    defaults |= {"supersampling": 1.0, "start_noise": 0.0}
    renamed = defaults | rename_keys("stylize", settings)
    style = renamed.get("style")
    if isinstance(style, dict) and style.get("name") == "relative":
        renamed["style"] = style | {"color_weight": style.get("color_weight", 0.0)}
    return renamed


def features_without_folder(settings: StylizeSettings) -> dict[str, Any]:
    """Return the features' settings without the folder of the weights."""
    weights = settings.features["weights"]
    return settings.features | {"weights": weights and Path(weights).name}


def hash_settings(settings: StylizeSettings) -> str:
    """Return the SHA-256 of the recorded settings and the time limit, under their first names."""
    recorded = {k: v for k, v in asdict(settings).items() if k in (*RECORDED_KEYS, "time")}
    recorded["features"] = features_without_folder(settings)
    recorded["style"] = dict(settings.style)
    for group, key in (
        (recorded, "margin"),
        (recorded, "start_noise"),
        (recorded["style"], "color_weight"),
    ):
        if group.get(key) == 0:  # all that there was at first
            del group[key]
    if settings.supersampling == 1:
        del recorded["supersampling"]
    if not settings.wrap:
        del recorded["wrap"]
    if not settings.content_map:
        del recorded["content_map_weight"]
    text = json.dumps(restore_old_names(recorded), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def restore_old_names(settings: dict[str, Any], group: str = "") -> dict[str, Any]:
    """Return settings under the keys of version 0.1.0, whose images keep their hash so."""
    old_names = {new: old for old, new in RENAMED_KEYS["stylize"].items()}
    return {
        old_names.get(group + key, key).rpartition(".")[2]: (
            restore_old_names(value, f"{group}{key}.") if isinstance(value, dict) else value
        )
        for key, value in settings.items()
    }


@dataclass(frozen=True)
class SavedTransfer:
    """How an image was made: its settings, its steps at each scale, and hashes.

    `channels`: how many were optimized, 3 in the first records; `settings_sha256`: of the settings
    as they were requested, None in the first records; `source`: the image's printable path.
    """

    settings: StylizeSettings
    steps: list[int]
    channels: int
    weights_sha256: str
    settings_sha256: str | None
    source: str

    def check_matches(self, job: TransferJob) -> None:
        """Raise UsageError for other weights, less memory, or an impossible number of scales."""
        settings, encoder = self.settings, job.setup.loaded_encoder
        if self.weights_sha256 != encoder.sha256:
            raise UsageError(f"{self.source} was made with other weights than {encoder.name}'s")
        if (
            job.is_shrunk
            or job.supersampling != settings.supersampling
            or job.optimizer_settings != getattr(settings, settings.optimizer)
            or job.max_tile_pixels != settings.max_tile_pixels
        ):
            raise UsageError(
                f"{self.source} was made with more memory than is free, or memory_limit= allows"
            )
        if not 1 <= len(self.steps) <= len(job.sizes):
            raise UsageError(f"{self.source} has a damaged record: {len(self.steps)} scales")


def read_saved_transfer(settings: StylizeSettings, overrides: list[str]) -> SavedTransfer:
    """Return the record of the image `settings.reproduce`.

    Images, paths and device are those of `settings`. Raises UsageError for other images than it was
    made from, or other keys in `overrides`, CnnlabError for an invalid record.
    """
    source, record = printable(str(settings.reproduce)), read_transfer_record(settings.reproduce)
    if "frames" in record:
        raise UsageError(
            f"{source} is a clip, and --reproduce takes an image\n"
            "stylize the clip again with the settings in its log, config.yaml"
        )
    for word in overrides:
        if word.lstrip("+").partition("=")[0] not in (*UNRECORDED_KEYS, "features.weights"):
            raise UsageError(
                f"--reproduce takes its settings from {source}: {word} cannot be given with it"
            )
    check_record_types(record, source)
    hashes = record["sha256"]
    images = [hash_image_file(path) for path in (str(settings.content), *settings.styles)]
    if images != [hashes.get("content"), *hashes["styles"]]:
        raise UsageError(
            f"{source} was made from other images (their SHA-256 differ), or in another order"
        )
    check_guidance_hashes(settings, hashes, source)
    if settings.time is not None:
        raise UsageError(f"--reproduce takes its steps from {source}: time cannot be given with it")
    free = {key: value for key, value in asdict(settings).items() if key not in RECORDED_KEYS}
    saved = call_checked(
        StylizeSettings, upgrade_settings(record["settings"]) | free, f"{source}'s record"
    )
    call_checked(EncoderSettings, saved.features, "features")
    choose_saved_weights(saved, settings, source)
    channels, weights_sha256 = record.get("channels", 3), str(hashes.get("weights"))
    settings_sha256 = hashes.get("settings")
    return SavedTransfer(saved, record["steps"], channels, weights_sha256, settings_sha256, source)


def check_guidance_hashes(settings: StylizeSettings, hashes: dict[str, Any], source: str) -> None:
    """Raise UsageError for other masks, or another map of content, than an image was made with."""
    maps = [settings.content_map] if settings.content_map else []
    recorded_map = hashes.get("content_map")
    pairs = (
        ("mask", settings.mask_paths, hashes.get("masks", [])),
        ("content_map", maps, [recorded_map] if recorded_map else []),
    )
    for key, paths, recorded in pairs:
        if paths and not recorded:
            raise UsageError(f"{source} was made without {key}\nleave out {key}=")
        if recorded and not paths:
            raise UsageError(f"{source} was made with {key}\ngive {key}=FILE, the same as then")
        if [hash_image_file(path) for path in paths] != recorded:
            raise UsageError(
                f"{source} was made with another {key} (their SHA-256 differ)\n"
                f"give {key}=FILE, the same as then"
            )


def check_record_types(record: dict[str, Any], source: str) -> None:
    """Raise CnnlabError for a record whose parts have other types than those written."""
    hashes = record["sha256"]
    is_valid = (
        is_of_type(record["settings"], dict[str, Any])
        and is_of_type(hashes, dict[str, Any])
        and is_of_type(record["steps"], list[int])
        and record.get("channels", 3) in (1, 3)
        and is_of_type(hashes.get("styles"), list[str])
        and is_of_type(hashes.get("settings"), str | None)
        and is_of_type(hashes.get("masks", []), list[str])
        and is_of_type(hashes.get("content_map"), str | None)
    )
    if not is_valid:
        raise CnnlabError(f"{source} has a record that cnnlab did not write")


def choose_saved_weights(saved: StylizeSettings, settings: StylizeSettings, source: str) -> None:
    """Set the path of the saved settings' weights: the requested one, else the recorded name's."""
    features = saved.features
    if features["name"] == "auto" and not features["weights"]:
        features["name"] = "vgg19"  # all that the first records' auto could be
    if settings.features["weights"]:
        features["weights"] = settings.features["weights"]
    elif name := features["weights"]:
        features["weights"] = str(find_weights_folder() / Path(name).name)
        if not Path(features["weights"]).exists():
            raise UsageError(
                f"{source} was made with {printable(name)}: give its path by features.weights=FILE"
            )


def read_transfer_record(path: str | Path | None) -> dict[str, Any]:
    """Return a stylized image's record. Raises CnnlabError for an image without one."""
    name = printable(str(path))
    try:
        image = open_image(read_bytes(str(path), MAX_FILE_BYTES), str(path), max_pixels=maxsize)
        text = read_record_text(image)[:MAX_RECORD_CHARS]
        record = json.loads(text) if text else None
        if isinstance(record, dict) and "network" in record:
            raise CnnlabError(
                f"{name} was made by a style network, not optimized\n"
                "the same command makes it again: cnnlab stylize CONTENT RUN"
            )
        if not isinstance(record, dict) or not {"settings", "steps", "sha256"} <= record.keys():
            raise ValueError("it has no record of `stylize`")
    except CnnlabError:
        raise
    except FileNotFoundError:
        raise CnnlabError(f"no file {name}") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = printable(summarize_error(error))[:200]
        raise CnnlabError(f"{name} does not record how it was made: {reason}") from error
    return record


def read_record_json(path: Path) -> Any:
    """Return the record in an image, of `stylize` or not; None if none can be read."""
    with suppress(Exception):  # a damaged file can make a decoder raise anything
        image = open_image(read_bytes(str(path), MAX_FILE_BYTES), str(path), max_pixels=maxsize)
        return json.loads(read_record_text(image)[:MAX_RECORD_CHARS])
    return None


def make_transfer_record(job: TransferJob, steps: list[int], terms: Tensor) -> dict[str, Any]:
    """Return all that is needed to reproduce an image, without paths."""
    setup = job.setup
    settings = {k: v for k, v in asdict(setup.settings).items() if k in RECORDED_KEYS}
    settings |= {
        "features": features_without_folder(setup.settings)
        | {"name": setup.loaded_encoder.features_name},
        "precision": setup.precision,
        "threads": torch.get_num_threads(),
        "size": max(job.size),
        "supersampling": job.supersampling,
        setup.settings.optimizer: job.optimizer_settings,
        "max_tile_pixels": job.max_tile_pixels,
    }
    environment = collect_environment(setup.device)
    return {
        "cnnlab": version("cnnlab"),
        "settings": settings,
        "steps": steps,
        "channels": job.channels,
        "iterations": sum(steps),
        "losses": setup.spec.losses_by_name(terms),
        "sha256": hash_inputs(setup, job.content.sha256),
        "environment": {k: v for k, v in environment.items() if k not in ("command", "platform")},
    }


def hash_inputs(setup: StyleSetup, content_sha256: str) -> dict[str, Any]:
    """Return the SHA-256 of everything that an image depends on."""
    hashes = {
        "content": content_sha256,
        "styles": [style.sha256 for style in setup.styles],
        "weights": setup.loaded_encoder.sha256,
        "settings": setup.saved_sha256 or hash_settings(setup.settings),
    }
    if setup.masks:
        hashes["masks"] = [mask.sha256 for mask in setup.masks]
    if setup.content_map:
        hashes["content_map"] = setup.content_map.sha256
    return hashes
