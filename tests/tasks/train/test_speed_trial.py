from collections.abc import Iterator

import pytest
import torch
from torch import nn

from cnnlab.config import compose
from cnnlab.core import precision
from cnnlab.core.schema import call_checked
from cnnlab.tasks.train import speed_trial
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.tasks.train.trainer import build_trainer

CPU = torch.device("cpu")
AUTO = ("precision=auto", "channels_last=auto")
TINY = ["model.filters=[4,4]", "model.hidden=[8]", "device=cpu", "epochs=1"]


def make_settings(*overrides: str) -> TrainSettings:
    return call_checked(TrainSettings, compose("train", [*TINY, *overrides]), "")


@pytest.fixture(autouse=True)
def cpu_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(precision, "read_cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(speed_trial, "read_cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(speed_trial, "TRIAL_SECONDS", 0.0)
    speed_trial.time_candidates.cache_clear()
    yield
    speed_trial.time_candidates.cache_clear()


def test_a_trial_changes_neither_weights_nor_random_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried = build_trainer(make_settings(*AUTO))
    state, (line,) = torch.get_rng_state(), capsys.readouterr().out.splitlines()
    words = {
        f"precision={tried.settings.precision}",
        f"channels_last={str(tried.settings.channels_last).lower()}",
    }
    assert line.startswith("auto: ") and words <= set(line.replace(",", "").split())
    plain = build_trainer(make_settings(*words))
    assert plain.settings == tried.settings and torch.equal(torch.get_rng_state(), state)
    pairs = zip(tried.model.parameters(), plain.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_runs_of_a_sweep_choose_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        speed_trial, "choose_batch_size", lambda time_step, size: calls.append(size) or 2
    )
    first, second = (build_trainer(make_settings(*AUTO, f"seed={seed}")) for seed in (1, 2))
    assert calls == [first.train_batches.batch_size]
    assert first.settings.precision == second.settings.precision


@pytest.mark.parametrize(
    ("milliseconds", "has_auto", "line"),
    [
        (
            [4, 3, 2, 1.2],
            {"precision", "channels_last"},
            "auto: precision=bfloat16 channels_last=true, 2.5 times as fast as float32",
        ),
        (
            [4, 1.05, 2, 1],  # no choice for 5 %
            {"precision", "channels_last"},
            "auto: precision=float32 channels_last=true, 0.95 times as fast as bfloat16",
        ),
        (
            [4, 2],
            {"channels_last"},
            "auto: channels_last=true, 2 times as fast as channels_last=false",
        ),
        ([1], {"precision"}, "auto: precision=float32, the only fast one on this device"),
    ],
)
def test_the_plainest_of_the_fastest_is_chosen(
    milliseconds: list[float], has_auto: set[str], line: str
) -> None:
    candidates = [(p, c) for p in ("float32", "bfloat16") for c in (False, True)]
    seconds = dict(zip(candidates, milliseconds, strict=False))
    chosen = speed_trial.choose_candidate(seconds)
    assert speed_trial.format_choice(seconds, chosen, has_auto) == line and len(line) <= 80


def test_the_trials_batch_is_as_large_as_a_short_step_permits() -> None:
    limit = speed_trial.MAX_STEP_SECONDS
    assert speed_trial.choose_batch_size(lambda size: limit * size / 100, 500) == 64
    assert speed_trial.choose_batch_size(lambda size: limit * size / 1000, 100) == 100
    assert speed_trial.choose_batch_size(lambda size: limit, 100) == 2
    assert speed_trial.choose_batch_size(lambda size: limit, 1) == 1


def test_bfloat16_is_suggested_for_large_batches_on_a_cpu_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def suggest(
        *overrides: str, batch_size: int = 100, layer: type[nn.Module] = nn.Conv2d
    ) -> str | None:
        settings, model = make_settings(*overrides), nn.Sequential(layer(1, 1, 1))
        return speed_trial.suggest_precision(settings, model, (1, 28, 28), batch_size, CPU)

    expected = "precision=bfloat16 is about 2 times as fast on this CPU"
    assert suggest("channels_last=true") == expected
    expected = expected.replace("16 is", "16 channels_last=true is")
    assert suggest("channels_last=false") == expected
    assert suggest(batch_size=10) is None and suggest(layer=nn.Linear) is None
    assert suggest("precision=bfloat16") is None
    monkeypatch.setattr(speed_trial, "read_cpu_flags", lambda: {"bf16"})
    assert suggest() == "precision=auto tries bfloat16, which may be faster here"
    monkeypatch.setattr(precision, "read_cpu_flags", lambda: {"avx2"})
    assert suggest() is None
