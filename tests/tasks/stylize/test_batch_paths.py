"""Two processes that stylize into one folder."""

from pathlib import Path

from cnnlab.core.lock import FolderLock
from tests.tasks.conftest import Stylize

FOLDER = ("photos", "one.png")


def test_second_process_of_a_folder_is_refused(stylize: Stylize, photos: Path) -> None:
    """Both would stylize the same images, and save one of the two as a_2.png."""
    lock = FolderLock(make_folder("photos_one"))
    with lock:
        _, err = stylize(images=FOLDER, code=2)
    assert err == (
        "cnnlab: another process is stylizing images into photos_one\n"
        "wait until it has ended, or use another folder: out=DIR\n"
    )
    assert list(Path("photos_one").iterdir()) == []
    stylize(images=FOLDER)  # the lock is released
    assert len(list(Path("photos_one").iterdir())) == 3


def test_lock_is_released_after_a_failure(stylize: Stylize, photos: Path) -> None:
    (photos / "a.png").write_text("not an image")
    for _ in range(2):
        _, err = stylize(images=FOLDER, code=1)
        assert err == "cnnlab: 1 of 3 images failed: a.png\n"


def make_folder(name: str) -> Path:
    Path(name).mkdir()
    return Path(name)
