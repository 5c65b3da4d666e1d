"""The developers' scripts: benchmarks, code statistics, figures of results."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
BENCHMARKS = runpy.run_path(str(SCRIPTS / "bench"))["BENCHMARKS"]


def run_script(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / words[0]), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return runpy.run_path(str(SCRIPTS / "benchmarks" / "harness.py"))


def test_bench_lists_every_benchmark() -> None:
    process = run_script("bench")
    assert process.returncode == 0
    modules = {path.stem for path in (SCRIPTS / "benchmarks").glob("*.py")}
    helpers = {"__init__", "harness", "peer_style_transfer", "stylize_runs", "stylize_tables"}
    helpers.add("transfer_job")
    assert set(BENCHMARKS) == modules - helpers
    for name in BENCHMARKS:
        assert f"\n  {name} " in process.stdout


def test_bench_rejects_unknown_names_and_names_the_nearest() -> None:
    process = run_script("bench", "trian")
    assert process.returncode == 2
    assert process.stderr == "error: no benchmark 'trian'\ntry: train\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_has_help(name: str) -> None:
    process = run_script("bench", name, "--help")
    assert process.returncode == 0 and "--json" in process.stdout, process.stderr


def test_candidates_alternate_and_warm_up_does_not_count(harness: dict) -> None:
    calls: list[str] = []

    def measure(name: str) -> float:
        calls.append(name)
        return len(calls)

    candidates = {"a": lambda: measure("a"), "b": lambda: measure("b")}
    values = harness["measure_alternately"](candidates, 2, warm_up_rounds=1)
    assert calls == ["a", "b"] * 3
    assert values == {"a": [3, 5], "b": [4, 6]}


def test_ratios_are_medians_by_round(harness: dict) -> None:
    rates = {"a": [10.0, 30.0, 20.0], "b": [5.0, 10.0, 20.0]}
    by_rate = harness["summarize"](rates, "a", higher_is_better=True)
    assert by_rate["b"]["ratio_rounds"] == [2, 3, 1] and by_rate["b"]["ratio"] == 2
    assert (by_rate["a"]["median"], by_rate["a"]["min"], by_rate["a"]["max"]) == (20, 10, 30)
    by_seconds = harness["summarize"](rates, "a")
    assert by_seconds["b"]["ratio_rounds"] == [1 / 2, 1 / 3, 1]
    assert "ratio" not in by_seconds["a"]


@pytest.mark.slow
def test_bench_train_writes_values_with_command_and_machine(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    options = ("--rounds", "1", "--seconds", "0.05", "--device", "cpu", "--json", str(path))
    process = run_script("bench", "train", "digits_cnn", *options)
    assert process.returncode == 0, process.stderr
    assert "| `digits_cnn` |" in process.stdout
    record = json.loads(path.read_text())
    assert record["benchmark"] == "train" and record["options"]["rounds"] == 1
    (row,) = record["results"]
    assert set(row["images_per_s"]) == {"cnnlab", "plain", "bare", "ReLU first"}
    assert row["times_plain"] == row["images_per_s"]["plain"]["ratio"]
    environment = record["environment"]
    assert {"commit", "packages", "processor", "cores"} <= set(environment)
    assert environment["command"][1:4] == [str(SCRIPTS / "bench"), "train", "digits_cnn"]


def test_code_statistics_counts_functions_and_repeated_names(tmp_path: Path) -> None:
    package = tmp_path / "cnnlab"
    package.mkdir()
    function = 'def f():\n    """Return 1.\n\n    A line.\n    """\n    return 1\n'
    (package / "a.py").write_text(function + "\n\ndef run():\n    pass\n")
    skipped = "x = [1,2]  # fmt: skip\n"
    (package / "b.py").write_text(function + skipped + f"y = '{'-' * 100}'\n\n\ndef run(): ...\n")
    process = run_script("code_statistics", str(tmp_path), "--json")
    assert process.returncode == 0, process.stderr
    statistics = json.loads(process.stdout)["cnnlab"]
    assert (statistics["files"], statistics["functions"]) == (2, 4)
    assert statistics["function_lines"] == {"median": 6, "p90": 6, "max": 6}
    assert statistics["function_lines_without_docstring"] == {"median": 2, "p90": 2, "max": 2}
    assert (statistics["long_lines"], statistics["fmt_skip"]) == (1, 1)
    assert statistics["repeated_names"] == {"f": ["cnnlab/a.py", "cnnlab/b.py"]}
    assert "f: cnnlab/a.py, cnnlab/b.py" in run_script("code_statistics", str(tmp_path)).stdout


@pytest.mark.slow
def test_same_results_hashes_are_equal_for_one_checkout() -> None:
    process = run_script("same_results", str(ROOT), str(ROOT))
    assert process.returncode == 0, process.stderr
    half = process.stdout.splitlines()
    assert half[: len(half) // 2] == half[len(half) // 2 :]


def test_results_table_has_a_row_per_run_name(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 0.98), (2, 0.99)):
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        (folder / "config.yaml").write_text(f"{{name: best, seed: {seed}, model: {{name: m}}}}\n")
        result = {"test": {"accuracy": accuracy}, "seconds": 60 * seed}
        (folder / "result.json").write_text(json.dumps(result))
    expected = "| `m` | `cnnlab train -m experiment=best seed=1,2` | - | 98.50 % ± 0.71 |"
    out = run_script("results_table", str(tmp_path)).stdout
    assert out == f"{expected} 98.00, 99.00 | 2.0 |\n"


def test_comments_of_the_configuration_are_those_of_the_settings() -> None:
    process = run_script("config_comments", "--check")
    assert process.returncode == 0, process.stderr
