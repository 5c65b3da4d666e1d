"""A run of version 0.1.0 (tests/fixtures/run_0_1_0: interrupted after step 28) stays usable.

The expected numbers are what that version printed for it.
"""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Cnnlab

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_0_1_0"


@pytest.fixture
def earlier_run(here: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, here / "outputs" / "train" / "earlier"))


def test_an_earlier_run_is_evaluated_to_the_same_scores(earlier_run: Path, cnnlab: Cnnlab) -> None:
    code, out, err = cnnlab("eval", str(earlier_run), "--json")
    assert code == 0, err
    scores = json.loads(out)
    assert scores["step"] == 28 and scores["correct"] == 52
    assert scores["loss"] == pytest.approx(3.0791102024940766, rel=1e-5)


def test_an_earlier_run_resumes_to_its_end(earlier_run: Path, cnnlab: Cnnlab) -> None:
    code, _, err = cnnlab("train", f"resume={earlier_run}")
    assert code == 0, err
    result = json.loads((earlier_run / "result.json").read_text())
    assert result["step"] == 1000
    assert result["test"]["accuracy"] == pytest.approx(0.7833, abs=0.05)


def test_an_earlier_run_classifies_images(earlier_run: Path, cnnlab: Cnnlab) -> None:
    Image.new("L", (8, 8), 255).save("blank.png")
    code, out, err = cnnlab("predict", "blank.png", f"run={earlier_run}", "--format", "csv")
    assert code == 0, err
    assert "blank.png" in out
