"""Settings that every data set and augmentation pipeline has."""

from dataclasses import dataclass
from typing import Annotated, Any

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """The keys of every data set beside its source's own."""

    validation: Annotated[
        float, Key("images to validate with, or a share below 1 of the training set")
    ]
    split_seed: Annotated[int, Key("seed of the split")]
    mean: Annotated[
        list[float],
        Key("mean of each channel over the training set, 0..1", compared=False),
    ]
    std: Annotated[
        list[float],
        Key("standard deviation of each channel over the training set, 0..1", compared=False),
    ]
    light_on_dark: Annotated[
        bool, Key("whether what the images show is lighter than around it", compared=False)
    ]


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(Settings):
    """The keys of an `augment` configuration: operations by name, in order, and their keys."""

    train: dict[str, Any]
    eval: dict[str, Any]
    preview: Annotated[
        bool,
        Key("show training images after each operation, and train nothing", compared=False),
    ]


@dataclass(frozen=True, kw_only=True)
class MovedDataSettings(Settings):
    """The keys of a run's data set that may change after the training: `dataset` of `cnnlab eval`
    and the other commands that read the images of a run."""

    root: Annotated[str | None, Key("the folder of the images now; null: as in training")]
    workers: Annotated[
        int | None, Key("threads that decode images ahead; null: as in training", minimum=0)
    ]
