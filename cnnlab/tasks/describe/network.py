"""The network that `describe` describes: from a configuration or from a run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.core import checkpoint as checkpoints
from cnnlab.core.errors import UsageError, nearest
from cnnlab.core.files import outputs_folder
from cnnlab.core.quoting import plain
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import Config, call, check_spec
from cnnlab.data.build import data_settings, input_shape, pipelines, source_settings
from cnnlab.data.sources import SOURCES, facts
from cnnlab.models import build_model
from cnnlab.tasks.describe import tables as tables
from cnnlab.tasks.train.settings import Settings
from cnnlab.tasks.trained_run import completed, misfit, unfilled

COPIES = {"adam": 2, "adamw": 2}  # numbers that the optimizer keeps for each parameter; sgd's is its momentum


WORDS = ("conv", "growth", "last", "pool")  # that can stand where a run's name does


WITH_RUN = ("run", "layer", "formulas", "drawing", "json", "batch_size", "outputs")


@dataclass(frozen=True)
class Subject:
    """A network without weights, and what is known of it. `shape`: what it sees, (depth, height, width)."""

    model: nn.Module
    name: str
    title: str
    shape: tuple[int, int, int]
    batch: int
    copies: int


def of_settings(s: Settings) -> Subject:
    """The network that a training would have. Raises UsageError."""
    if s.resume is not None or s.init is not None:
        raise UsageError("resume and init are of a training; for a run's network, `cnnlab describe RUN`")
    spec, name = source_settings(s.dataset), plain(str(s.dataset.get("name")))
    data_settings(s.dataset)
    check_spec(SOURCES, spec, "dataset")
    shape, classes = call(lambda: facts(name, spec), {}, "dataset")
    seen = input_shape(pipelines(s.augment).eval, shape)
    with torch.device("meta"):
        model = build_model(s.model, seen, classes)
    many = f"{classes:,} classes" + (" as ImageNet (no dataset.root)" if name == "folder" and not spec["root"] else "")
    title = f"{s.model['name']} on {name}: {tables.times(seen)}, {many}"
    return Subject(model, s.model["name"], title, seen, s.batch_size, copies(s.optim))


def of_run(name: str, config: Config, overrides: list[str]) -> Subject:
    """A run's network, by its newest checkpoint's record. Raises UsageError, CnnlabError for a damaged one."""
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key.split(".")[0] not in WITH_RUN:
            raise UsageError(f"a run has its own {plain(key)}: with it describe takes {', '.join(WITH_RUN[1:])}")
    path = checkpoints.find(found_run(name, config["outputs"]) / "checkpoints", "last")
    record = checkpoints.read_record(path)
    try:
        theirs = completed(record["config"])
        model = unfilled(theirs["model"], theirs["augment"], record)
        seen = input_shape(pipelines(theirs["augment"]).eval, tuple(record["shape"]))
        told = any(word.startswith("batch_size=") for word in overrides)
        batch = int((config if told else theirs)["batch_size"])
        title = f"{theirs['model']['name']} of {plain(str(path.parents[1]))}: {tables.times(seen)}, " + (
            f"{len(record['classes']):,} classes"
        )
        return Subject(model, theirs["model"]["name"], title, seen, batch, copies(theirs["optim"]))
    except (UsageError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise misfit(path, error) from error


def found_run(name: str, outputs: str) -> Path:
    """A run's folder; where there is none, what might have been meant. Raises UsageError."""
    try:
        return find_run(name, outputs_folder(outputs))
    except UsageError as error:
        raise UsageError(plain(str(error)) + ("" if name in WORDS else nearest(name, WORDS))) from error


def copies(optim: Config) -> int:
    return COPIES.get(str(optim.get("name")), int(bool(optim.get("momentum"))))
