from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data.dataset import gather_images
from tests.data.conftest import load_folder


def test_folder_names_are_classes_and_pixels_match_files(root: Path) -> None:
    files = load_folder(root)
    assert files.classes == ("ant", "bee", "cat") and files.shape == (3, 8, 8) and len(files) == 24
    for i in (0, 10, 23):
        expected = np.asarray(Image.open(files.paths[i]))
        assert np.array_equal(gather_images(files, [i])[0].permute(1, 2, 0).numpy(), expected)
        assert files.classes[files.labels[i]] == Path(files.paths[i]).parent.name


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
