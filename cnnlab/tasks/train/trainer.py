"""The parts of a training run, and its state in and out of a checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core.checkpoint import TensorGroups
from cnnlab.core.device import pick_device, set_deterministic_algorithms
from cnnlab.core.errors import UsageError
from cnnlab.core.memory import retain_freed
from cnnlab.core.precision import check_precision, choose_eval_precision, use_precision
from cnnlab.core.schema import build_registered
from cnnlab.data.batches import Batch, TrainingBatches, iterate_in_order
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
from cnnlab.engine.loss_scale import LossScale
from cnnlab.engine.meter import Meter, StepReport
from cnnlab.engine.objective import CrossEntropy, Objective
from cnnlab.engine.optim import OPTIMIZERS, Optimizer, flatten_optimizer_state, restore_optimizer
from cnnlab.engine.schedule import SCHEDULES, Schedule
from cnnlab.engine.step_timer import StepTimer
from cnnlab.engine.train_step import TrainStep
from cnnlab.models import build_model, is_classifier, move_to_device
from cnnlab.models.fast_cnn import PatchWhitening
from cnnlab.models.layers import initialize_weights
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.speed_trial import resolve_auto
from cnnlab.tasks.train.style_network import build_style_objective

NUM_WHITENING_IMAGES = 5000  # whose patches are whitened (Jordan 2024)


@dataclass
class Trainer:
    """The parts of a training run, built from its settings."""

    settings: TrainSettings
    device: torch.device
    train_batches: TrainingBatches
    validation_set: ImageSet
    pipelines: Pipelines
    model: nn.Module
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    loss_scale: LossScale | None  # of float16
    ema: ModelEMA | None
    meter: Meter
    total_steps: int
    input_shape: tuple[int, int, int]  # (depth, height, width) that the network sees

    @property
    def eval_model(self) -> nn.Module:
        """The network that is evaluated: the average of the weights if there is one."""
        return self.ema.model if self.ema else self.model

    def fit(
        self,
        start_step: int,
        *,
        wants_report: Callable[[], object] = lambda: None,
        timer: StepTimer | None = None,
    ) -> Iterator[StepReport]:
        """Run the engine's training loop from `start_step` on, timed by `timer` if there is one."""
        settings, batches = self.settings, self.train_batches
        train_step = TrainStep(
            model=self.model,
            optimizer=self.optimizer,
            meter=self.meter,
            ema=self.ema,
            objective=self.objective,
            clip_norm=settings.clip_norm,
            precision=settings.precision,
            loss_scale=self.loss_scale,
        )
        return fit(
            timer.wrap_step(train_step) if timer else train_step,
            timer.wrap_batches(batches) if timer else batches,
            self.schedule,
            steps=self.total_steps,
            start_step=start_step,
            log_every=settings.log_every,
            wants_report=wants_report,
        )

    def should_validate(self, report: StepReport) -> bool:
        """Return whether to validate after this report's step; always true after the last step."""
        every = self.settings.validate_every
        is_due = report.is_epoch_end if every is None else report.step % every == 0
        return is_due or report.step == self.total_steps

    def predict_logits(self, images: ImageSet) -> tuple[Tensor, Tensor]:
        """Return (N, K) logits and (N,) labels of the images of any split, in order."""
        with self.use_eval_precision():
            return predict_logits(self.eval_model, self.iterate_in_order(images))

    def evaluate(self, images: ImageSet) -> dict[str, float]:
        """Return the objective's scores on the images of any split."""
        with self.use_eval_precision():
            return self.objective.evaluate(self.eval_model, self.iterate_in_order(images))

    def use_eval_precision(self) -> AbstractContextManager[object]:
        """Return a context of the precision of evaluation: that of the run, as for `TrainedRun`;
        of a style network float32, in which `stylize` applies it."""
        precision = self.settings.precision if is_classifier(self.settings.model) else "float32"
        return use_precision(choose_eval_precision(precision, self.device), self.device)

    def iterate_in_order(self, images: ImageSet) -> Iterator[Batch]:
        """Yield the images of any split and their labels, in order."""
        batch_size = self.settings.eval_batch_size
        return iterate_in_order(images, self.pipelines.eval, batch_size=batch_size)


def build_trainer(settings: TrainSettings) -> Trainer:
    """Build every part from the settings. Raises UsageError before anything is written."""
    device = pick_device(settings.device)
    retain_freed()
    check_precision(settings.precision, device)
    enable_determinism(settings.deterministic)
    torch.manual_seed(settings.seed)
    pipelines = build_pipelines(settings.augment)
    train_set, validation_set = load_train_and_validation(settings.dataset)
    batches = TrainingBatches(
        train_set.to(device), pipelines.train, batch_size=settings.batch_size, seed=settings.seed
    )
    check_pipeline_shapes(pipelines, train_set.shape)
    if is_classifier(settings.model) and len(train_set.classes) < 2:
        raise UsageError("a classifier needs two classes: dataset.layout=flat has one")
    input_shape = compute_input_shape(pipelines.eval, train_set.shape)
    num_classes = len(train_set.classes)
    settings = resolve_auto(settings, input_shape, num_classes, batches.batch_size, device)
    model = build_model(settings.model, input_shape, num_classes)
    initialize_weights(model, torch.Generator().manual_seed(settings.seed))
    fit_patch_whitening(model, train_set, pipelines)
    model = move_to_device(model, device, channels_last=bool(settings.channels_last))
    check_batch_norm(model, batches.batch_size)
    ema = ModelEMA(model, settings.ema_decay) if settings.ema_decay is not None else None
    optimizer = build_registered(OPTIMIZERS, settings.optim, "optim", model.parameters())
    objective = build_objective(settings, batches.images, pipelines, device)
    total_steps = settings.epochs * len(batches)
    schedule = build_registered(SCHEDULES, settings.schedule, "schedule", total_steps, len(batches))
    if settings.compile:
        model.compile()
    return Trainer(
        settings=settings,
        device=device,
        train_batches=batches,
        validation_set=validation_set.to(device),
        pipelines=pipelines,
        model=model,
        objective=objective,
        optimizer=optimizer,
        schedule=schedule,
        loss_scale=LossScale(device) if settings.precision == "float16" else None,
        ema=ema,
        meter=Meter(device, objective.metrics),
        total_steps=total_steps,
        input_shape=input_shape,
    )


def build_objective(
    settings: TrainSettings, train_set: ImageSet, pipelines: Pipelines, device: torch.device
) -> Objective:
    """Return the objective of the settings' network. Raises UsageError."""
    if is_classifier(settings.model):
        return CrossEntropy(settings.label_smoothing)
    return build_style_objective(settings, train_set, pipelines, device)


def fit_patch_whitening(model: nn.Module, train_set: ImageSet, pipelines: Pipelines) -> None:
    """Compute the weights of whitening layers from the first training images, if there are any."""
    for layer in (module for module in model.modules() if isinstance(module, PatchWhitening)):
        index = torch.arange(min(NUM_WHITENING_IMAGES, len(train_set)))
        images, _ = next(train_set.iterate_batches([index]))
        pipeline = pipelines.eval
        layer.fit(pipeline.normalize(pipeline.apply_before_normalize(images.cpu())))


def enable_determinism(is_deterministic: bool) -> None:
    """Switch torch's deterministic algorithms on or off."""
    # Only where it changes something: the call imports torch's compiler.
    if is_deterministic != torch.are_deterministic_algorithms_enabled():
        set_deterministic_algorithms(is_deterministic)


def check_batch_norm(model: nn.Module, batch_size: int) -> None:
    """Raise UsageError if a batch is too small for batch normalization after a dense layer."""
    if batch_size < 2 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        raise UsageError(
            "batch_size must be at least 2 with batch normalization: one image has no variance"
        )


def get_rng_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def capture_training_state(trainer: Trainer) -> tuple[TensorGroups, dict[str, Any]]:
    """Return tensors and a record that describes them: all that resume and evaluation need."""
    ema, meter, loss_scale = trainer.ema, trainer.meter, trainer.loss_scale
    groups = {
        "model": trainer.model.state_dict(),
        "optimizer": flatten_optimizer_state(trainer.optimizer),
        "rng": get_rng_states(trainer.device),
        "window": {"sums": meter.sums},
        **({"average": ema.model.state_dict()} if ema else {}),
        **({"loss_scale": loss_scale.state} if loss_scale else {}),
    }
    # Runs of earlier versions have these keys too: they stay as they are.
    record = {
        "config": asdict(trainer.settings) | {"resume": None},
        "window": {"steps": meter.steps, "pictures": meter.num_images, "seconds": meter.seconds},
        "classes": list(trainer.validation_set.classes),
        "shape": list(trainer.validation_set.shape),
        "data": trainer.validation_set.fingerprint,
        "objective": trainer.objective.fingerprint,
        "steps": trainer.total_steps,
        "average_updates": ema.num_updates if ema else 0,
    }
    return groups, record


def restore_training_state(trainer: Trainer, groups: TensorGroups, record: dict[str, Any]) -> None:
    """Restore what `capture_training_state` returned in a new trainer.

    Raises what torch does if the parts do not fit each other.
    """
    trainer.model.load_state_dict(groups["model"])
    restore_optimizer(trainer.optimizer, groups.get("optimizer", {}))
    if trainer.ema:
        trainer.ema.model.load_state_dict(groups["average"])
        trainer.ema.num_updates = record["average_updates"]
    if trainer.loss_scale:
        for name, tensor in trainer.loss_scale.state.items():
            tensor.copy_(groups["loss_scale"][name])
    if window := record.get("window"):
        meter = trainer.meter
        meter.sums.copy_(groups["window"]["sums"])
        meter.steps, meter.num_images = int(window["steps"]), int(window["pictures"])
        meter.seconds = float(window["seconds"])
    torch.set_rng_state(groups["rng"]["cpu"])
    if "cuda" in groups["rng"] and trainer.device.type == "cuda":
        torch.cuda.set_rng_state(groups["rng"]["cuda"], trainer.device)
