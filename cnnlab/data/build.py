"""From `dataset` and `augment` configurations to data sets and pipelines."""

from dataclasses import dataclass

import torch

from cnnlab.core.errors import UsageError
from cnnlab.core.schema import Config, build_registered, check_keywords
from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.dataset import ImageSet, Split, hold_out
from cnnlab.data.settings import AugmentSettings, DataSettings
from cnnlab.data.sources import SOURCES


def parse_data_settings(dataset: Config) -> DataSettings:
    """The common keys of a `dataset` configuration. Raises UsageError."""
    own = {k: v for k, v in dataset.items() if k in DataSettings.__annotations__}
    check_keywords(DataSettings, own, "dataset")
    return DataSettings(**own)


def get_source_settings(dataset: Config) -> Config:
    """A `dataset` configuration without the common keys."""
    return {k: v for k, v in dataset.items() if k not in DataSettings.__annotations__}


def load_dataset(dataset: Config, split: Split) -> ImageSet:
    """The training or the test set that a `dataset` configuration names."""
    return build_registered(SOURCES, get_source_settings(dataset), "dataset", split)


def load_train_and_validation(dataset: Config) -> tuple[ImageSet, ImageSet]:
    """What is trained on, and what is validated with and never trained on."""
    data = parse_data_settings(dataset)
    return hold_out(load_dataset(dataset, "train"), count=data.validation, seed=data.split_seed)


@dataclass(frozen=True)
class Pipelines:
    """How images become a network's input, to train and to be judged."""

    train: Pipeline
    eval: Pipeline


def build_pipelines(augment: Config) -> Pipelines:
    """An `augment` configuration's two pipelines. Raises UsageError."""
    check_keywords(AugmentSettings, augment, "augment")
    made = Pipelines(
        Pipeline(augment["train"], "augment.train"), Pipeline(augment["eval"], "augment.eval")
    )
    if made.eval.random_step_names:
        raise UsageError(
            f"augment.eval.{made.eval.random_step_names[0]} is random: it can only stand in augment.train"
        )
    if made.train.num_views > 1:
        raise UsageError(
            "augment.train.views would give a label several images: it can only stand in augment.eval"
        )
    return made


def compute_input_shape(pipeline: Pipeline, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(depth, height, width) of what the network sees, given the data set's. Raises UsageError."""
    try:
        depth, height, width = pipeline(
            torch.zeros(1, *shape, dtype=torch.uint8, device="meta")
        ).shape[1:]
    except ValueError as error:
        raise UsageError(f"augment.eval: {error}") from error
    return depth, height, width


def check_pipeline_shapes(made: Pipelines, shape: tuple[int, int, int]) -> None:
    """Raises UsageError where images to train on and to be judged by do not come out alike, or cannot be made."""
    try:
        trained = made.train(
            torch.zeros(1, *shape, dtype=torch.uint8),
            CounterRNG(0, 0, torch.zeros(1, dtype=torch.int64)),
        )
    except ValueError as error:
        raise UsageError(f"augment.train: {error}") from error
    judged = compute_input_shape(made.eval, shape)
    if trained.shape[1:] != judged:
        one, other = ("x".join(map(str, size)) for size in (trained.shape[1:], judged))
        raise UsageError(
            f"augment.train makes images of {one}, augment.eval of {other}: the network takes one size"
        )
