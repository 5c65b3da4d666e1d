"""The commands and examples in the README and the docs work."""

import math
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from typer.main import get_command

from cnnlab.cli.arguments import qualify_style_image
from cnnlab.cli.verbs import app
from cnnlab.config import compose, list_groups
from cnnlab.core.schema import call_checked
from cnnlab.data.augment import OPERATIONS, Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.operation import Op
from cnnlab.models import MODELS, build_model
from cnnlab.models.layers import named_sequential
from cnnlab.tasks.eval.settings import EvalSettings
from cnnlab.tasks.predict.settings import PredictSettings
from cnnlab.tasks.train.settings import TrainSettings
from tests.conftest import Cnnlab

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
README = (ROOT / "README.md").read_text()
EXTENDING_PAGE = (ROOT / "docs" / "extending.md").read_text()


def find_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


SHELL_LINES = [
    line
    for page in PAGES
    for block in find_blocks(page.read_text(), "sh")
    for line in block.splitlines()
    if line.strip()
]
COMMANDS = [shlex.split(line, comments=True) for line in SHELL_LINES]
DISTINCT = dict.fromkeys(tuple(words[1:]) for words in COMMANDS if words[0] == "cnnlab")
CNNLAB_COMMANDS = [list(words) for words in DISTINCT]
TABLE_COMMANDS = [line.split() for line in re.findall(r"`cnnlab (train [^`]+)`", README)]
SETTINGS = {"train": TrainSettings, "eval": EvalSettings, "predict": PredictSettings}


def first_overrides(words: list[str]) -> list[str]:
    """Return the overrides of a command; of a sweep, the first value of each."""
    return [word.partition(",")[0] for word in words if "=" in word]


def test_pages_contain_commands() -> None:
    assert len(CNNLAB_COMMANDS) >= 10 and len(TABLE_COMMANDS) >= 3


@pytest.mark.parametrize("words", [*CNNLAB_COMMANDS, *TABLE_COMMANDS], ids=" ".join)
def test_command_composes_and_its_flags_are_in_the_help(words: list[str], cnnlab: Cnnlab) -> None:
    command = words[0]
    if command in SETTINGS:
        overrides = first_overrides(words[1:])
        overrides = qualify_style_image(overrides) if command == "train" else overrides
        config = compose(command, overrides)
        call_checked(SETTINGS[command], config, "")
    code, out, _ = cnnlab(command, "-h")
    assert code == 0
    for flag in (word for word in words if word.startswith("-")):
        assert flag in out


def test_scripts_of_the_readme_are_executable() -> None:
    scripts = {words[0] for words in COMMANDS if words[0].startswith("./")}
    assert scripts == {"./scripts/quickstart", "./scripts/test"}
    for name in scripts:
        assert (ROOT / name).stat().st_mode & 0o111


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists() or is_generated(page.parent / target), target


def is_generated(page: Path) -> bool:
    """Return whether the documentation's build makes the page, of a command or a group."""
    kind, name = page.resolve().relative_to(DOCS / "reference").parts
    commands = get_command(app).commands
    return page.stem in {"commands": commands, "groups": list_groups()}[kind] and name[-3:] == ".md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_scripts_and_tests_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"\bscripts/(\w+)", text):
        assert (ROOT / "scripts" / name).exists(), name
    for name in re.findall(r"scripts/bench (\w+)", text):
        assert (ROOT / "scripts" / "benchmarks" / f"{name}.py").exists() or name == "NAME", name
    for name in re.findall(r"`((?:[\w/]+/)?test_\w+\.py)`", text):
        assert any(path.match(name) for path in (ROOT / "tests").rglob("test_*.py")), name


@pytest.fixture
def example_images(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image files that the commands name, in the working folder; only the bundled data set."""
    from PIL import Image

    from cnnlab.data.sources import digits

    monkeypatch.setenv("CNNLAB_DATA", str(here))  # `bench` skips missing data sets
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")  # which `bench` sets too, so that it is reset here
    for label in "01":
        (here / "photos" / label).mkdir(parents=True)
        for i in range(80):
            Image.new("L", (80, 70), 3 * i).save(here / "photos" / label / f"{i}.png")
    for name in ("digit.png", "scan.jpg"):
        Image.fromarray(digits("test", root=None).images[0, 0].numpy()).save(name)
    (here / "holiday").mkdir()
    for name in ("photo.jpg", "painting.jpg", "sky.png", "any.png", "holiday/beach.jpg"):
        Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 20).convert("RGB").save(name)
    frames = [Image.new("RGB", (64, 48), color) for color in ("navy", "teal")]
    frames[0].save("clip.gif", save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.slow
@pytest.mark.usefixtures("example_images")
def test_quick_commands_run(cnnlab: Cnnlab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need no data beyond the digits, with shorter trainings and transfers."""
    # Other data, or in tests of their own.
    excluded = ("mnist", "cifar", "fixed_filters", "resume", "single_batch", "--reproduce")
    commands = [
        words
        for words in CNNLAB_COMMANDS
        if not any(part in word for word in words for part in excluded)
    ]
    assert len(commands) >= 8
    quick_transfer = ["features.name=random", "size=48", "coarsest=40", "steps=2", "first_steps=2"]
    shorter = {"train": ["epochs=2"], "bench": ["seconds=0.05"], "stylize": quick_transfer}
    monkeypatch.setattr("cnnlab.engine.roofline.MEASURE_SECONDS", 0.02)
    for words in commands:
        applies_network = words[0] == "stylize" and "last" in words
        code, out, err = cnnlab(*words, *([] if applies_network else shorter.get(words[0], [])))
        assert code == 0 and out, f"{' '.join(words)}: {err}"


@pytest.fixture
def examples() -> dict[str, object]:
    """The functions that docs/extending.md defines, by name."""
    scope: dict[str, object] = {"nn": nn, "math": math, "named_sequential": named_sequential}
    scope |= {"torch": torch, "Op": Op, "Shape": tuple}
    for code in find_blocks(EXTENDING_PAGE, "python"):
        exec(code, scope)
    return scope


def test_example_model_builds(examples: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "linear", examples["linear"])
    (text,) = find_blocks(EXTENDING_PAGE, "yaml")
    model = build_model(yaml.safe_load(text)["model"], (1, 28, 28), 10)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_example_operation_changes_gamma(
    examples: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATIONS, "gamma", examples["gamma"])
    images = torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4)
    rng = CounterRNG(0, 0, torch.arange(2))
    power = 1.5 ** (2 * rng.uniform("gamma", 1) - 1)
    always = Pipeline({"gamma": {"most": 1.5}}, "augment.train")(images, rng)
    torch.testing.assert_close(always, (images / 255) ** power.view(2, 1, 1, 1))
    never = Pipeline({"gamma": {"most": 1.5, "probability": 0.0}}, "augment.train")(images, rng)
    assert torch.equal(never, images / 255)
