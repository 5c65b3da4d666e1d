import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.core.image_formats import SUFFIXES_BY_FORMAT
from cnnlab.data.dataset import gather_images
from tests.data.conftest import load_folder, write_noise


def test_folder_names_are_classes_and_pixels_match_files(root: Path) -> None:
    files = load_folder(root)
    assert files.classes == ("ant", "bee", "cat") and files.shape == (3, 8, 8) and len(files) == 24
    for i in (0, 10, 23):
        expected = np.asarray(Image.open(files.paths[i]))
        assert np.array_equal(gather_images(files, [i])[0].permute(1, 2, 0).numpy(), expected)
        assert files.classes[files.labels[i]] == Path(files.paths[i]).parent.name


def test_fingerprint_is_that_of_earlier_versions_where_nothing_is_drawn(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("train/a", "train/b", "val/a", "val/b"):
        write_noise(root / name / "0.png")
    write_noise(root / "train" / "a" / "1.png")
    assert str(load_folder(root, test=1).fingerprint).startswith("stratified:")
    for name in ("test/a", "test/b"):
        write_noise(root / name / "0.png")
    digest = hashlib.sha256()
    for label, path in (
        (0, "train/a/0.png"),
        (0, "train/a/1.png"),
        (1, "train/b/0.png"),
        (0, "val/a/0.png"),
        (1, "val/b/0.png"),
    ):
        digest.update(f"{label} {path!a} {(root / path).stat().st_size}\n".encode())
    assert load_folder(root).fingerprint == digest.hexdigest()
    assert load_folder(root, "test").fingerprint is None


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("size", [64, 48])
def test_tiny_imagenet_matches_torchvision(real_data: Path, size: int) -> None:
    from torchvision import datasets, transforms

    folder = real_data / "tiny_imagenet" / "val"
    if not folder.exists():
        pytest.skip(f"tiny_imagenet is not in {real_data}")
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()]
    expected = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    files = load_folder(folder, size=size, test=1, max_pixels=10**6, max_images=10**6, workers=2)
    assert files.classes == tuple(expected.classes)
    where = {path: i for i, (path, _) in enumerate(expected.samples)}
    for i in range(0, len(files), 97):
        image, label = expected[where[files.paths[i]]]
        assert torch.equal(gather_images(files, [i])[0], image) and int(files.labels[i]) == label


def test_every_readable_suffix_is_trained_on(root: Path) -> None:
    for name, suffixes in SUFFIXES_BY_FORMAT.items():
        if name not in ("HEIF", "PSD", "SUN"):  # Pillow cannot write these
            for suffix in suffixes:
                write_noise(root / "ant" / f"x{suffix.upper()}", 1, (16, 16), format=name)
    names = {
        Path(path).name for split in ("train", "test") for path in load_folder(root, split).paths
    }
    assert {"x.JFIF", "x.JPE", "x.AVIF", "x.JP2", "x.TGA", "x.APNG"} <= names
