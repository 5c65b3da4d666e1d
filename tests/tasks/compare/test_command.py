import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from cnnlab.core.predictions import read_predictions, write_predictions
from cnnlab.engine.metrics import wilson_interval
from cnnlab.launch import launch
from tests.conftest import TINY, Cnnlab

BATCH_NORMS = "{decay: 0.9, eps: 0.001},null"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train two configurations with two seeds each; return the sweep's folder."""
    import os

    root, before = tmp_path_factory.mktemp("sweep"), Path.cwd()
    os.chdir(root)
    try:
        launch(
            "train",
            [*TINY, "epochs=4", "optim.lr=0.02", f"model.batch_norm={BATCH_NORMS}", "seed=1,2"],
            multirun=True,
        )
    finally:
        os.chdir(before)
    return next((root / "outputs" / "train").glob("*_sweep"))


def rows(run: str, key: str) -> list[tuple[int, float, float]]:
    """Return (step, seconds, value) of the rows of metrics.jsonl with a key."""
    lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["elapsed_s"], line[key]) for line in lines if key in line]


def test_compare_matches_metrics_and_logits(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("compare", str(sweep), "thresholds=[0.2,0.99]", "--json")
    assert code == 0, err
    result = json.loads(out)
    first, second = result["groups"]
    assert [len(group["runs"]) for group in (first, second)] == [2, 2]
    assert first["seeds"] == [1, 2] and "batch_norm.decay=0.9" in first["label"]
    assert result["differences"] == {
        "model.batch_norm.decay": [0.9, None],
        "model.batch_norm.eps": [0.001, None],
    }
    hits = {}
    for group in (first, second):
        table = [rows(run, "validation/accuracy") for run in group["runs"]]
        assert group["curves"]["validation_accuracy"]["mean"] == pytest.approx(
            [sum(row[2] for row in step_rows) / 2 for step_rows in zip(*table, strict=True)]
        )
        crossings = []
        for run in table:
            above = [row[2] >= 0.2 for row in run]
            first_index = next((i for i in range(len(above) - 2) if all(above[i : i + 3])), None)
            if first_index is not None:
                step, seconds, _ = run[first_index]
                crossings.append({"step": step, "seconds": seconds})
        assert group["crossings"]["validation_accuracy"]["0.2"] == crossings
        predictions = [read_predictions(Path(run) / "test.safetensors") for run in group["runs"]]
        hits[group["label"]] = torch.stack(
            [logits.argmax(1) == labels for logits, labels in predictions]
        ).double()
        assert group["test"] == pytest.approx(hits[group["label"]].mean(1).tolist())
        assert group["test_interval_95"] == [
            list(wilson_interval(int(row.sum()), 360)) for row in hits[group["label"]]
        ]
    (pair,) = result["paired_tests"]
    assert pair["difference"] == pytest.approx(
        float((hits[pair["second"]].mean(0) - hits[pair["first"]].mean(0)).mean())
    )
    assert (
        pair["images"] == 360
        and pair["interval_95"][0] < pair["difference"] < pair["interval_95"][1]
    )
    folder = Path(result["folder"])
    assert (
        json.loads((folder / "figures" / "compare.json").read_text())["groups"] == result["groups"]
    )
    assert (folder / "figures" / "compare.png").stat().st_size > 10_000
    assert len(list(folder.glob("curves/*/events.out.tfevents.*"))) == 2


def test_seeds_form_one_group_and_patterns_match_runs(
    sweep: Path, here: Path, cnnlab: Cnnlab
) -> None:
    shutil.copytree(sweep, here / "outputs" / "train" / sweep.name)
    for words in (
        [f"{sweep.name}/[0-3]"],
        ["*_sweep"],
        [f"outputs/train/*_sweep/{n}" for n in (0, 1, 2, 3, 0)],
    ):
        code, out, err = cnnlab("compare", *words)
        assert code == 0, err
        assert out.startswith("cnnlab compare: 4 runs in 2 groups")
        assert max(map(len, out.splitlines()[:-1])) <= 80
    code, out, err = cnnlab("compare", f"{sweep.name}/0", f"{sweep.name}/1")
    assert "2 runs in 1 group" in out and "The settings are the same." in out


def test_paired_test_of_two_runs_is_mcnemar(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    from scipy.stats import binomtest

    _, out, _ = cnnlab("compare", f"{sweep}/0", f"{sweep}/2", "--json")
    hits = [
        torch.eq(
            *(
                t if t.ndim == 1 else t.argmax(1)
                for t in read_predictions(sweep / n / "test.safetensors")
            )
        )
        for n in "02"
    ]
    better, worse = int((hits[1] & ~hits[0]).sum()), int((hits[0] & ~hits[1]).sum())
    assert json.loads(out)["paired_tests"][0]["p_value"] == pytest.approx(
        binomtest(better, better + worse).pvalue
    )


def test_runs_without_logs_are_skipped_or_raise(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    empty = here / "empty"
    shutil.copytree(sweep / "0", empty)
    (empty / "metrics.jsonl").write_text("")
    code, out, err = cnnlab("compare", str(sweep / "1"), str(empty))
    assert code == 0 and out.startswith("cnnlab compare: 1 run in 1 group")
    assert err == f"skipped, nothing logged yet: {empty}\n"
    code, _, err = cnnlab("compare", str(empty))
    assert code == 2 and "nothing to compare" in err and err.count("\n") == 1


def test_runs_without_shared_metric_raise_one_line_error(
    sweep: Path, here: Path, cnnlab: Cnnlab
) -> None:
    for number, key in (("0", "validation"), ("2", "train")):
        shutil.copytree(sweep / number, here / number)
        lines = (here / number / "metrics.jsonl").read_text().splitlines(keepends=True)
        (here / number / "metrics.jsonl").write_text(
            "".join(line for line in lines if f"{key}/loss" in line)
        )
    code, _, err = cnnlab("compare", "0", "2")
    assert (
        code == 2
        and "these runs share no metric: 0 has validation_loss" in err
        and err.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("result.json", "{}"),
        ("result.json", '{"test": null, "validation": {"accuracy": "x"}}'),
        (
            "metrics.jsonl",
            '{"step": 25, "elapsed_s": null, "train/loss": null}\n'
            '{"step": 50, "train/loss": NaN}\n',
        ),
    ],
)
def test_damaged_numbers_are_ignored(
    file: str, text: str, sweep: Path, here: Path, cnnlab: Cnnlab
) -> None:
    for number in "01":
        shutil.copytree(sweep / number, here / number)
    damaged = here / "0" / file
    damaged.write_text(damaged.read_text() + text if file == "metrics.jsonl" else text)
    code, out, err = cnnlab("compare", "0", "1", "--json")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["groups"][0]["test"]) == (2 if file == "metrics.jsonl" else 1)


def test_unreadable_config_raises_one_line_error(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    shutil.copytree(sweep / "0", here / "0")
    for text in ("{}", "[1", "model: 3"):
        (here / "0" / "config.yaml").write_text(text)
        code, _, err = cnnlab("compare", "0")
        assert (
            code == 1
            and err == "cnnlab: 0/config.yaml cannot be read: the run's settings are unknown\n"
        )


def test_run_without_test_logits_has_no_paired_test(
    sweep: Path, here: Path, cnnlab: Cnnlab
) -> None:
    shutil.copytree(sweep / "0", here / "gone")
    (here / "gone" / "test.safetensors").unlink()
    code, out, _ = cnnlab("compare", str(here / "gone"), str(sweep / "2"))
    assert (
        code == 0
        and "no paired test: " in out
        and "gone is not finished, or has no test.safetensors" in out
    )
    code, out, _ = cnnlab("train", f"resume={here / 'gone'}")
    assert code == 0 and (here / "gone" / "test.safetensors").exists(), "it is evaluated again"
    (here / "gone" / "test.safetensors").write_bytes(b"not safetensors")
    code, _, err = cnnlab("compare", str(here / "gone"), str(sweep / "2"))
    assert code == 1 and "does not hold logits and labels" in err and err.count("\n") == 1


def test_different_test_images_have_no_paired_test(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    shutil.copytree(sweep / "0", here / "other")
    logits, labels = read_predictions(here / "other" / "test.safetensors")
    write_predictions(here / "other" / "test.safetensors", logits, labels.flip(0))
    code, out, _ = cnnlab("compare", str(here / "other"), str(sweep / "2"))
    assert code == 0 and "no paired test: they were evaluated on different test images" in out


def test_unfinished_run_has_no_accuracy(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    shutil.copytree(sweep / "0", here / "0")
    state = json.loads((here / "0" / "state.json").read_text())
    (here / "0" / "state.json").write_text(json.dumps(state | {"state": "interrupted"}))
    _, out, _ = cnnlab("compare", "0", "--json")
    (group,) = json.loads(out)["groups"]
    assert group["finished"] == [False] and group["test"] == [] == group["validation"]
    assert " 0/1 " in cnnlab("compare", "0")[1]


def test_different_paths_to_a_run_count_once(sweep: Path, here: Path, cnnlab: Cnnlab) -> None:
    shutil.copytree(sweep / "0", here / "0")
    words = ("0", "./0", str(here / "0"), str(here / "[0]"))
    assert cnnlab("compare", *words)[1].startswith("cnnlab compare: 1 run in 1 group")


def test_run_name_with_dollar_signs_is_not_mathtext(
    sweep: Path, here: Path, cnnlab: Cnnlab
) -> None:
    shutil.copytree(sweep / "0", here / "0")
    path = here / "0" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"name": "cost$x_$"}))
    code, out, err = cnnlab("compare", "0")
    assert (code, err) == (0, "") and "cost$x_$" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no runs to compare: cnnlab compare RUN_OR_SWEEP_OR_PATTERN..."),
        (["nothing_*"], "no run matches nothing_*"),
        (["nothing"], "no run nothing"),
        (["last", "thresholds=[1.5]"], "thresholds must be above 0 and at most 1"),
        (["last", "name=a/b"], "name must be a valid folder name, not 'a/b'"),
        ([""], "no runs to compare: cnnlab compare RUN_OR_SWEEP_OR_PATTERN..."),
        (["last", "treshold=[0.5]"], "unknown key treshold; did you mean thresholds?"),
    ],
)
def test_invalid_arguments_raise_one_line_errors(
    words: list[str], message: str, here: Path, cnnlab: Cnnlab
) -> None:
    code, _, err = cnnlab("compare", *words)
    assert code == 2 and message in err and err.count("\n") == 1 + ("no runs to" in message)


def test_train_multirun_with_compare(here: Path, cnnlab: Cnnlab) -> None:
    """The chapter's figure 5-17 is `cnnlab train -m model=cifar_cnn,cifar_bn --compare`."""
    code, out, err = cnnlab(
        "train", "-m", *TINY, "epochs=1", "model.dropout=0,0.5", "--compare", "outputs=results"
    )
    assert code == 0, err
    assert (
        "cnnlab compare: 2 runs in 2 groups" in out
        and len(list((here / "results" / "compare").iterdir())) == 1
    )
    code, _, err = cnnlab("train", *TINY, "--compare")
    assert code == 2 and "add -m" in err
