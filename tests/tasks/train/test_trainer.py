import shutil

import pytest
import torch

from cnnlab.config import compose
from cnnlab.core.errors import UsageError
from cnnlab.core.schema import call_checked
from cnnlab.data.batches import iterate_in_order
from cnnlab.engine.evaluate import predict_logits
from cnnlab.engine.metrics import compute_summary_metrics
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import (
    Trainer,
    build_trainer,
    capture_training_state,
    restore_training_state,
)

SMALL = ["model.filters=[4,4]", "model.hidden=[8]", "device=cpu", "epochs=2"]


def made(*overrides: str) -> Trainer:
    return build_trainer(call_checked(TrainSettings, compose("train", [*SMALL, *overrides]), ""))


def finish(training: Trainer, done: int = 0) -> dict[str, torch.Tensor]:
    for _ in training.fit(done):
        pass
    return {k: v.clone() for k, v in training.eval_model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one)


def test_the_seed_alone_decides() -> None:
    first = finish(made())
    assert equal(first, finish(made()))
    assert not equal(first, finish(made("seed=2")))


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
        ["model.batch_norm={decay: 0.9, eps: 0.001}", "ema_decay=0.9", "model.pool=fractional"],
        [
            "+augment.train.mixup.alpha=0.4",
            "+augment.train.cutmix={alpha: 1.0, probability: 0.5}",
            "label_smoothing=0.1",
        ],
    ],
)
def test_every_key_trains_and_resumes_bit_for_bit(overrides: list[str]) -> None:
    through = finish(made(*overrides))
    stopped = made(*overrides, "log_every=1")
    for report in stopped.fit(0):
        if report.step == 31:  # within the second epoch
            break
    groups, record = capture_training_state(stopped)
    groups = {
        group: {k: v.clone().contiguous() for k, v in named.items()}
        for group, named in groups.items()
    }
    torch.manual_seed(123)
    resumed = made(*overrides)
    restore_training_state(resumed, groups, record)
    assert equal(through, finish(resumed, 31))


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"
)
def test_a_compiled_network_trains_to_nearly_the_same_weights() -> None:
    plain, compiled = (
        finish(made("epochs=1", "model.dropout=0")),
        finish(made("epochs=1", "model.dropout=0", "compile=true")),
    )
    for key, weights in plain.items():
        torch.testing.assert_close(compiled[key], weights, rtol=1e-2, atol=1e-3)


def test_the_average_is_what_is_scored() -> None:
    training = made("ema_decay=0.99")
    finish(training)
    batches = list(
        iterate_in_order(training.validation_set, training.pipelines.eval, batch_size=1000)
    )
    averages, latest = (
        compute_summary_metrics(*predict_logits(model, batches))
        for model in (training.eval_model, training.model)
    )
    assert training.ema and training.eval_model is training.ema.model
    assert training.evaluate(training.validation_set) == averages != latest


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=0", "epochs must be at least 1, not 0"),
        ("label_smoothing=1", "label_smoothing must be at least 0 and below 1, not 1"),
        ("ema_decay=2", "ema_decay must be between 0 and 1, not 2"),
        ("clip_norm=0", "clip_norm must be above 0, not 0"),
        ("name=a/b", "name must be usable in a folder's name, not 'a/b'"),
        ("precision=float8", "precision must be one of float32, bfloat16, not 'float8'"),
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
def test_settings_that_cannot_be_are_one_line(override: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        made(override)
    assert str(error.value) == message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_a_deterministic_run_repeats_and_resumes_bit_for_bit() -> None:
    words = ["device=cuda", "deterministic=true", "augment=affine", "ema_decay=0.9"]
    through = finish(made(*words))
    assert equal(through, finish(made(*words)))
    stopped = made(*words, "log_every=1")
    for report in stopped.fit(0):
        if report.step == 31:
            break
    groups, record = capture_training_state(stopped)
    groups = {group: {k: v.clone() for k, v in named.items()} for group, named in groups.items()}
    resumed = made(*words)
    restore_training_state(resumed, groups, record)
    assert equal(through, finish(resumed, 31))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_sees_the_pictures_that_a_cpu_sees() -> None:
    on_cpu, on_gpu = made("augment=affine"), made("augment=affine", "device=cuda")
    for (pictures, labels), (others, same) in zip(
        on_cpu.train_batches.iterate_epoch(1), on_gpu.train_batches.iterate_epoch(1), strict=True
    ):
        assert torch.equal(labels, same.cpu())
        torch.testing.assert_close(others.cpu(), pictures, rtol=0, atol=1e-4)


def test_every_default_is_in_yaml_alone() -> None:
    config = compose("train", SMALL)
    assert set(config) == set(TrainSettings.__annotations__)
