import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cnnlab.core import checkpoint, precision
from cnnlab.engine.metrics import classification_report
from cnnlab.tasks.eval.figures import find_confident_mistakes
from tests.conftest import Cnnlab


def get_eval_folder(run: Path) -> Path:
    """Return the only folder below `run`/eval."""
    (folder,) = (run / "eval").iterdir()
    return folder


def test_eval_matches_train_result_exactly(cnnlab: Cnnlab, run: Path) -> None:
    code, out, err = cnnlab("eval", "--json")
    assert (code, err) == (0, "")
    printed, recorded = json.loads(out), json.loads((run / "result.json").read_text())
    assert (
        printed["accuracy"] == recorded["test"]["accuracy"]
        and printed["loss"] == recorded["test"]["loss"]
    )
    code, out, _ = cnnlab("eval", str(run), "split=validation", "--json")
    assert json.loads(out)["accuracy"] == recorded["validation"]["accuracy"]


def test_a_run_is_evaluated_in_its_precision(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "read_cpu_flags", lambda: {"avx512_bf16"})
    words = ["model.filters=[4,4]", "model.hidden=[8]", "epochs=1", "device=cpu"]
    assert cnnlab("train", *words, "precision=bfloat16")[0] == 0
    (run,) = (here / "outputs" / "train").iterdir()
    trained = load_file(run / "test.safetensors")["logits"]
    for flags, name in ({"avx2"}, "float32"), ({"avx512_bf16"}, "bfloat16"):
        monkeypatch.setattr(precision, "read_cpu_flags", lambda flags=flags: flags)
        scores = json.loads(cnnlab("eval", "mistakes=0", "--json")[1])
        logits = load_file(Path(scores["folder"]) / "logits.safetensors")["logits"]
        assert scores["precision"] == name
        assert torch.equal(logits, trained) == (name == "bfloat16")
        torch.testing.assert_close(logits, trained, rtol=0, atol=0.1)


def test_scores_match_saved_logits(cnnlab: Cnnlab, run: Path) -> None:
    assert cnnlab("eval")[0] == 0
    folder = get_eval_folder(run)
    saved = load_file(folder / "logits.safetensors")
    scores = json.loads((folder / "scores.json").read_text())
    expected = json.loads(
        json.dumps(classification_report(saved["logits"], saved["labels"], tuple("0123456789")))
    )
    assert {key: scores[key] for key in expected} == expected
    assert {"environment", "run", "step", "dataset", "split"} <= scores.keys()


def test_single_batch_size(cnnlab: Cnnlab, run: Path) -> None:
    code, out, _ = cnnlab("eval", "single_batch_size=128")
    assert code == 0 and "1,000 single batches of 128: mean " in out
    scores = json.loads((get_eval_folder(run) / "scores.json").read_text())
    single = scores["single_batches"]
    assert (
        single["mean"] == pytest.approx(scores["accuracy"], abs=0.01)
        and single["best"] > scores["accuracy"]
    )
    code, _, err = cnnlab("eval", "single_batch_size=361")
    assert (
        code == 2
        and "single_batch_size: a batch must hold between 1 and 360 images, not 361" in err
    )


def test_figures_are_saved_with_their_numbers(cnnlab: Cnnlab, run: Path) -> None:
    assert cnnlab("eval", "mistakes=3")[0] == 0
    figures = get_eval_folder(run) / "figures"
    assert sorted(path.name for path in figures.iterdir()) == [
        f"{name}.{kind}"
        for name in ("confusion", "mistakes", "reliability")
        for kind in ("json", "png")
    ]
    assert len(json.loads((figures / "mistakes.json").read_text())) == 3


def test_table_fits_80_columns(cnnlab: Cnnlab, run: Path) -> None:
    _, out, _ = cnnlab("eval")
    table = out[out.index("digits test") :].splitlines()
    assert "95 % interval" in table[0] and "calibration error" in table[1]
    assert all(len(line) <= 80 for line in table[:14])
    assert [line.split()[0] for line in table[4:14]] == list("0123456789")


@pytest.mark.slow
def test_eval_of_earlier_checkpoint(cnnlab: Cnnlab, run: Path) -> None:
    assert json.loads(cnnlab("eval", "checkpoint=25", "--json")[1])["step"] == 25
    assert json.loads(cnnlab("eval", "checkpoint=best", "--json")[1])["step"] in (25, 50)


def test_most_confident_mistakes_are_first() -> None:
    logits = torch.tensor([[5.0, 0.0], [0.0, 3.0], [0.0, 9.0], [2.0, 0.0]])
    mistakes = find_confident_mistakes(logits, torch.tensor([0, 0, 0, 1]), ("a", "b"), 2)
    assert [(row["index"], row["predicted"], row["label"]) for row in mistakes] == [
        (2, "b", "a"),
        (1, "b", "a"),
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 2, "no run nowhere; `cnnlab runs` lists what there is"),
        (["."], 2, ". is not a run's folder\n`cnnlab runs` lists what there is"),
        (["checkpoint=7"], 2, "checkpoint '7' is not one of 25, 50, best, last"),
        (["split=tset"], 2, "split must be one of test, validation, train, not 'tset'"),
        (["batch_size=0"], 2, "batch_size must be at least 1, not 0"),
        (["a", "b"], 2, "eval takes one run, not a, b"),
    ],
)
def test_invalid_arguments_raise_one_line_errors(
    cnnlab: Cnnlab, run: Path, words: list[str], code: int, message: str
) -> None:
    assert cnnlab("eval", *words) == (code, "", f"cnnlab: {message}\n")
    assert not (run / "eval").exists()


def test_damaged_or_missing_checkpoint_raises(cnnlab: Cnnlab, run: Path) -> None:
    path = checkpoint.find_checkpoint(run / "checkpoints", "last")
    path.write_bytes(path.read_bytes()[:5000])
    code, out, err = cnnlab("eval")
    assert (code, out) == (
        1,
        "",
    ) and "step_000000050.safetensors is not a complete checkpoint" in err
    assert err.splitlines()[1:] == ["checkpoint=25 selects the one before"]
    shutil.rmtree(run / "checkpoints")
    code, _, err = cnnlab("eval", str(run))
    assert code == 1 and "no checkpoint in" in err
