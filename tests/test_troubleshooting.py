"""docs/troubleshooting.md quotes the messages that the commands print."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Cnnlab

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTES = re.findall(r"```text\n\$ cnnlab (.*)\n((?:.*\n)*?)```", PAGE)
# They need a damaged run, and a network that fails.
UNTESTED = ("eval RUN", "features.name=vgg19")
TESTED = [quote for quote in QUOTES if not any(part in quote[0] for part in UNTESTED)]
DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


def test_at_least_twenty_errors_are_described() -> None:
    assert len(set(re.findall(r"^### (.*)", PAGE, re.MULTILINE))) >= 20


@pytest.fixture
def user_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the images that the page's commands name, and a trained run."""
    monkeypatch.setenv("CNNLAB_DATA", str(here / "data"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    for name in ("photos/cats", "photos/dogs", "one/cats"):
        (here / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(here / name / "1.png")
    for name in ("photo.jpg", "painting.jpg"):
        Image.new("RGB", (40, 40)).save(here / name)
    return here


def arrange(folder: Path, message: str) -> None:
    """Give `photos` what the message is about: a broken file, or splits beside a class."""
    if "broken" in message:
        (folder / "photos/cats/broken.jpg").write_bytes(b"no image")
    if "holds test" in message:
        for old, new in (("cats", "train/cats"), ("dogs", "test/cats")):
            (folder / "photos" / new).parent.mkdir()
            (folder / "photos" / old).rename(folder / "photos" / new)
        (folder / "photos/other").mkdir()
        Image.new("RGB", (40, 40)).save(folder / "photos/other/1.png")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "message"), TESTED, ids=[quote[0] for quote in TESTED])
def test_message_is_the_one_that_is_quoted(
    command: str, message: str, user_folder: Path, tiny_run: Path, cnnlab: Cnnlab
) -> None:
    arrange(user_folder, message)
    words = shlex.split(command)
    if "last" in words or "resume=last" in words:
        words.append(f"outputs={tiny_run.parents[1]}")
    _, out, err = cnnlab(*words)
    printed = (out + err).replace(f"{user_folder}/", "").replace("python -m pytest.", "")
    assert " ".join(DATE.sub("DATE", message).split()) in " ".join(
        DATE.sub("DATE", printed).split()
    )
