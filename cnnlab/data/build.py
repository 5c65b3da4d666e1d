"""Build data sets and pipelines from `dataset` and `augment` configurations."""

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
    """Return the common keys of a `dataset` configuration. Raises UsageError."""
    common = {k: v for k, v in dataset.items() if k in DataSettings.__annotations__}
    check_keywords(DataSettings, common, "dataset")
    return DataSettings(**common)


def get_source_settings(dataset: Config) -> Config:
    """Return a `dataset` configuration without the common keys."""
    return {k: v for k, v in dataset.items() if k not in DataSettings.__annotations__}


def load_dataset(dataset: Config, split: Split) -> ImageSet:
    """Load the training or the test set that a `dataset` configuration names."""
    return build_registered(SOURCES, get_source_settings(dataset), "dataset", split)


def load_train_and_validation(dataset: Config) -> tuple[ImageSet, ImageSet]:
    """Load the training set, split into images to train on and images to validate with."""
    data = parse_data_settings(dataset)
    return hold_out(load_dataset(dataset, "train"), count=data.validation, seed=data.split_seed)


@dataclass(frozen=True)
class Pipelines:
    """The pipelines from images to a network's input, for training and for evaluation."""

    train: Pipeline
    eval: Pipeline


def build_pipelines(augment: Config) -> Pipelines:
    """Return the two pipelines of an `augment` configuration. Raises UsageError."""
    check_keywords(AugmentSettings, augment, "augment")
    pipelines = Pipelines(
        Pipeline(augment["train"], "augment.train"), Pipeline(augment["eval"], "augment.eval")
    )
    if pipelines.eval.random_step_names:
        name = pipelines.eval.random_step_names[0]
        raise UsageError(f"augment.eval.{name} is random: it is only allowed in augment.train")
    if pipelines.train.num_views > 1:
        raise UsageError(
            "augment.train.views would give a label several images: "
            "it is only allowed in augment.eval"
        )
    return pipelines


def compute_input_shape(pipeline: Pipeline, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the (depth, height, width) of the network's input for a data set's. Raises
    UsageError."""
    try:
        depth, height, width = pipeline(
            torch.zeros(1, *shape, dtype=torch.uint8, device="meta")
        ).shape[1:]
    except ValueError as error:
        raise UsageError(f"augment.eval: {error}") from error
    return depth, height, width


def check_pipeline_shapes(pipelines: Pipelines, shape: tuple[int, int, int]) -> None:
    """Raise UsageError if a pipeline fails for a data set's shape, or their outputs differ in
    shape."""
    try:
        trained = pipelines.train(
            torch.zeros(1, *shape, dtype=torch.uint8),
            CounterRNG(0, 0, torch.zeros(1, dtype=torch.int64)),
        )
    except ValueError as error:
        raise UsageError(f"augment.train: {error}") from error
    eval_shape = compute_input_shape(pipelines.eval, shape)
    if trained.shape[1:] != eval_shape:
        sizes = ["x".join(map(str, size)) for size in (trained.shape[1:], eval_shape)]
        raise UsageError(
            f"augment.train makes images of {sizes[0]}, augment.eval of {sizes[1]}: "
            f"the network takes one size"
        )
