"""The wheel that users install contains the configuration and runs outside the checkout."""

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
RunCnnlab = Callable[..., str]


def install_wheel(folder: Path) -> Path:
    """Build the wheel and install it into a new environment of the folder; return its bin folder.

    cnnlab's requirements are taken from the environment of the tests."""
    build = [sys.executable, "-m", "build", "--wheel", "-o", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    programs = folder / "venv" / "bin"
    pip = [programs / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    # After the new environment's own packages on the path.
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunCnnlab]:
    """A folder with the installed wheel, and its `cnnlab`, run there: words -> stdout."""
    folder = tmp_path_factory.mktemp("wheel")
    programs = install_wheel(folder)
    missing = str(folder / "none")
    own = {"OMP_NUM_THREADS": "1", "CNNLAB_WEIGHTS": missing, "TORCH_HOME": missing}

    def run(*words: str, **variables: str) -> str:
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        process = subprocess.run(
            [programs / "cnnlab", *words],
            cwd=folder,
            env=inherited | own | variables,
            check=True,
            capture_output=True,
            text=True,
        )
        return process.stdout

    return folder, run


@pytest.mark.slow
def test_installed_wheel_trains(installed: tuple[Path, RunCnnlab]) -> None:
    folder, run = installed
    command = [folder / "venv" / "bin" / "python", "-c", "import cnnlab; print(cnnlab.__file__)"]
    process = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert Path(process.stdout.strip()).is_relative_to(folder / "venv")
    assert "mnist_cnn" in run("train", "-h")
    assert "outputs/train" in run("train", "epochs=2")
    assert "accuracy" in run("eval")
    assert "finished" in run("runs")
    run("train", "-m", "seed=1,2", "epochs=1")
    assert len(list((folder / "outputs" / "train").glob("*_sweep/*/result.json"))) == 2


@pytest.mark.slow
def test_installed_wheel_stylizes_without_weights_and_network(
    installed: tuple[Path, RunCnnlab],
) -> None:
    """Photographs that scikit-learn includes; every connection is refused."""
    from sklearn import datasets

    folder, run = installed
    for name in ("china.jpg", "flower.jpg"):
        shutil.copy(Path(datasets.__file__).parent / "images" / name, folder)
    refused = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    out = run("stylize", "china.jpg", "flower.jpg", "size=192", "first_steps=150", **refused)
    assert "features=bundled" in out and "china_flower.png" in out
    images = ("china_flower.png", "china.jpg", "flower.jpg")
    scores = json.loads(run("stylize", "--score", *images, "--json", **refused))
    assert scores["features"] == "bundled"
    # 1 is the content image's style, and the content of an unrelated image.
    assert scores["style"]["relative"] < 0.15 and scores["content"]["relative"] < 0.9
