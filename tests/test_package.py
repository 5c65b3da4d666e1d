"""The wheel that users install: configs included, and the command line works away from the checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_built_wheel_trains(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    # What cnnlab needs is lent from the environment of the tests, after the new one's own packages on the path.
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*words: str) -> str:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        command = [tmp_path / "venv" / "bin" / "cnnlab", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout

    where = subprocess.run(
        [python, "-c", "import cnnlab; print(cnnlab.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(tmp_path / "venv")
    assert "mnist_cnn" in run("train", "-h")
    assert "outputs/train" in run("train", "epochs=2")
    assert "accuracy" in run("eval")
    assert "finished" in run("runs")
    run("train", "-m", "seed=1,2", "epochs=1")
    assert len(list((tmp_path / "outputs" / "train").glob("*_sweep/*/result.json"))) == 2
