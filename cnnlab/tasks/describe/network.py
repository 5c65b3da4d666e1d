"""The network that `describe` describes: from a configuration or from a run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.core import checkpoint as checkpoints
from cnnlab.core.errors import UsageError, suggest_nearest
from cnnlab.core.files import resolve_outputs_folder
from cnnlab.core.quoting import printable
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import Config, call_checked, check_spec
from cnnlab.data.build import (
    build_pipelines,
    compute_input_shape,
    get_source_settings,
    parse_data_settings,
)
from cnnlab.data.sources import SOURCES, get_dataset_shape
from cnnlab.models import build_model
from cnnlab.tasks.describe import tables as tables
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.trained_run import build_meta_model, build_mismatch_error

OPTIMIZER_STATE_COPIES = {
    "adam": 2,
    "adamw": 2,
}  # numbers that the optimizer keeps for each parameter; sgd's is its momentum


RUN_KEYWORDS = ("conv", "growth", "last", "pool")  # that can stand where a run's name does


KEYS_WITH_RUN = ("run", "layer", "formulas", "figure", "json", "batch_size", "outputs")


@dataclass(frozen=True)
class DescribedNetwork:
    """A network without weights, and what is known of it. `shape`: what it sees, (depth, height, width)."""

    model: nn.Module
    name: str
    title: str
    shape: tuple[int, int, int]
    batch_size: int
    optimizer_copies: int


def build_described_network(s: TrainSettings) -> DescribedNetwork:
    """The network that a training would have. Raises UsageError."""
    if s.resume is not None or s.init is not None:
        raise UsageError(
            "resume and init are of a training; for a run's network, `cnnlab describe RUN`"
        )
    spec, name = get_source_settings(s.dataset), printable(str(s.dataset.get("name")))
    parse_data_settings(s.dataset)
    check_spec(SOURCES, spec, "dataset")
    shape, classes = call_checked(lambda: get_dataset_shape(name, spec), {}, "dataset")
    seen = compute_input_shape(build_pipelines(s.augment).eval, shape)
    with torch.device("meta"):
        model = build_model(s.model, seen, classes)
    many = f"{classes:,} classes" + (
        " as ImageNet (no dataset.root)" if name == "folder" and not spec["root"] else ""
    )
    title = f"{s.model['name']} on {name}: {tables.format_volume(seen)}, {many}"
    return DescribedNetwork(
        model, s.model["name"], title, seen, s.batch_size, count_optimizer_copies(s.optim)
    )


def load_described_network(name: str, config: Config, overrides: list[str]) -> DescribedNetwork:
    """A run's network, by its newest checkpoint's record. Raises UsageError, CnnlabError for a damaged one."""
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key.split(".")[0] not in KEYS_WITH_RUN:
            raise UsageError(
                f"a run has its own {printable(key)}: with it describe takes {', '.join(KEYS_WITH_RUN[1:])}"
            )
    path = checkpoints.find_checkpoint(
        find_run_or_suggest(name, config["outputs"]) / "checkpoints", "last"
    )
    record = checkpoints.read_record(path)
    try:
        theirs = rename_keys("train", record["config"])
        model = build_meta_model(theirs["model"], theirs["augment"], record)
        seen = compute_input_shape(build_pipelines(theirs["augment"]).eval, tuple(record["shape"]))
        told = any(word.startswith("batch_size=") for word in overrides)
        batch = int((config if told else theirs)["batch_size"])
        title = (
            f"{theirs['model']['name']} of {printable(str(path.parents[1]))}: {tables.format_volume(seen)}, "
            + (f"{len(record['classes']):,} classes")
        )
        return DescribedNetwork(
            model,
            theirs["model"]["name"],
            title,
            seen,
            batch,
            count_optimizer_copies(theirs["optim"]),
        )
    except (UsageError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise build_mismatch_error(path, error) from error


def find_run_or_suggest(name: str, outputs: str) -> Path:
    """A run's folder; where there is none, what might have been meant. Raises UsageError."""
    try:
        return find_run(name, resolve_outputs_folder(outputs))
    except UsageError as error:
        raise UsageError(
            printable(str(error))
            + ("" if name in RUN_KEYWORDS else suggest_nearest(name, RUN_KEYWORDS))
        ) from error


def count_optimizer_copies(optim: Config) -> int:
    return OPTIMIZER_STATE_COPIES.get(str(optim.get("name")), int(bool(optim.get("momentum"))))
