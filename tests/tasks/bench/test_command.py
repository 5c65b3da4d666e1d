import json
from pathlib import Path

import pytest
import torch

from cnnlab.engine import roofline
from tests.conftest import Cnnlab

TINY = ["model.filters=[4,4]", "model.hidden=[8]", "log_every=5", "seconds=0.05"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "MEASURE_SECONDS", 0.05)
    monkeypatch.setitem(roofline.MATMUL_SIZE, "cpu", 256)


def test_one_model_and_where_its_time_goes(cnnlab: Cnnlab, here: Path) -> None:
    code, out, err = cnnlab("bench", "model=digits_cnn", *TINY, "batch_sizes=[10,20]", "--profile")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    (folder,) = (here / "outputs" / "bench").iterdir()
    found = json.loads((folder / "bench.json").read_text())
    assert (
        sum(found["host"].values()) == pytest.approx(1)
        and found["steps"] % 5 == 0
        and found["device"] == {}
    )
    rate = (
        found["training_operations"]
        * found["training_pictures_per_s"]
        / found["ceilings"]["float32"]
    )
    assert found["training_share"] == pytest.approx(rate)
    assert found["step_s"] == pytest.approx(found["batch_size"] / found["training_pictures_per_s"])
    assert set(found["batch_sizes"]) == {"10", "20"} and found["environment"]["packages"]["torch"]
    trace = json.loads((folder / "trace.json").read_text())
    assert any("conv" in event.get("name", "") for event in trace["traceEvents"])
    assert f"{found['training_pictures_per_s']:,.0f} pictures/s" in out and "bookkeeping" in out
    assert not (here / "outputs" / "train").exists()


def test_every_model_has_a_line_and_nothing_is_fetched(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnlab.config import list_groups

    monkeypatch.setenv("CNNLAB_DATA", str(here / "empty"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    code, out, err = cnnlab("bench", "seconds=0.05")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert set(list_groups()["model"]) <= set(lines)
    assert "data not here; `cnnlab train model=mnist_cnn` fetches them" in lines["mnist_cnn"]
    assert (
        lines["vgg16"].split(maxsplit=1)[1]
        == "needs your pictures: cnnlab bench model=vgg16 dataset.root=DIR"
    )
    assert lines["digits_cnn"].endswith("%") and out.count("products of matrices") == 1
    code, _, err = cnnlab("bench", "seconds=0.05", "optim.lr=-1")
    assert code == 2 and err == "cnnlab: optim: lr must be above 0, not -1\n"


def test_the_ceiling_is_the_machines_whatever_a_model_asks_for(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        roofline, "measure_peak_flops", lambda device, dtype, threads: asked.append(threads) or 1e9
    )
    monkeypatch.setattr(roofline, "measure_peak_bandwidth", lambda device, threads: 1e9)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert cnnlab("bench", "model=digits_cnn", *TINY, "threads=1")[0] == 0
    torch.set_num_threads(before)
    assert asked == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=digits_cnn", "seconds=0"], "seconds must be above 0, not 0"),
        (["model=digits_cnn", "batch_sizes=[0]"], "batch_sizes must be at least 1 each, not [0]"),
        (
            ["model=digits_cnn", "resume=last"],
            "bench measures a training from its beginning: no resume, no init",
        ),
        (["digits_cnn"], "'digits_cnn' is not KEY=VALUE; for a network say model=digits_cnn"),
        (
            ["model=digits_cnn", "second=1"],
            "unknown key second; did you mean seconds? `cnnlab bench --cfg job` shows",
        ),
    ],
)
def test_a_slip_is_one_line(cnnlab: Cnnlab, here: Path, words: list[str], message: str) -> None:
    code, _, err = cnnlab("bench", *words)
    assert code == 2 and err.startswith(f"cnnlab: {message}") and len(err.splitlines()) == 1
    assert not list(here.iterdir())
