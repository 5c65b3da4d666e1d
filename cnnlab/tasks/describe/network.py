"""Build the network that `describe` describes, from a configuration or a run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.core.checkpoint import find_checkpoint, read_record
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
from cnnlab.tasks.describe.tables import format_volume
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.trained_run import build_meta_model, build_mismatch_error

# Numbers that the optimizer keeps for each parameter; SGD keeps one if it has momentum.
OPTIMIZER_STATE_COPIES = {"adam": 2, "adamw": 2}
RUN_KEYWORDS = ("conv", "growth", "last", "pool")  # that are accepted in place of a run's name
KEYS_WITH_RUN = ("run", "layer", "formulas", "figure", "json", "batch_size", "outputs")


@dataclass(frozen=True)
class DescribedNetwork:
    """A network without weights; `shape` is its input's (depth, height, width)."""

    model: nn.Module
    name: str
    title: str
    shape: tuple[int, int, int]
    batch_size: int
    optimizer_copies: int


def build_described_network(settings: TrainSettings) -> DescribedNetwork:
    """Return the network that a training with these settings has. Raises UsageError."""
    if settings.resume is not None or settings.init is not None:
        raise UsageError(
            "resume and init are keys of training; for a run's network, `cnnlab describe RUN`"
        )
    spec = get_source_settings(settings.dataset)
    name = printable(str(settings.dataset.get("name")))
    parse_data_settings(settings.dataset)
    check_spec(SOURCES, spec, "dataset")
    shape, num_classes = call_checked(lambda: get_dataset_shape(name, spec), {}, "dataset")
    shape = compute_input_shape(build_pipelines(settings.augment).eval, shape)
    with torch.device("meta"):
        model = build_model(settings.model, shape, num_classes)
    is_imagenet = name == "folder" and not spec["root"]
    classes = f"{num_classes:,} classes" + " as ImageNet (no dataset.root)" * is_imagenet
    title = f"{settings.model['name']} on {name}: {format_volume(shape)}, {classes}"
    copies = count_optimizer_copies(settings.optim)
    return DescribedNetwork(
        model, settings.model["name"], title, shape, settings.batch_size, copies
    )


def load_described_network(name: str, config: Config, overrides: list[str]) -> DescribedNetwork:
    """Return a run's network by its newest checkpoint's record. Raises UsageError, or CnnlabError
    for a damaged checkpoint."""
    check_run_overrides(overrides)
    run = find_run_or_suggest(name, config["outputs"])
    path = find_checkpoint(run / "checkpoints", "last")
    record = read_record(path)
    try:
        run_config = rename_keys("train", record["config"])
        model = build_meta_model(run_config["model"], run_config["augment"], record)
        pipelines = build_pipelines(run_config["augment"])
        shape = compute_input_shape(pipelines.eval, tuple(record["shape"]))
        has_batch_size = any(override.startswith("batch_size=") for override in overrides)
        batch_size = int((config if has_batch_size else run_config)["batch_size"])
        source = f"{run_config['model']['name']} of {printable(str(path.parents[1]))}"
        title = f"{source}: {format_volume(shape)}, {len(record['classes']):,} classes"
        copies = count_optimizer_copies(run_config["optim"])
        return DescribedNetwork(
            model, run_config["model"]["name"], title, shape, batch_size, copies
        )
    except (UsageError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise build_mismatch_error(path, error) from error


def check_run_overrides(overrides: list[str]) -> None:
    """Raises UsageError for a key that the run itself decides."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.split(".")[0] not in KEYS_WITH_RUN:
            allowed = ", ".join(KEYS_WITH_RUN[1:])
            raise UsageError(
                f"a run has its own {printable(key)}: with it describe takes {allowed}"
            )


def find_run_or_suggest(name: str, outputs: str) -> Path:
    """Return a run's folder. Raises UsageError with the nearest keyword."""
    try:
        return find_run(name, resolve_outputs_folder(outputs))
    except UsageError as error:
        hint = "" if name in RUN_KEYWORDS else suggest_nearest(name, RUN_KEYWORDS)
        raise UsageError(printable(str(error)) + hint) from error


def count_optimizer_copies(optim: Config) -> int:
    return OPTIMIZER_STATE_COPIES.get(str(optim.get("name")), int(bool(optim.get("momentum"))))
