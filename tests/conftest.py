"""What several tests share: a place to run in, one tiny trained run, and the real data where they are."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cnnlab.cli import verbs
from cnnlab.data.sources import get_data_root
from cnnlab.launch import launch
from tests.forks import Forks

torch.set_num_threads(1)  # the networks here are small, and bits depend on the number of threads
TINY = ["epochs=2", "model.filters=[4,4]", "model.hidden=[8]", "log_every=10"]


@pytest.fixture(autouse=True)
def quiet_torch() -> Iterator[None]:
    """What a test may have switched on is switched off again."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


Cnnlab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cnnlab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cnnlab:
    """The command line in this process: words -> (exit code, stdout, stderr)."""

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnnlab", *words])
        capsys.readouterr()
        code = 0
        try:
            verbs.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a very small network on digits: its folder. Not to be written to."""

    root = tmp_path_factory.mktemp("tiny")
    before = Path.cwd()
    os.chdir(root)
    try:
        launch("train", TINY)
    finally:
        os.chdir(before)
    return next((root / "outputs" / "train").iterdir())


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """The command line as real processes."""
    made = Forks()
    yield made
    made.server.kill()
    made.server.wait()


@pytest.fixture
def real_data() -> Path:
    """The folder with MNIST and CIFAR-10, or a skip that says what is missing."""
    root = get_data_root(None)
    if not (root / "MNIST" / "raw").exists() or not (root / "cifar-10-batches-py").exists():
        pytest.skip(f"the real MNIST and CIFAR-10 are not in {root}: set CNNLAB_DATA")
    return root


@pytest.fixture
def real_style() -> tuple[Path, Path]:
    """The folders with trained convolutions and with pictures, or a skip that says what is missing."""
    places = [
        Path(os.environ.get(key) or "/nonexistent") for key in ("CNNLAB_WEIGHTS", "CNNLAB_PICTURES")
    ]
    if (
        not (places[0] / "vgg19_quarter.safetensors").exists()
        or not (places[1] / "tubingen.jpg").exists()
    ):
        pytest.skip(
            "trained convolutions and pictures are not here: set CNNLAB_WEIGHTS and CNNLAB_PICTURES"
        )
    return places[0], places[1]
