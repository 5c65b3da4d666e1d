"""A folder of content images."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def photos(image_folder: Path) -> Path:
    """A folder with three content images of one size, and two other files."""
    folder = image_folder / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.jpg", "c.PNG")):
        image = Image.open(image_folder / "photo.png").rotate(180 * (number % 2))
        image.save(folder / name, format="JPEG" if name.endswith("jpg") else "PNG")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder
