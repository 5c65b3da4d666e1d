import json
from pathlib import Path

import pytest
import torch

from cnnlab.config import list_groups
from cnnlab.core import precision
from cnnlab.engine import roofline
from tests.conftest import Cnnlab

TINY = ["device=cpu", "model.filters=[4,4]", "model.hidden=[8]", "log_every=5", "seconds=0.05"]


@pytest.fixture(autouse=True)
def quick_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "MEASURE_SECONDS", 0.05)
    monkeypatch.setitem(roofline.MATMUL_SIZE, "cpu", 256)
    monkeypatch.setitem(roofline.CONV_SIZE, "cpu", (2, 8, 16, 3))


def test_one_model_with_time_by_phase(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("bench", "model=digits_cnn", *TINY, "batch_sizes=[10,20]", "--profile")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    (folder,) = (here / "outputs" / "bench").iterdir()
    result = json.loads((folder / "bench.json").read_text())
    assert sum(result["host"].values()) == pytest.approx(1) and result["device"] == {}
    assert result["steps"] % 5 == 0
    assert all(result["host"][phase] > 0 for phase in result["host"])
    assert 0 < result["timing_overhead"] < 0.2
    rate = result["training_images_per_s"]
    utilization = result["training_flops"] * rate / result["peaks"]["float32"]
    assert result["training_utilization"] == pytest.approx(utilization)
    assert result["step_s"] == pytest.approx(result["batch_size"] / rate)
    assert set(result["batch_sizes"]) == {"10", "20"}
    assert result["environment"]["packages"]["torch"]
    trace = json.loads((folder / "trace.json").read_text())
    assert any("conv" in event.get("name", "") for event in trace["traceEvents"])
    assert f"{rate:,.0f} images/s" in out and "bookkeeping" in out
    assert not (here / "outputs" / "train").exists()


@pytest.mark.slow
def test_every_model_has_a_row_and_nothing_is_downloaded(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_DATA", str(here / "empty"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    code, out, err = cnnlab("bench", "device=cpu", "seconds=0.05")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert set(list_groups()["model"]) <= set(lines)
    expected = "data not found; `cnnlab train model=mnist_cnn` downloads them"
    assert lines["mnist_cnn"].split(maxsplit=1)[1] == expected
    expected = "needs your images: cnnlab bench model=vgg16 dataset.root=DIR"
    assert lines["vgg16"].split(maxsplit=1)[1] == expected
    assert lines["digits_cnn"].endswith("%") and out.count("measured peak: ") == 1
    code, _, err = cnnlab("bench", "device=cpu", "seconds=0.05", "optim.lr=-1")
    assert code == 2 and err == "cnnlab: optim: lr must be above 0, not -1\n"


def test_auto_measures_every_precision_that_the_device_has(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "read_cpu_flags", lambda: {"avx512_bf16"})
    code, out, err = cnnlab("bench", "model=digits_cnn", *TINY, "precision=auto", "one_line=true")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    results = [json.loads(file.read_text()) for file in here.rglob("bench.json")]
    for result in results:
        peak = result["peaks"][result["precision"]]
        utilization = result["training_flops"] * result["training_images_per_s"] / peak
        assert result["training_utilization"] == pytest.approx(utilization)
        assert f"{result['precision']:<9}{50:>6}{result['forward_images_per_s']:>11,.0f}" in out
    assert {result["precision"] for result in results} == {"float32", "bfloat16"}


def test_peaks_are_measured_on_all_threads(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr(
        roofline, "measure_peak_flops", lambda device, dtype, threads: used.append(threads) or 1e9
    )
    monkeypatch.setattr(roofline, "measure_peak_bandwidth", lambda device, threads: 1e9)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert cnnlab("bench", "model=digits_cnn", *TINY, "threads=1")[0] == 0
    torch.set_num_threads(before)
    assert set(used) == {2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=digits_cnn", "seconds=0"], "seconds must be above 0, not 0"),
        (["model=digits_cnn", "batch_sizes=[0]"], "batch_sizes must be at least 1 each, not [0]"),
        (
            ["model=digits_cnn", "resume=last"],
            "bench measures a new training: resume and init do not apply",
        ),
        (["digits_cnn"], "'digits_cnn' is not KEY=VALUE; for a network type model=digits_cnn"),
        (
            ["model=digits_cnn", "second=1"],
            "unknown key second; did you mean seconds? `cnnlab bench --cfg job` shows",
        ),
    ],
)
def test_usage_error_is_one_line(
    cnnlab: Cnnlab, here: Path, words: list[str], message: str
) -> None:
    code, _, err = cnnlab("bench", *words)
    assert code == 2 and err.startswith(f"cnnlab: {message}") and len(err.splitlines()) == 1
    assert not list(here.iterdir())
