"""From plain configuration to parts: what several verbs build in the same way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core import checkpoint as checkpoints
from cnnlab.core.errors import CnnlabError, UsageError, reason
from cnnlab.core.files import write_whole
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import build, check
from cnnlab.core.hooks import out_of_place
from cnnlab.core.quoting import plain
from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import Draws
from cnnlab.data.dataset import PictureSet, Split, hold_out
from cnnlab.data.sources import SOURCES
from cnnlab.engine.evaluate import over_views
from cnnlab.models import MODELS
from cnnlab.models.cnn import cnn
from cnnlab.models.vgg_alexnet import vgg

Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What every data set's configuration says beside its source's own keys."""

    validation: float  # how many, or a share below 1
    split_seed: int
    mean: list[float]
    std: list[float]
    light_on_dark: bool


def data_settings(dataset: Config) -> DataSettings:
    """The common keys of a `dataset` configuration. Raises UsageError."""
    own = {k: v for k, v in dataset.items() if k in DataSettings.__annotations__}
    check(DataSettings, own, "dataset")
    return DataSettings(**own)


def source_settings(dataset: Config) -> Config:
    """A `dataset` configuration without the common keys."""
    return {k: v for k, v in dataset.items() if k not in DataSettings.__annotations__}


def load_pictures(dataset: Config, split: Split) -> PictureSet:
    """The training or the test set that a `dataset` configuration names."""
    return build(SOURCES, source_settings(dataset), "dataset", split)


def train_and_validation(dataset: Config) -> tuple[PictureSet, PictureSet]:
    """What is trained on, and what is validated with and never trained on."""
    data = data_settings(dataset)
    return hold_out(load_pictures(dataset, "train"), count=data.validation, seed=data.split_seed)


# Keys that builders have come to have.
SINCE: tuple[tuple[Any, Config], ...] = (
    (cnn, {"pool": "max", "batch_norm": None, "output": "linear"}),
    (vgg, {"batch_norm": None}),
)


def completed(config: Config) -> Config:
    """A run's configuration with what was no key yet when the run was made, as it was then."""
    model = config.get("model", {})
    builder = MODELS.get(str(model.get("name")))
    model = next((keys for one, keys in SINCE if one is builder), {}) | model
    since = {"init": None, "validate_every": None}
    return since | config | {"model": model, "augment": {"preview": False} | config.get("augment", {})}


@dataclass(frozen=True)
class Pipelines:
    """How pictures become a network's input, to train and to be judged."""

    train: Pipeline
    eval: Pipeline


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """What an `augment` configuration holds: operations by name, in order, and their keys."""

    train: dict[str, Any]
    eval: dict[str, Any]
    preview: bool


def pipelines(augment: Config) -> Pipelines:
    """An `augment` configuration's two pipelines. Raises UsageError."""
    check(AugmentSettings, augment, "augment")
    made = Pipelines(Pipeline(augment["train"], "augment.train"), Pipeline(augment["eval"], "augment.eval"))
    if made.eval.random:
        raise UsageError(f"augment.eval.{made.eval.random[0]} is random: it can only stand in augment.train")
    if made.train.views > 1:
        raise UsageError("augment.train.views would give a label several pictures: it can only stand in augment.eval")
    return made


def input_shape(pipeline: Pipeline, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(depth, height, width) of what the network sees, given the data set's. Raises UsageError."""
    try:
        depth, height, width = pipeline(torch.zeros(1, *shape, dtype=torch.uint8, device="meta")).shape[1:]
    except ValueError as error:
        raise UsageError(f"augment.eval: {error}") from error
    return depth, height, width


def check_shapes(made: Pipelines, shape: tuple[int, int, int]) -> None:
    """Raises UsageError where pictures to train on and to be judged by do not come out alike, or cannot be made."""
    try:
        trained = made.train(torch.zeros(1, *shape, dtype=torch.uint8), Draws(0, 0, torch.zeros(1, dtype=torch.int64)))
    except ValueError as error:
        raise UsageError(f"augment.train: {error}") from error
    judged = input_shape(made.eval, shape)
    if trained.shape[1:] != judged:
        one, other = ("x".join(map(str, size)) for size in (trained.shape[1:], judged))
        raise UsageError(f"augment.train makes pictures of {one}, augment.eval of {other}: the network takes one size")


def build_model(spec: Config, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network by its `model` configuration, for pictures of a shape. Raises UsageError."""
    return build(MODELS, spec, "model", shape, classes)


def placed(model: nn.Module, device: str | torch.device, *, channels_last: bool) -> nn.Module:
    """The network on a device, its weights laid out in memory as asked: it shows in the last bits of what comes out."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=layout)


def unfilled(model: Config, augment: Config, record: Config) -> nn.Module:
    """The network that a checkpoint's record describes, its weights without memory: whatever the record says, nothing
    is allocated before its tensors were held against it."""
    pipeline = pipelines(augment).eval
    shape = input_shape(pipeline, tuple(record["shape"]))
    with torch.device("meta"):
        return build_model(model, shape, len(record["classes"]))


def check_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raises ValueError, naming the first, where tensors are not those of a network in name, shape or type."""
    ours = model.state_dict()
    for name in [*ours, *(name for name in tensors if name not in ours)]:
        mine, theirs = ours.get(name), tensors.get(name)
        if mine is None or theirs is None:
            raise ValueError(f"{plain(name)} is {'not of this network' if mine is None else 'missing'}")
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            what = [f"{tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}" for one in (theirs, mine)]
            raise ValueError(f"{name} is {what[0]}, and should be {what[1]}")


def flat(config: Config, path: str = "") -> dict[str, Any]:
    """Nested settings -> {"optim.lr": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def write_answers(path: Path, logits: Tensor, labels: Tensor) -> None:
    """(N, K) logits and (N,) labels as one safetensors file: what every score follows from."""
    from safetensors.torch import save_file

    tensors = {"logits": logits.contiguous(), "labels": labels.contiguous()}
    write_whole(path, lambda part: save_file(tensors, part))


def read_answers(path: Path) -> tuple[Tensor, Tensor]:
    """What `write_answers` wrote. Raises CnnlabError for what it did not."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
        logits, labels = found["logits"], found["labels"]
        if logits.ndim != 2 or labels.shape != logits.shape[:1]:
            raise KeyError(f"logits of {tuple(logits.shape)} and labels of {tuple(labels.shape)}")
    except (OSError, KeyError, SafetensorError) as error:
        raise CnnlabError(f"{path} does not hold logits and labels: {plain(reason(error))}") from error
    return logits, labels


def misfit(path: Path, error: Exception) -> CnnlabError:
    """A checkpoint whose parts contradict each other."""
    return CnnlabError(f"{path} does not fit its own description: {plain(reason(error))}")


def outputs_folder(outputs: str) -> Path:
    """Where runs go; `~` is the user's own folder."""
    return Path(outputs).expanduser()


@dataclass(frozen=True)
class Trained:
    """A run's network and what it takes to use it. `shape` is the data set's (depth, height, width)."""

    model: nn.Module
    preprocess: Pipeline
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    config: Config
    folder: Path
    step: int
    data: str | None  # the fingerprint of the pictures that it trained on, where they are the user's

    @property
    def name(self) -> str:
        """What the run was called, or its model is."""
        return str(self.config.get("name", self.config["model"]["name"]))

    def given(self, pictures: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pictures -> what the network is given of each, one view."""
        return self.preprocess.standardized(self.preprocess.shown(pictures))

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pictures -> (N, K) class probabilities."""
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            logits = self.model(self.preprocess(pictures.to(device))).float()
            return over_views(logits, len(pictures)).softmax(1)


def load_run(
    run: str = "last",
    *,
    checkpoint: str | int = "result",
    device: str | torch.device = "cpu",
    outputs: str = "outputs",
) -> Trained:
    """Rebuild a run's network from its checkpoint alone, ready to judge pictures.

    `run`: a run folder, or what `find_run` takes. `checkpoint`: result (the one that the run was scored by), last,
    best, or a step. Its weights are the average of the weights where the run keeps one.
    Raises UsageError where there is no such run, CnnlabError where its checkpoint is missing or damaged.
    """
    folder = find_run(run, outputs_folder(outputs))
    saved, which = folder / "checkpoints", str(checkpoint)
    path = checkpoints.find(saved, "last" if which == "result" else which)
    try:
        if which == "result" and checkpoints.read_record(path)["config"].get("result") == "best":
            path = checkpoints.find(saved, "best")
        groups, record = checkpoints.load(path, str(device), ("model", "average"))
        config, shape, weights = (
            completed(record["config"]),
            tuple(record["shape"]),
            groups.get("average") or groups["model"],
        )
        model = unfilled(config["model"], config["augment"], record)
        check_tensors(model, weights)
        model.load_state_dict(weights, assign=True)
        model = placed(model, device, channels_last=bool(config.get("channels_last"))).eval().requires_grad_(False)
        pipeline = pipelines(config["augment"]).eval
        return Trained(model, pipeline, tuple(record["classes"]), shape, config, folder, record["step"],
                       record.get("data"))  # fmt: skip
    except (UsageError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise misfit(path, error) from error


def load_rival(trained: Trained, against: str, where: str, device: str | torch.device, outputs: str) -> Trained:
    """Another run that is shown the first one's pictures, its layers `out_of_place`. Raises UsageError, naming
    `where`, for one that takes others or knows other classes."""
    other = load_run(against, device=device, outputs=outputs)
    if (other.shape, other.classes) != (trained.shape, trained.classes):
        raise UsageError(f"{where}: {plain(against)} takes other pictures or knows other classes")
    out_of_place(other.model)
    return other
