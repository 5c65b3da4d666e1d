"""A training: its settings, its parts introduced to each other, and its state in and out of a checkpoint."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnlab.core.checkpoint import Groups
from cnnlab.core.device import pick_device
from cnnlab.core.errors import UsageError
from cnnlab.core.files import check_folder_name
from cnnlab.core.schema import build
from cnnlab.data.batches import TrainingBatches, in_order
from cnnlab.data.dataset import PictureSet
from cnnlab.engine.evaluate import answers
from cnnlab.engine.fit import Meter, Report, fit
from cnnlab.engine.metrics import brief
from cnnlab.engine.optim import OPTIMIZERS, Average, Optimizer, restore, state_tensors
from cnnlab.engine.schedule import SCHEDULES, Schedule
from cnnlab.models.layers import initialize
from cnnlab.tasks import trained_run

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/train.yaml's keys and their types."""

    name: str
    dataset: trained_run.Config
    augment: trained_run.Config
    model: trained_run.Config
    optim: trained_run.Config
    schedule: trained_run.Config
    seed: int
    epochs: int
    batch_size: int
    eval_batch_size: int
    label_smoothing: float
    clip_norm: float | None
    ema_decay: float | None
    early_stop_epochs: int | None
    result: Literal["last", "best"]
    device: str
    threads: int | None
    precision: Literal["float32", "bfloat16"]
    compile: bool
    channels_last: bool
    deterministic: bool
    log_every: int
    validate_every: int | None
    save_every_minutes: float | None
    outputs: str
    resume: str | None
    init: str | None

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "eval_batch_size", "log_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key in ("threads", "validate_every", "early_stop_epochs"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.validate_every is not None and self.validate_every % self.log_every:
            raise ValueError(f"validate_every must be a multiple of log_every={self.log_every}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, not {self.ema_decay}")
        if self.save_every_minutes is not None and not self.save_every_minutes > 0:
            raise ValueError(f"save_every_minutes must be above 0, not {self.save_every_minutes}")
        if not 0 <= self.seed < 1 << 40:
            raise ValueError(f"seed must be at least 0 and below 2^40, not {self.seed}")
        if self.clip_norm is not None and not 0 < self.clip_norm < float("inf"):
            raise ValueError(f"clip_norm must be above 0, not {self.clip_norm}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")
        check_folder_name(self.name)


@dataclass
class Training:
    """The parts of a training, introduced to each other."""

    settings: Settings
    device: torch.device
    train: TrainingBatches
    validation: PictureSet
    pipelines: trained_run.Pipelines
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    average: Average | None
    meter: Meter
    steps: int
    input_shape: tuple[int, int, int]  # (depth, height, width) that the network sees

    @property
    def judged(self) -> nn.Module:
        """The network whose scores count: the average of the weights where there is one."""
        return self.average.model if self.average else self.model

    def reports(self, done: int, **hooks: Callable[..., object]) -> Iterator[Report]:
        """The engine's loop over these parts, from step `done` on; `hooks`: its `asked` and `lap`."""
        s = self.settings
        return fit(
            self.model, self.train, self.optimizer, self.schedule, steps=self.steps, done=done, meter=self.meter,
            average=self.average, label_smoothing=s.label_smoothing, clip_norm=s.clip_norm,
            autocast=AUTOCAST[s.precision], log_every=s.log_every, **hooks,
        )  # fmt: skip

    def validates(self, report: Report) -> bool:
        """Whether the validation pictures are scored after this report's step; after the last they always are."""
        every = self.settings.validate_every
        due = report.epoch_ended if every is None else report.step % every == 0
        return due or report.step == self.steps

    def answers(self, pictures: PictureSet) -> tuple[Tensor, Tensor]:
        """(N, K) logits and (N,) labels of pictures of any split, in order."""
        return answers(self.judged, in_order(pictures, self.pipelines.eval, batch_size=self.settings.eval_batch_size))

    def score(self, pictures: PictureSet) -> dict[str, float]:
        """Accuracy, error and loss on them."""
        return brief(*self.answers(pictures))


def assemble(settings: Settings) -> Training:
    """Build every part from the configuration. Raises UsageError before anything is written."""
    device = pick_device(settings.device)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
    if settings.deterministic != torch.are_deterministic_algorithms_enabled():  # it imports torch's compiler
        torch.use_deterministic_algorithms(settings.deterministic)
    torch.manual_seed(settings.seed)
    made = trained_run.pipelines(settings.augment)
    train, validation = trained_run.train_and_validation(settings.dataset)
    batches = TrainingBatches(train.to(device), made.train, batch_size=settings.batch_size, seed=settings.seed)
    trained_run.check_shapes(made, train.shape)
    shape = trained_run.input_shape(made.eval, train.shape)
    model = trained_run.build_model(settings.model, shape, len(train.classes))
    initialize(model, torch.Generator().manual_seed(settings.seed))
    model = trained_run.placed(model, device, channels_last=settings.channels_last)
    if batches.batch_size < 2 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        raise UsageError("batch_size must be at least 2 with batch normalisation: one picture has no moments")
    average = Average(model, settings.ema_decay) if settings.ema_decay is not None else None
    optimizer = build(OPTIMIZERS, settings.optim, "optim", model.parameters())
    steps = settings.epochs * len(batches)
    schedule = build(SCHEDULES, settings.schedule, "schedule", steps, len(batches))
    if settings.compile:
        model.compile()
    return Training(
        settings, device, batches, validation.to(device), made, model, optimizer, schedule, average, Meter(device),
        steps, shape,
    )  # fmt: skip


def generators(device: torch.device) -> dict[str, Tensor]:
    """The state of the random generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def state(training: Training) -> tuple[Groups, dict[str, Any]]:
    """All that it takes to go on from here, or to use the network: tensors and what describes them."""
    kept, window = training.average, training.meter
    groups = {
        "model": training.model.state_dict(),
        "optimizer": state_tensors(training.optimizer),
        "rng": generators(training.device),
        "window": {"sums": window.sums},
        **({"average": kept.model.state_dict()} if kept else {}),
    }
    record = {
        "config": asdict(training.settings) | {"resume": None},
        "window": {"steps": window.steps, "pictures": window.pictures, "seconds": window.seconds},
        "classes": list(training.validation.classes),
        "shape": list(training.validation.shape),
        "data": training.validation.fingerprint,
        "steps": training.steps,
        "average_updates": kept.updates if kept else 0,
    }
    return groups, record


def put_back(training: Training, groups: Groups, record: dict[str, Any]) -> None:
    """Undo `state` on parts built anew. Raises what torch does where they do not fit each other."""
    training.model.load_state_dict(groups["model"])
    restore(training.optimizer, groups.get("optimizer", {}))
    if training.average:
        training.average.model.load_state_dict(groups["average"])
        training.average.updates = record["average_updates"]
    if window := record.get("window"):
        training.meter.sums.copy_(groups["window"]["sums"])
        training.meter.steps, training.meter.pictures = int(window["steps"]), int(window["pictures"])
        training.meter.seconds = float(window["seconds"])
    torch.set_rng_state(groups["rng"]["cpu"])
    if "cuda" in groups["rng"] and training.device.type == "cuda":
        torch.cuda.set_rng_state(groups["rng"]["cuda"], training.device)
