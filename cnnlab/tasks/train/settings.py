"""The settings of a training run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from cnnlab.core.files import check_folder_name
from cnnlab.core.keys import MAX_THREADS, Key, Settings, iterate_keys
from cnnlab.core.schema import Config, call_checked, flatten_config
from cnnlab.data.settings import AugmentSettings, DataSettings

OwnSettings = TypeVar("OwnSettings", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """The keys of configs/train.yaml beside its groups."""

    name: Annotated[
        str,
        Key("the run folder is outputs/train/<date>_<time>_<name>", compared=False),
    ]
    dataset: Config
    augment: Config
    model: Config
    optim: Config
    schedule: Config
    seed: Annotated[
        int,
        Key(
            "seed of weights, dropout, order and augmentation",
            compared=False,
            minimum=0,
            below=1 << 40,
        ),
    ]
    epochs: Annotated[int, Key("passes over the training images", resume=True, minimum=1)]
    batch_size: Annotated[int, Key("images a step", minimum=1)]
    eval_batch_size: Annotated[
        int,
        Key("images at once in evaluation; changes speed, not scores", compared=False, minimum=1),
    ]
    label_smoothing: Annotated[
        float, Key("share of the target spread over all classes", minimum=0, below=1)
    ]
    clip_norm: Annotated[
        float | None, Key("largest norm of the whole gradient; null: no clipping", above=0)
    ]
    ema_decay: Annotated[
        float | None,
        Key(
            "decay a step of the exponential moving average of the weights, which is then what is "
            "evaluated; null: none",
            above=0,
            below=1,
        ),
    ]
    early_stop_epochs: Annotated[
        int | None,
        Key(
            "epochs without a better validation accuracy to stop after; null: never",
            resume=True,
            minimum=1,
        ),
    ]
    result: Annotated[
        Literal["last", "best"],
        Key("the checkpoint that is evaluated: last, or best by validation accuracy"),
    ]
    test: Annotated[
        bool,
        Key(
            "evaluate on the test set at the end; false for runs that select something",
            resume=True,
            compared=False,
        ),
    ]
    device: Annotated[str, Key("auto, cpu, cuda, cuda:N or mps", resume=True, compared=False)]
    threads: Annotated[
        int | None,
        Key("CPU threads; null: all", compared=False, minimum=1, maximum=MAX_THREADS),
    ]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Key(
            "dtype of convolutions and matmuls; weights and sums stay float32; auto: the fastest "
            "here, by a short trial; float16: on CUDA only"
        ),
    ]
    compile: Annotated[bool, Key("torch.compile the network")]
    channels_last: Annotated[
        bool | Literal["auto"], Key("channels_last memory format; auto: if it is faster here")
    ]
    deterministic: Annotated[
        bool, Key("on a GPU: deterministic algorithms only (a CPU always is deterministic)")
    ]
    log_every: Annotated[
        int,
        Key("between lines in TensorBoard", unit="steps", resume=True, compared=False, minimum=1),
    ]
    validate_every: Annotated[
        int | None,
        Key(
            "between validations, a multiple of log_every; null: at each epoch's end",
            unit="steps",
            minimum=1,
        ),
    ]
    save_every_minutes: Annotated[
        float | None,
        Key(
            "between checkpoints within an epoch; null: at each epoch's end only",
            unit="minutes",
            resume=True,
            compared=False,
            above=0,
        ),
    ]
    outputs: Annotated[str, Key("where runs go", resume=True, compared=False)]
    resume: Annotated[
        str | None,
        Key("a run to continue in its own folder: a folder, or last", resume=True, compared=False),
    ]
    init: Annotated[
        str | None,
        Key("start from the weights of a run (a folder, or last) or of a .safetensors file"),
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validate_every is not None and self.validate_every % self.log_every:
            raise ValueError(f"validate_every must be a multiple of log_every={self.log_every}")
        check_folder_name(self.name)


def split_train_settings(
    config: Config, kind: type[OwnSettings]
) -> tuple[OwnSettings, TrainSettings]:
    """Return a command's own settings and those of the training that it runs. Raises UsageError."""
    own = {key: value for key, value in config.items() if key in kind.__annotations__}
    train = {key: value for key, value in config.items() if key not in own}
    return call_checked(kind, own, ""), call_checked(TrainSettings, train, "")


def select_compared_settings(config: Config) -> dict[str, Any]:
    """Return the settings by which runs are compared, `group.key` -> value; nulls are left out."""
    from cnnlab.data.sources import SOURCES  # imports torch

    source = SOURCES.get(str(config["dataset"]["name"]))
    declared: dict[str, list[Callable[..., Any]]] = {
        "": [TrainSettings],
        "augment.": [AugmentSettings],
        "dataset.": [DataSettings, *([source] if source else [])],
    }
    ignored = {
        f"{group}{name}"
        for group, owners in declared.items()
        for owner in owners
        for name, info in iterate_keys(owner)
        if not info.is_compared
    }
    settings = flatten_config(config)
    return {k: v for k, v in settings.items() if k not in ignored and v is not None}
