"""What the README tells a reader to type, works."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from cnnlab.config import compose
from cnnlab.core.schema import call_checked
from cnnlab.tasks.eval.settings import EvalSettings
from cnnlab.tasks.predict.settings import PredictSettings
from cnnlab.tasks.train.settings import TrainSettings
from tests.conftest import Cnnlab

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.splitlines()
    if line.strip()
]
OURS = [words[1:] for words in COMMANDS if words[0] == "cnnlab"]
TABLE = re.findall(r"`cnnlab (train [^`]+)`", README)
SCHEMAS = {
    "train": TrainSettings,
    "eval": EvalSettings,
    "predict": PredictSettings,
}


def overrides(words: list[str]) -> list[str]:
    return [word.partition(",")[0] for word in words if "=" in word]


def test_there_is_something_to_test() -> None:
    assert len(OURS) >= 10 and len(TABLE) >= 3


@pytest.mark.parametrize("words", OURS + [line.split() for line in TABLE], ids=" ".join)
def test_every_command_composes(words: list[str], cnnlab: Cnnlab) -> None:
    verb = words[0]
    if verb in SCHEMAS:
        call_checked(SCHEMAS[verb], compose(verb, overrides(words[1:])), "")
    assert cnnlab(verb, "-h")[0] == 0
    for flag in (word for word in words if word.startswith("-")):
        assert flag in cnnlab(verb, "-h")[1]


def test_every_script_is_there_and_can_be_run() -> None:
    scripts = {words[0] for words in COMMANDS if words[0].startswith("./")}
    assert scripts == {"./scripts/quickstart", "./scripts/test"}
    for name in scripts:
        assert (ROOT / name).stat().st_mode & 0o111


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_the_quick_commands_run(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the tour that need no data beyond the digits, on the default network made to learn for less long."""
    from PIL import Image

    from cnnlab.data.sources import digits

    monkeypatch.setenv("CNNLAB_DATA", str(here))  # `bench` passes over what is not there
    monkeypatch.setenv(
        "CNNLAB_OFFLINE", "1"
    )  # `bench` sets it; so that later tests are without it again
    for label in "01":
        for i in range(80):
            path = here / "photos" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (80, 70), 3 * i).save(path)
    for name in ("digit.png", "scan.jpg"):
        Image.fromarray(digits("test", root=None).images[0, 0].numpy()).save(name)
    (here / "holiday").mkdir()
    for name in ("photo.jpg", "painting.jpg", "any.png", "holiday/beach.jpg"):
        Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 20).convert("RGB").save(name)
    # Other data, or in tests of their own.
    elsewhere = ("mnist", "cifar", "fixed_filters", "resume", "single_batches", "--again")
    quick = [
        words for words in OURS if not any(part in word for word in words for part in elsewhere)
    ]
    assert len(quick) >= 8
    paint = ["features.name=random", "size=48", "coarsest=40", "steps=2", "first_steps=2"]
    shorter = {"train": ["epochs=2"], "bench": ["seconds=0.05"], "stylize": paint}
    monkeypatch.setattr("cnnlab.engine.roofline.MEASURE_SECONDS", 0.02)
    for words in quick:
        code, out, err = cnnlab(*words, *shorter.get(words[0], []))
        assert code == 0 and out, f"{' '.join(words)}: {err}"


def test_the_examples_of_extending_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's model and operation, as they stand there, registered and built."""
    import math

    import torch
    from torch import nn

    from cnnlab.data.augment import OPERATIONS, Pipeline
    from cnnlab.data.counter_rng import CounterRNG
    from cnnlab.data.operation import Op
    from cnnlab.models import MODELS, build_model
    from cnnlab.models.layers import named_sequential

    scope = {
        "nn": nn,
        "math": math,
        "stack": named_sequential,
        "torch": torch,
        "Op": Op,
        "Shape": tuple,
    }
    for code in re.findall(r"```python\n(def .*?)```", README, re.DOTALL):
        exec(code, scope)
    monkeypatch.setitem(MODELS, "linear", scope["linear"])
    (text,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "linear" in block
    ]
    model = build_model(yaml.safe_load(text)["model"], (1, 28, 28), 10)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    monkeypatch.setitem(OPERATIONS, "gamma", scope["gamma"])
    pictures, draws = (
        torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4),
        CounterRNG(0, 0, torch.arange(2)),
    )
    power = 1.5 ** (2 * draws.uniform("gamma", 1) - 1)
    always = Pipeline({"gamma": {"most": 1.5}}, "augment.train")(pictures, draws)
    torch.testing.assert_close(always, (pictures / 255) ** power.view(2, 1, 1, 1))
    never = Pipeline({"gamma": {"most": 1.5, "probability": 0.0}}, "augment.train")(pictures, draws)
    assert torch.equal(never, pictures / 255)
