"""A training: its settings, its parts introduced to each other, and its state in and out of a checkpoint."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.checkpoint import Groups
from cnnlab.core.device import pick_device
from cnnlab.core.errors import UsageError
from cnnlab.core.schema import build
from cnnlab.data.batches import TrainingBatches, in_order
from cnnlab.data.build import Pipelines, check_shapes, input_shape, pipelines, train_and_validation
from cnnlab.data.dataset import PictureSet
from cnnlab.engine.ema import Average
from cnnlab.engine.evaluate import answers
from cnnlab.engine.fit import fit
from cnnlab.engine.meter import Meter, Report
from cnnlab.engine.metrics import brief
from cnnlab.engine.optim import OPTIMIZERS, Optimizer, restore, state_tensors
from cnnlab.engine.schedule import SCHEDULES, Schedule
from cnnlab.models import build_model, placed
from cnnlab.models.layers import initialize
from cnnlab.tasks.train.settings import AUTOCAST, Settings


@dataclass
class Training:
    """The parts of a training, introduced to each other."""

    settings: Settings
    device: torch.device
    train: TrainingBatches
    validation: PictureSet
    pipelines: Pipelines
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
    made = pipelines(settings.augment)
    train, validation = train_and_validation(settings.dataset)
    batches = TrainingBatches(train.to(device), made.train, batch_size=settings.batch_size, seed=settings.seed)
    check_shapes(made, train.shape)
    shape = input_shape(made.eval, train.shape)
    model = build_model(settings.model, shape, len(train.classes))
    initialize(model, torch.Generator().manual_seed(settings.seed))
    model = placed(model, device, channels_last=settings.channels_last)
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
