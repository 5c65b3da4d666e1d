import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from cnnlab.core import checkpoint
from cnnlab.core.run import read_metrics
from cnnlab.core.run_index import read_run_state
from cnnlab.engine.optim import FiniteGuard
from tests.conftest import TINY, Cnnlab

LONGER = [word for word in TINY if not word.startswith("epochs")] + ["schedule=constant"]


def only_run(here: Path) -> Path:
    (folder,) = (here / "outputs" / "train").iterdir()
    return folder


def weights(run: Path, group: str = "model") -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(checkpoint.find_checkpoint(run / "checkpoints", "last"))[0][
        group
    ]


def have_same_weights(first: Path, second: Path) -> bool:
    pairs = [(weights(first, group), weights(second, group)) for group in ("model", "optimizer")]
    return all(torch.equal(a[k], b[k]) for a, b in pairs for k in a | b)


def curves(run: Path) -> list[dict[str, Any]]:
    """The logged rows, without their times."""
    timed = ("elapsed_s", "train/images_per_s")
    return [
        {k: v for k, v in row.items() if k not in timed}
        for row in read_metrics(run / "metrics.jsonl")
    ]


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """signal_at(step): SIGINT arrives during that step, counted from this call."""
    steps, signal_step, take = [0], [0], FiniteGuard.step

    def count_and_signal(*args: object) -> None:
        take(*args)
        steps[0] += 1
        if steps[0] == signal_step[0]:
            os.kill(os.getpid(), signal.SIGINT)

    def set_step(step: int) -> None:
        steps[0], signal_step[0] = 0, step

    monkeypatch.setattr(FiniteGuard, "step", count_and_signal)
    return set_step


def test_log_equals_that_of_an_uninterrupted_run(
    cnnlab: Cnnlab, here: Path, tiny_run: Path, signal_at: Any
) -> None:
    """Stopped twice within one log window: the same rows, the same means."""
    signal_at(13)
    assert cnnlab("train", *TINY)[0] == 130
    signal_at(4)
    assert cnnlab("train", "resume=last")[0] == 130
    assert cnnlab("train", "resume=last")[0] == 0
    assert curves(only_run(here)) == curves(tiny_run) and have_same_weights(
        only_run(here), tiny_run
    )
    resumed = [
        json.loads(line) for line in (only_run(here) / "resumed.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in resumed] == [13, 17] and all(
        row["packages"]["torch"] for row in resumed
    )


def test_finished_run_is_reported(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    before = {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}
    code, out, err = cnnlab("train", f"resume={tiny_run}")
    assert (code, err) == (0, "") and f"{tiny_run} is finished: 2 epochs, validation " in out
    assert before == {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}


def test_more_epochs_if_the_schedule_allows(cnnlab: Cnnlab, here: Path) -> None:
    assert cnnlab("train", *LONGER, "epochs=3", "outputs=whole")[0] == 0
    assert cnnlab("train", *LONGER, "epochs=1")[0] == 0
    code, out, err = cnnlab("train", "resume=last", "epochs=3")
    assert (code, err) == (0, "") and "resuming after step 25" in out
    (whole,) = (here / "whole" / "train").iterdir()
    assert have_same_weights(only_run(here), whole)
    assert yaml.safe_load((only_run(here) / "config.yaml").read_text())["epochs"] == 3
    code, _, err = cnnlab("train", "resume=last", "epochs=2")
    assert code == 0, "fewer epochs than it has: it is finished"


def test_more_epochs_are_refused_if_earlier_learning_rates_would_differ(
    cnnlab: Cnnlab, here: Path, signal_at: Any
) -> None:
    signal_at(30)
    assert cnnlab("train", *TINY)[0] == 130  # one_cycle, laid out over two epochs
    code, _, err = cnnlab("train", "resume=last", "epochs=3")
    assert code == 2 and "epochs cannot change: with schedule=one_cycle" in err
    command = err.splitlines()[1]
    assert command.count(" epochs=") == 1 and command.endswith(" epochs=3")
    code, _, err = cnnlab("train", "resume=last", "epochs=1")
    assert code == 2 and "ends before step 30" in err
    assert (
        read_run_state(only_run(here)) == "interrupted" and cnnlab("train", "resume=last")[0] == 0
    )


@pytest.mark.parametrize("word", ["resume=", "resume='  '", "init=", "init=nowhere"])
def test_missing_run_is_refused(cnnlab: Cnnlab, here: Path, word: str) -> None:
    code, _, err = cnnlab("train", word)
    assert code == 2 and len(err.splitlines()) == 1
    assert ("no run nowhere" if "nowhere" in word else f"{word[:5].strip('=')}") in err
    assert not list(here.iterdir())


def test_suggested_command_quotes_the_folder(cnnlab: Cnnlab, here: Path, signal_at: Any) -> None:
    import shlex

    signal_at(5)
    code, _, err = cnnlab("train", *TINY, "outputs='a b, c=1'")
    assert code == 130
    words = shlex.split(err.split("`")[1])
    assert words[:2] == ["cnnlab", "train"] and cnnlab(*words[1:])[0] == 0


def test_tilde_is_expanded(cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    assert cnnlab("train", *TINY, "epochs=1", "outputs=~/x")[0] == 0
    assert [path.name for path in here.iterdir()] == ["home"]
    assert cnnlab("train", "resume=last", "outputs=~/x")[0] == 0


def test_checkpoints_within_an_epoch(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    save = checkpoint.save_checkpoint
    monkeypatch.setattr(
        checkpoint,
        "save_checkpoint",
        lambda path, *rest: (steps.append(int(path.stem[5:])), save(path, *rest)),
    )
    assert cnnlab("train", *TINY, "log_every=5", "save_every_minutes=1e-9")[0] == 0
    assert steps == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert (
        cnnlab("train", *TINY, "save_every_minutes=0")[2]
        == "cnnlab: save_every_minutes must be above 0, not 0\n"
    )


def test_init_from_run(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    code, out, err = cnnlab("train", *TINY, f"init={tiny_run}", "epochs=1", "optim.lr=1e-30")
    assert (code, err) == (0, "") and f"weights from {tiny_run}, step 50:\n  8 of 8 tensors" in out
    assert all(torch.equal(weights(only_run(here))[k], v) for k, v in weights(tiny_run).items())


def test_init_reports_layers_that_do_not_match(cnnlab: Cnnlab, here: Path, tiny_run: Path) -> None:
    file = here / "some.safetensors"
    theirs = weights(tiny_run)
    save_file(
        {k: v for k, v in theirs.items() if k != "conv_2.conv.bias"} | {"x\ny": torch.ones(1)}, file
    )
    words = [*TINY, "epochs=1", "model.hidden=[9]", "optim.lr=1e-30", "ema_decay=0.9"]
    code, out, _ = cnnlab("train", *words, f"init={file}")
    assert code == 0 and "weights from" in out and ":\n  4 of 8 tensors" in out
    assert "  initialized: conv_2.conv.bias (not in the source)\n" in out
    assert "  initialized: fc_1.linear.weight (8x16 in the source, 9x16 here)\n" in out
    assert "  not used: x\\ny (not in this network)\n" in out
    for group in ("model", "average"):
        assert torch.equal(
            weights(only_run(here), group)["conv_1.conv.weight"], theirs["conv_1.conv.weight"]
        )
    save_file({"other": torch.ones(1)}, file)
    code, _, err = cnnlab("train", *words, f"init={file}")
    assert code == 2 and err == f"cnnlab: init: no layer of {file} fits; it has other, ...\n"
    file.write_bytes(b"no weights")
    code, _, err = cnnlab("train", *words, f"init={file}")
    assert code == 1 and "some.safetensors is not a safetensors file" in err
    assert len(list((here / "outputs" / "train").iterdir())) == 1


def test_resume_does_not_need_the_init_source(
    cnnlab: Cnnlab, here: Path, tiny_run: Path, signal_at: Any
) -> None:
    source = Path(shutil.copytree(tiny_run, here / "source"))
    signal_at(5)
    assert cnnlab("train", *TINY, f"init={source}")[0] == 130
    shutil.rmtree(source)
    assert cnnlab("train", "resume=last")[0] == 0


def test_partial_files_of_a_killed_process_are_removed(
    cnnlab: Cnnlab, here: Path, signal_at: Any
) -> None:
    signal_at(30)
    assert cnnlab("train", *TINY)[0] == 130
    for place in ("", "checkpoints", "filters"):
        (only_run(here) / place / ".x.123.part").write_bytes(b"half")
    assert cnnlab("train", "resume=last")[0] == 0
    assert not list(only_run(here).rglob("*.part"))


def test_sweep_resolves_init_last_once(cnnlab: Cnnlab, here: Path) -> None:
    assert cnnlab("train", *TINY, "epochs=1")[0] == 0
    first = only_run(here).absolute()
    code, out, _ = cnnlab("train", "-m", *TINY, "epochs=1", "init=last", "seed=1,2")
    assert code == 0 and out.count(f"weights from {first}, step 25:\n  8 of 8") == 2
    (sweep,) = (here / "outputs" / "train").glob("*_sweep")
    configs = [yaml.safe_load((sweep / run / "config.yaml").read_text()) for run in "01"]
    assert [config["init"] for config in configs] == [str(first)] * 2
    assert cnnlab("train", *TINY, "epochs=1", "init=nothing")[0] == 2


def test_early_stopped_run_is_evaluated_again_but_not_trained(cnnlab: Cnnlab, here: Path) -> None:
    words = ["schedule=constant", "optim.lr=1e-9", "early_stop_epochs=1", "epochs=10"]
    assert cnnlab("train", *TINY, *words)[0] == 0
    run = only_run(here)
    before, steps = (
        (run / "result.json").read_text(),
        checkpoint.list_checkpoint_steps(run / "checkpoints"),
    )
    (run / "test.safetensors").unlink()
    code, out, err = cnnlab("train", "resume=last")
    assert (code, err) == (0, "") and (run / "test.safetensors").exists() and "epoch 3" not in out
    assert checkpoint.list_checkpoint_steps(run / "checkpoints") == steps
    assert json.loads((run / "result.json").read_text())["test"] == json.loads(before)["test"]


def test_shortened_run_may_end_without_validation(
    cnnlab: Cnnlab, here: Path, signal_at: Any
) -> None:
    signal_at(50)
    assert cnnlab("train", *TINY, "schedule=constant", "validate_every=150", "epochs=6")[0] == 130
    code, _, err = cnnlab("train", "resume=last", "epochs=2")
    result = json.loads((only_run(here) / "result.json").read_text())
    assert (
        (code, err) == (0, "") and result["step"] == 50 and 0 < result["validation"]["accuracy"] < 1
    )


@pytest.mark.slow
def test_fast_network_resumes_bit_for_bit(cnnlab: Cnnlab, here: Path, signal_at: Any) -> None:
    """Muon, whitening, alternating flips, views, the average of the weights and bfloat16."""
    words = ["train", "model=mnist_fast", "dataset=digits", "model.widths=[4,8]", "epochs=3"]
    words += ["batch_size=250", "ema_decay=0.9", "+augment.train.alternating_flip={}"]
    words += ["+augment.eval.views={size: 8, padding: 1, mode: zeros, grid: 2, mirror: true}"]
    assert cnnlab(*words, "outputs=whole")[0] == 0
    signal_at(5)
    assert cnnlab(*words)[0] == 130
    assert cnnlab("train", "resume=last")[0] == 0
    (whole,) = (here / "whole" / "train").iterdir()
    assert curves(only_run(here)) == curves(whole)
    assert have_same_weights(only_run(here), whole)
