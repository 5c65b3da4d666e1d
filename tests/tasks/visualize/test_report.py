from pathlib import Path

import numpy as np
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


def test_the_page_has_the_scores_of_what_is_looked_at(run: Path) -> None:
    """Of an earlier checkpoint, or where the labels have changed since, not those that the run ended with."""
    saved = load_file(run / "test.safetensors")
    saved["logits"] = saved["logits"].roll(1, 0)
    save_file(saved, run / "test.safetensors")
    final, step = shares(saved["logits"], saved["labels"]), load_run(str(run)).step
    assert final in section(run), "the run's own answers"
    write_json(run / "result.json", {"step": 7})
    trained, pictures = load_run(str(run)), digits("test", root=None)
    real = shares(trained(pictures.images), pictures.labels)
    assert real in section(run) and real != final
    write_json(run / "result.json", {"step": step})
    save_file(saved | {"labels": saved["labels"].roll(5)}, run / "test.safetensors")
    assert real in section(run), "other pictures than it was scored on"


def shares(answers: torch.Tensor, labels: torch.Tensor) -> str:
    correct = int((answers.argmax(1) == labels).sum())
    return f"test accuracy {correct / len(labels):.2%} ({correct} of 360;"


def section(run: Path) -> str:
    """What the page says of the scores."""
    settings = call_checked(VisualizeSettings, compose("visualize", []), "")
    look = RunContext(
        load_run(str(run)), settings, torch.device("cpu"), FigureLog(run / "visualize", "all", 0)
    )
    text = build_scores_section(look).text
    look.figure_log.close()
    return text


def test_names_with_markup_stay_names(cnnlab: Cnnlab, here: Path) -> None:
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
        "visualize", "invariance.count=4", "invariance.shifts=[0,1]", "activation_maximization.steps=2"
    )
    assert (code, err) == (0, "")
    (page,) = here.glob("outputs/train/*/visualize/*/report.html")
    text = page.read_text()
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_run_from_before_the_record_had_everything_is_still_looked_at(
    cnnlab: Cnnlab, run: Path
) -> None:
    (run / "test.safetensors").unlink()
    write_json(run / "result.json", {})
    code, out, err = cnnlab("visualize", "activation_maximization.steps=2", "invariance.count=4")
    assert (code, err) == (0, "") and "report.html" in out
