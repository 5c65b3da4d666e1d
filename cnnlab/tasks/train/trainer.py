"""A training: its settings, its parts introduced to each other, and its state in and out of a checkpoint."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.checkpoint import TensorGroups
from cnnlab.core.device import pick_device
from cnnlab.core.errors import UsageError
from cnnlab.core.schema import build_registered
from cnnlab.data.batches import TrainingBatches, iterate_in_order
from cnnlab.data.build import (
    Pipelines,
    build_pipelines,
    check_pipeline_shapes,
    compute_input_shape,
    load_train_and_validation,
)
from cnnlab.data.dataset import ImageSet
from cnnlab.engine.ema import ModelEMA
from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.fit import fit
from cnnlab.engine.meter import Meter, StepReport
from cnnlab.engine.metrics import compute_summary_metrics
from cnnlab.engine.optim import OPTIMIZERS, Optimizer, flatten_optimizer_state, restore_optimizer
from cnnlab.engine.schedule import SCHEDULES, Schedule
from cnnlab.models import build_model, move_to_device
from cnnlab.models.layers import initialize_weights
from cnnlab.tasks.train.settings import TrainSettings

AUTOCAST_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass
class Trainer:
    """The parts of a training, introduced to each other."""

    settings: TrainSettings
    device: torch.device
    train_batches: TrainingBatches
    validation_set: ImageSet
    pipelines: Pipelines
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    ema: ModelEMA | None
    meter: Meter
    total_steps: int
    input_shape: tuple[int, int, int]  # (depth, height, width) that the network sees

    @property
    def eval_model(self) -> nn.Module:
        """The network whose scores count: the average of the weights where there is one."""
        return self.ema.model if self.ema else self.model

    def fit(self, start_step: int, **hooks: Callable[..., object]) -> Iterator[StepReport]:
        """The engine's loop over these parts, from step `done` on; `hooks`: its `asked` and `lap`."""
        s = self.settings
        return fit(
            self.model, self.train_batches, self.optimizer, self.schedule, steps=self.total_steps, start_step=start_step, meter=self.meter,
            ema=self.ema, label_smoothing=s.label_smoothing, clip_norm=s.clip_norm,
            autocast=AUTOCAST_DTYPES[s.precision], log_every=s.log_every, **hooks,
        )  # fmt: skip

    def should_validate(self, report: StepReport) -> bool:
        """Whether the validation pictures are scored after this report's step; after the last they always are."""
        every = self.settings.validate_every
        due = report.is_epoch_end if every is None else report.step % every == 0
        return due or report.step == self.total_steps

    def predict_logits(self, pictures: ImageSet) -> tuple[Tensor, Tensor]:
        """(N, K) logits and (N,) labels of pictures of any split, in order."""
        return predict_logits(
            self.eval_model,
            iterate_in_order(
                pictures, self.pipelines.eval, batch_size=self.settings.eval_batch_size
            ),
        )

    def evaluate(self, pictures: ImageSet) -> dict[str, float]:
        """Accuracy, error and loss on them."""
        return compute_summary_metrics(*self.predict_logits(pictures))


def build_trainer(settings: TrainSettings) -> Trainer:
    """Build every part from the configuration. Raises UsageError before anything is written."""
    device = pick_device(settings.device)
    if settings.deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # without it cuBLAS refuses to be deterministic
    if (
        settings.deterministic != torch.are_deterministic_algorithms_enabled()
    ):  # it imports torch's compiler
        torch.use_deterministic_algorithms(settings.deterministic)
    torch.manual_seed(settings.seed)
    made = build_pipelines(settings.augment)
    train, validation = load_train_and_validation(settings.dataset)
    batches = TrainingBatches(
        train.to(device), made.train, batch_size=settings.batch_size, seed=settings.seed
    )
    check_pipeline_shapes(made, train.shape)
    shape = compute_input_shape(made.eval, train.shape)
    model = build_model(settings.model, shape, len(train.classes))
    initialize_weights(model, torch.Generator().manual_seed(settings.seed))
    model = move_to_device(model, device, channels_last=settings.channels_last)
    if batches.batch_size < 2 and any(
        isinstance(module, nn.BatchNorm1d) for module in model.modules()
    ):
        raise UsageError(
            "batch_size must be at least 2 with batch normalisation: one picture has no moments"
        )
    average = ModelEMA(model, settings.ema_decay) if settings.ema_decay is not None else None
    optimizer = build_registered(OPTIMIZERS, settings.optim, "optim", model.parameters())
    steps = settings.epochs * len(batches)
    schedule = build_registered(SCHEDULES, settings.schedule, "schedule", steps, len(batches))
    if settings.compile:
        model.compile()
    return Trainer(
        settings, device, batches, validation.to(device), made, model, optimizer, schedule, average, Meter(device),
        steps, shape,
    )  # fmt: skip


def get_rng_states(device: torch.device) -> dict[str, Tensor]:
    """The state of the random generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def capture_training_state(training: Trainer) -> tuple[TensorGroups, dict[str, Any]]:
    """All that it takes to go on from here, or to use the network: tensors and what describes them."""
    kept, window = training.ema, training.meter
    groups = {
        "model": training.model.state_dict(),
        "optimizer": flatten_optimizer_state(training.optimizer),
        "rng": get_rng_states(training.device),
        "window": {"sums": window.sums},
        **({"average": kept.model.state_dict()} if kept else {}),
    }
    record = {
        "config": asdict(training.settings) | {"resume": None},
        "window": {"steps": window.steps, "pictures": window.num_images, "seconds": window.seconds},
        "classes": list(training.validation_set.classes),
        "shape": list(training.validation_set.shape),
        "data": training.validation_set.fingerprint,
        "steps": training.total_steps,
        "average_updates": kept.num_updates if kept else 0,
    }
    return groups, record


def restore_training_state(training: Trainer, groups: TensorGroups, record: dict[str, Any]) -> None:
    """Undo `state` on parts built anew. Raises what torch does where they do not fit each other."""
    training.model.load_state_dict(groups["model"])
    restore_optimizer(training.optimizer, groups.get("optimizer", {}))
    if training.ema:
        training.ema.model.load_state_dict(groups["average"])
        training.ema.num_updates = record["average_updates"]
    if window := record.get("window"):
        training.meter.sums.copy_(groups["window"]["sums"])
        training.meter.steps, training.meter.num_images = (
            int(window["steps"]),
            int(window["pictures"]),
        )
        training.meter.seconds = float(window["seconds"])
    torch.set_rng_state(groups["rng"]["cpu"])
    if "cuda" in groups["rng"] and training.device.type == "cuda":
        torch.cuda.set_rng_state(groups["rng"]["cuda"], training.device)
