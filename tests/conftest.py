"""Shared fixtures: a working folder, the command line, a tiny trained run, and the real data."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cnnlab.cli import main
from cnnlab.core.signals import STOP_SIGNALS, restore_handlers
from cnnlab.data.sources import get_data_root
from cnnlab.launch import launch
from tests.fork_server import Forks

torch.set_num_threads(1)  # the networks here are small, and bits depend on the number of threads
TINY = ["epochs=2", "model.filters=[4,4]", "model.hidden=[8]", "log_every=10"]


def pytest_collection_finish() -> None:
    """Exempt the imported modules from garbage collection, which takes a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def quiet_torch() -> Iterator[None]:
    """Switch off deterministic algorithms, which a test may have switched on."""
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
    """The command line in this process: arguments -> (exit code, stdout, stderr)."""

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnnlab", *words])
        capsys.readouterr()
        code = 0
        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            restore_handlers(handlers)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a very small network on digits. Read-only."""

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
    server = Forks()
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def real_data() -> Path:
    """The folder with MNIST and CIFAR-10; skips where they are missing."""
    root = get_data_root(None)
    if not (root / "MNIST" / "raw").exists() or not (root / "cifar-10-batches-py").exists():
        pytest.skip(f"MNIST and CIFAR-10 are not in {root}: set CNNLAB_DATA")
    return root


@pytest.fixture
def real_style() -> tuple[Path, Path]:
    """The folders with trained convolutions and with images; skips where they are missing."""
    weights = Path(os.environ.get("CNNLAB_WEIGHTS") or "/nonexistent")
    images = Path(os.environ.get("CNNLAB_PICTURES") or "/nonexistent")
    files = (weights / "vgg19_quarter.safetensors", images / "tubingen.jpg")
    if not all(file.exists() for file in files):
        pytest.skip("no trained convolutions or images: set CNNLAB_WEIGHTS and CNNLAB_PICTURES")
    return weights, images
