"""Folders of small pictures, made for a test."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnlab.data.image_folder import FolderImageSet, image_folder

ROOT = Path(__file__).resolve().parents[2]
OURS = {"size": 8, "depth": 3, "test": 0.2, "test_seed": 0, "workers": 0, "skip_broken": False}
OURS |= {"max_pixels": 10_000, "max_images": 1000}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verdicts on broken pictures are kept, in a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnnlab" / "checked"


def draw(
    path: Path, seed: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: Any
) -> Path:
    """A picture of noise in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of ten pictures each."""
    for c, name in enumerate(("ant", "bee", "cat")):
        for i in range(10):
            draw(tmp_path / "root" / name / f"{i}.png", 100 * c + i)
    return tmp_path / "root"


def load(root: Path, split: str = "train", **changes: Any) -> FolderImageSet:
    return image_folder(split, root=str(root), **OURS | changes)  # type: ignore[arg-type]


def names(files: FolderImageSet) -> set[str]:
    return {
        os.path.relpath(path, files.paths[0].rsplit("root", 1)[0] + "root") for path in files.paths
    }
