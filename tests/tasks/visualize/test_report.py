from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cnnlab.config import compose
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import write_json
from cnnlab.core.schema import call_checked
from cnnlab.data.sources import digits
from cnnlab.tasks.trained_run import load_run
from cnnlab.tasks.visualize.context import RunContext
from cnnlab.tasks.visualize.report import build_scores_section
from cnnlab.tasks.visualize.settings import VisualizeSettings
from tests.conftest import TINY, Cnnlab


@pytest.mark.slow
def test_scores_are_of_the_loaded_checkpoint_and_labels(run: Path) -> None:
    """Those that the run saved are ignored for an earlier checkpoint and for changed labels."""
    saved = load_file(run / "test.safetensors")
    saved["logits"] = saved["logits"].roll(1, 0)
    save_file(saved, run / "test.safetensors")
    final, step = format_accuracy(saved["logits"], saved["labels"]), load_run(str(run)).step
    assert final in read_scores(run), "the run's own predictions"
    write_json(run / "result.json", {"step": 7})
    trained, images = load_run(str(run)), digits("test", root=None)
    real = format_accuracy(trained(images.images), images.labels)
    assert real in read_scores(run) and real != final
    write_json(run / "result.json", {"step": step})
    save_file(saved | {"labels": saved["labels"].roll(5)}, run / "test.safetensors")
    assert real in read_scores(run), "other labels than it was evaluated on"


def format_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> str:
    correct = int((logits.argmax(1) == labels).sum())
    return f"test accuracy {correct / len(labels):.2%} ({correct} of 360;"


def read_scores(run: Path) -> str:
    """Return the text of the report's scores section."""
    settings = call_checked(VisualizeSettings, compose("visualize", []), "")
    context = RunContext(
        load_run(str(run)), settings, torch.device("cpu"), FigureLog(run / "visualize", "all", 0)
    )
    text = build_scores_section(context).text
    context.figure_log.close()
    return text


def test_names_with_markup_are_escaped(cnnlab: Cnnlab, here: Path) -> None:
    """A class that is a script, a run's name in mathematics: on the page they are text."""
    bad = "<img src=x onerror=alert(1)> a$b^$c"
    rng = np.random.default_rng(0)
    for name in (bad, "b & c"):
        (here / "photos" / name).mkdir(parents=True)
        for i in range(30):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
                here / "photos" / name / f"{i}.png"
            )
    words = [
        "model=cifar_cnn",
        "dataset=folder",
        "dataset.root=photos",
        "dataset.size=16",
        "augment=none",
        *TINY,
    ]
    assert cnnlab("train", *words, "threads=1", "batch_size=8", "dataset.workers=0")[0] == 0
    code, _, err = cnnlab(
        "visualize",
        "invariance.count=4",
        "invariance.shifts=[0,1]",
        "activation_maximization.steps=2",
    )
    assert (code, err) == (0, "")
    (page,) = here.glob("outputs/train/*/visualize/*/report.html")
    text = page.read_text()
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;" in text


@pytest.mark.slow
def test_a_run_without_saved_predictions_is_reported(cnnlab: Cnnlab, run: Path) -> None:
    (run / "test.safetensors").unlink()
    write_json(run / "result.json", {})
    code, out, err = cnnlab("visualize", "activation_maximization.steps=2", "invariance.count=4")
    assert (code, err) == (0, "") and "report.html" in out
