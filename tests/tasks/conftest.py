"""A run to work on."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def run(tiny_run: Path, here: Path) -> Path:
    """A copy of the tiny run that may be written to, below outputs."""
    return Path(shutil.copytree(tiny_run, here / "outputs" / "train" / tiny_run.name))
