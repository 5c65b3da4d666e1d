"""Fixtures: folders of small images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.data.image_folder import FolderImageSet, image_folder

ROOT = Path(__file__).resolve().parents[2]
FOLDER_SETTINGS = {
    "size": 8,
    "depth": 3,
    "test": 0.2,
    "test_seed": 0,
    "workers": 0,
    "skip_broken": False,
    "max_pixels": 10_000,
    "max_images": 1000,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a temporary cache of the checks for broken images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnnlab" / "checked"


def write_noise(
    path: Path, seed: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: Any
) -> Path:
    """Write an image of noise to a file; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with three classes of ten images each."""
    for label, name in enumerate(("ant", "bee", "cat")):
        for i in range(10):
            write_noise(tmp_path / "root" / name / f"{i}.png", 100 * label + i)
    return tmp_path / "root"


def load_folder(root: Path, split: str = "train", **changes: Any) -> FolderImageSet:
    """Load a folder with `FOLDER_SETTINGS`, but for `changes`."""
    return image_folder(split, root=str(root), **FOLDER_SETTINGS | changes)  # type: ignore[arg-type]


def list_relative_paths(files: FolderImageSet) -> set[str]:
    """Return the paths of the images relative to the folder `root`."""
    root = files.paths[0].rsplit("root", 1)[0] + "root"
    return {os.path.relpath(path, root) for path in files.paths}
