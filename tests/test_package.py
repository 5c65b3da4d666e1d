"""The wheel that users install: configs included, and the command line works away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


Run = Callable[..., str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A folder in which the wheel was built and installed, and its `cnnlab`, there -> stdout."""
    here = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "-o", str(here), str(ROOT)], check=True
    )
    (wheel,) = here.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(here / "venv")], check=True)
    python = here / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True
    )
    # What cnnlab needs is lent from the environment of the tests, after the new one's own packages on the path.
    (site,) = (here / "venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*words: str, **more: str) -> str:
        own = {
            "OMP_NUM_THREADS": "1",
            "CNNLAB_WEIGHTS": str(here / "none"),
            "TORCH_HOME": str(here / "none"),
        }
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | own | more
        command = [here / "venv" / "bin" / "cnnlab", *words]
        return subprocess.run(
            command, cwd=here, env=env, check=True, capture_output=True, text=True
        ).stdout

    return here, run


@pytest.mark.slow
def test_the_built_wheel_trains(installed: tuple[Path, Run]) -> None:
    here, run = installed
    python = here / "venv" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import cnnlab; print(cnnlab.__file__)"],
        cwd=here,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(here / "venv")
    assert "mnist_cnn" in run("train", "-h")
    assert "outputs/train" in run("train", "epochs=2")
    assert "accuracy" in run("eval")
    assert "finished" in run("runs")
    run("train", "-m", "seed=1,2", "epochs=1")
    assert len(list((here / "outputs" / "train").glob("*_sweep/*/result.json"))) == 2


@pytest.mark.slow
def test_the_built_wheel_paints_without_any_weights_on_the_disk(
    installed: tuple[Path, Run],
) -> None:
    """Photographs that scikit-learn ships; every connection is refused."""
    from sklearn import datasets

    here, run = installed
    for name in ("china.jpg", "flower.jpg"):
        shutil.copy(Path(datasets.__file__).parent / "images" / name, here)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    out = run("stylize", "china.jpg", "flower.jpg", "size=192", "first_steps=150", **nowhere)
    assert "features=bundled: VGG-19's weights are not here" in out and "china_flower.png" in out
    found = json.loads(
        run(
            "stylize", "--score", "china_flower.png", "china.jpg", "flower.jpg", "--json", **nowhere
        )
    )
    assert (
        found["features"] == "bundled"
        and found["style"]["share"] < 0.15
        and found["content"]["share"] < 0.8
    )
