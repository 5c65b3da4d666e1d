import shutil

import pytest
import torch

from cnnlab.config import compose
from cnnlab.core.errors import UsageError
from cnnlab.core.schema import call_checked
from cnnlab.data.batches import iterate_in_order
from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.metrics import compute_summary_metrics
from cnnlab.models.layers import POOLINGS
from cnnlab.tasks.train import trainer as trainer_module
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import (
    Trainer,
    build_trainer,
    capture_training_state,
    restore_training_state,
)

RANDAUGMENT = "+augment.train.randaugment={num_ops: 2, magnitude: 9}"
SMALL = ["model.filters=[4,4]", "model.hidden=[8]", "device=cpu", "epochs=2"]


def make_trainer(*overrides: str) -> Trainer:
    return build_trainer(call_checked(TrainSettings, compose("train", [*SMALL, *overrides]), ""))


def finish(trainer: Trainer, start_step: int = 0) -> dict[str, torch.Tensor]:
    for _ in trainer.fit(start_step):
        pass
    return {k: v.clone() for k, v in trainer.eval_model.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[k], second[k]) for k in first)


def test_seed_determines_weights() -> None:
    first = finish(make_trainer())
    assert equal(first, finish(make_trainer()))
    assert not equal(first, finish(make_trainer("seed=2")))


@pytest.mark.parametrize(
    "overrides",
    [
        ["optim=sgd", "optim.lr=0.05", "schedule=cosine", "schedule.warmup_epochs=1"],
        [
            "optim=adamw",
            "ema_decay=0.9",
            "augment=shift",
            "schedule=step",
            "schedule.every_epochs=1",
        ],
        [
            "clip_norm=1.0",
            "label_smoothing=0.1",
            "augment=affine",
            "channels_last=true",
            "schedule=constant",
        ],
        [
            "deterministic=true",
            "schedule=piecewise_linear",
            "schedule.epochs=[0,1,2]",
            "log_every=7",
        ],
        ["precision=bfloat16"],
        ["precision=float16", "clip_norm=1.0"],
        ["model.batch_norm={decay: 0.9, eps: 0.001}", "ema_decay=0.9", "model.pool=fractional"],
        [
            "+augment.train.mixup.alpha=0.4",
            "+augment.train.cutmix={alpha: 1.0, probability: 0.5}",
            "label_smoothing=0.1",
        ],
    ],
)
def test_settings_train_and_resume_bit_for_bit(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "check_precision", lambda precision, device: None)
    through = finish(make_trainer(*overrides))
    stopped = make_trainer(*overrides, "log_every=1")
    for report in stopped.fit(0):
        if report.step == 31:  # within the second epoch
            break
    groups, record = capture_training_state(stopped)
    groups = {
        group: {k: v.clone().contiguous() for k, v in named.items()}
        for group, named in groups.items()
    }
    torch.manual_seed(123)
    resumed = make_trainer(*overrides)
    restore_training_state(resumed, groups, record)
    assert equal(through, finish(resumed, 31))


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"
)
def test_compiled_network_trains_to_nearly_the_same_weights() -> None:
    plain, compiled = (
        finish(make_trainer("epochs=1", "model.dropout=0")),
        finish(make_trainer("epochs=1", "model.dropout=0", "compile=true")),
    )
    for key, weights in plain.items():
        torch.testing.assert_close(compiled[key], weights, rtol=1e-2, atol=1e-3)


def test_average_is_evaluated() -> None:
    trainer = make_trainer("ema_decay=0.99")
    finish(trainer)
    batches = list(
        iterate_in_order(trainer.validation_set, trainer.pipelines.eval, batch_size=1000)
    )
    averages, latest = (
        compute_summary_metrics(*predict_logits(model, batches))
        for model in (trainer.eval_model, trainer.model)
    )
    assert trainer.ema and trainer.eval_model is trainer.ema.model
    assert trainer.evaluate(trainer.validation_set) == averages != latest


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=0", "epochs must be at least 1, not 0"),
        ("label_smoothing=1", "label_smoothing must be at least 0 and below 1, not 1"),
        ("ema_decay=2", "ema_decay must be between 0 and 1, not 2"),
        ("clip_norm=0", "clip_norm must be above 0, not 0"),
        ("name=a/b", "name must be a valid folder name, not 'a/b'"),
        (
            "precision=float8",
            "precision must be one of auto, float32, bfloat16, float16, not 'float8'",
        ),
        ("channels_last=1", "channels_last must be true or false or auto, not 1"),
        (
            "dataset.validation=5000",
            "dataset.validation must be between 1 and 1436, or a share below 1, not 5000",
        ),
        ("validate_every=30", "validate_every must be a multiple of log_every=50"),
        (
            "model.pool=min",
            "model: pool 'min' is not one of average, fractional, max, overlapping, strided",
        ),
        ("model.extent=4", "model: extent must be odd, so that padding keeps the size, not 4"),
        ("schedule.peak=2", "schedule: peak must be between 0 and 1, not 2"),
    ],
)
def test_invalid_settings_are_one_line(override: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        make_trainer(override)
    assert str(error.value) == message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "auto"])
def test_gpu_deterministic_run_resumes_bit_for_bit(precision: str) -> None:
    words = ["device=cuda", "deterministic=true", "augment=affine", "ema_decay=0.9"]
    if precision == "auto":
        precision = make_trainer(*words, "precision=auto").settings.precision
    words.append(f"precision={precision}")
    through = finish(make_trainer(*words))
    assert equal(through, finish(make_trainer(*words)))
    stopped = make_trainer(*words, "log_every=1")
    for report in stopped.fit(0):
        if report.step == 31:
            break
    groups, record = capture_training_state(stopped)
    groups = {group: {k: v.clone() for k, v in named.items()} for group, named in groups.items()}
    resumed = make_trainer(*words)
    restore_training_state(resumed, groups, record)
    assert equal(through, finish(resumed, 31))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("pool", POOLINGS)
def test_gpu_trains_deterministically_with_every_pooling_and_randaugment(pool: str) -> None:
    words = ("device=cuda", "deterministic=true", f"model.pool={pool}", RANDAUGMENT)
    weights = finish(make_trainer(*words, "epochs=1"))
    assert equal(weights, finish(make_trainer(*words, "epochs=1")))
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_applies_randaugment_as_the_cpu() -> None:
    on_cpu, on_gpu = make_trainer(RANDAUGMENT), make_trainer(RANDAUGMENT, "device=cuda")
    batches = zip(
        on_cpu.train_batches.iterate_epoch(0), on_gpu.train_batches.iterate_epoch(0), strict=True
    )
    assert all(torch.equal(images, gpu_images.cpu()) for (images, _), (gpu_images, _) in batches)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_and_cpu_see_the_same_images() -> None:
    on_cpu, on_gpu = make_trainer("augment=affine"), make_trainer("augment=affine", "device=cuda")
    for (images, labels), (gpu_images, gpu_labels) in zip(
        on_cpu.train_batches.iterate_epoch(1), on_gpu.train_batches.iterate_epoch(1), strict=True
    ):
        assert torch.equal(labels, gpu_labels.cpu())
        torch.testing.assert_close(gpu_images.cpu(), images, rtol=0, atol=1e-4)


def test_every_key_is_in_yaml() -> None:
    config = compose("train", SMALL)
    assert set(config) == set(TrainSettings.__annotations__)
