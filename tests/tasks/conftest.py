"""A run to work on, and images to stylize."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.config import compose
from cnnlab.core.schema import call_checked
from cnnlab.launch import launch
from cnnlab.style.source_image import read_source_image
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.vgg import TORCHVISION_CONVENTION, conv_channels, init_random_vgg
from cnnlab.style.vgg_weights import save_vgg_weights
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles
from tests.conftest import Cnnlab

QUICK = ["size=48", "coarsest=30", "steps=3", "first_steps=4", "log_every=2", "preview_every=3"]
QUICK += ["supersampling=1"]
NET = "features.weights=net.safetensors"
# Of a very small style network, on the folder of `make_style_photos`.
STYLE_NETWORK = [
    *("model=style_network", "style=one.png", "dataset=folder", "dataset.root=photos"),
    *("dataset.size=32", "dataset.validation=2", "model.width=4", "model.blocks=1"),
    *("model.margin=0", "log_every=1"),
]
Stylize = Any


@pytest.fixture
def run(tiny_run: Path, here: Path) -> Path:
    """A copy of the tiny run that may be written to, below outputs."""
    return Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))


def make_style_photos(folder: Path) -> Path:
    """Write a style image, one.png, and a folder of seven photographs; return the folder."""
    rng, photos = np.random.default_rng(0), folder / "photos"
    photos.mkdir()
    for path in (folder / "one.png", *(photos / f"{number}.png" for number in range(7))):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((36, 32), Image.Resampling.BICUBIC).save(path)
    return photos


@pytest.fixture(scope="session")
def style_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a very small style network. Read-only."""
    root = tmp_path_factory.mktemp("style")
    make_style_photos(root)
    before = Path.cwd()
    os.chdir(root)
    try:
        words = [word.replace("style=one", "model.style=one") for word in STYLE_NETWORK]
        launch("train", [*words, "epochs=1"])
    finally:
        os.chdir(before)
    return next((root / "outputs" / "train").iterdir())


@pytest.fixture
def image_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a content image, two style images and a network; no weights elsewhere."""
    monkeypatch.setenv("CNNLAB_WEIGHTS", str(here / "nothing"))
    monkeypatch.setenv("TORCH_HOME", str(here / "home"))
    rng = np.random.default_rng(0)
    for name, (width, height) in (("photo", (64, 48)), ("one", (80, 60)), ("two", (50, 70))):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        tint = {"photo": (0.4, 0.6, 1.0)}.get(name, (1.0, 0.5, 0.3))
        image = Image.fromarray((pixels * tint).astype(np.uint8))
        image.resize((width, height), Image.Resampling.BICUBIC).save(here / f"{name}.png")
    channels = conv_channels((2, 2, 4, 2, 1), (4, 6, 6, 8, 8))
    tensors = init_random_vgg(channels, torch.Generator().manual_seed(0))
    save_vgg_weights(here / "net.safetensors", tensors, TORCHVISION_CONVENTION)
    return here


@pytest.fixture
def stylize(image_folder: Path, cnnlab: Cnnlab) -> Stylize:
    """`cnnlab stylize photo.png one.png ...`, quickly -> (stdout, stderr); checks the exit code."""

    def command(
        *words: str, code: int = 0, images: tuple[str, ...] = ("photo.png", "one.png")
    ) -> tuple[str, str]:
        reproduces = any(word in ("--reproduce", "--again") for word in words)
        options = [] if reproduces else QUICK
        exit_code, out, err = cnnlab("stylize", *images, NET, *options, *words)
        assert exit_code == code, err or out
        return out, err

    return command


def pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(name))


def make_settings(content: Path, style: Path, *overrides: str) -> StylizeSettings:
    """The settings of `cnnlab stylize`."""
    images = {"content": str(content), "styles": [str(style)]}
    return call_checked(StylizeSettings, compose("stylize", [*overrides]) | images, "")


def make_job(content: Path, style: Path) -> TransferJob:
    """A quick job with the network of `image_folder`."""
    settings = make_settings(content, style, NET, *QUICK)
    setup = prepare_styles(settings, torch.device("cpu"), allow_download=False)
    return prepare_job(setup, read_source_image(str(content), settings.max_pixels))


def interrupt_at_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Send SIGINT to this process at the end of an optimization step, counted over all images."""
    should_stop, calls = TransferBudget.should_stop, 0

    def interrupt(self: TransferBudget, scale: int, step: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGINT)
        return should_stop(self, scale, step)

    monkeypatch.setattr(TransferBudget, "should_stop", interrupt)
