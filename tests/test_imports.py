"""Imports point down, and heavy ones wait until they are needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PACKAGE = Path(__file__).resolve().parents[1] / "cnnlab"
LAYER = {
    "core": 0,
    "__version__": 0,
    "config": 1,
    "config_scan": 1,
    **dict.fromkeys(("models", "data", "projection", "style", "interpret", "viz", "engine"), 1),
    "tasks": 2,
    "multirun": 3,
    "launch": 4,
    "cli": 5,
    "__init__": 6,
    "__main__": 6,
}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """The parts of cnnlab that a file imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "cnnlab"
        ):
            whole = node.module.split(".")
            names += [whole[1]] if len(whole) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [a.name.split(".")[1] for a in node.names if a.name.startswith("cnnlab.")]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = part_of(path)
    for theirs in imported(path):
        assert theirs == mine or LAYER[theirs] < LAYER[mine], (
            f"{path} imports cnnlab.{theirs}: up or across"
        )


def test_the_checker_sees_an_import_that_points_up(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from cnnlab.tasks import runs\n")
    assert imported(bad) == ["tasks"]


@pytest.mark.parametrize("module", ["cnnlab.cli.verbs", "cnnlab.tasks.runs", "cnnlab"])
def test_the_command_line_imports_neither_torch_nor_hydra(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'hydra', 'matplotlib', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_picture_is_said_without_torch(here: Path) -> None:
    code = "import sys; from cnnlab import cli; sys.argv = ['cnnlab', 'stylize', 'absent.png', 'x.png']; cli.main()"
    words = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "\ncnnlab: no picture absent.png\n" in done.stderr
    assert (
        "| typer" in done.stderr and "| torch" not in done.stderr and "| hydra" not in done.stderr
    )


def test_painting_takes_no_more_of_torch_than_it_uses(here: Path) -> None:
    """torch's compiler, which setting what is deterministic imports, and torchvision take a second and a half."""
    for name in ("photo.png", "painting.png"):
        Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 20).convert("RGB").save(name)
    words = [
        "cnnlab",
        "stylize",
        "photo.png",
        "painting.png",
        "features=bundled",
        "size=48",
        "steps=1",
    ]
    code = f"import sys, atexit; from cnnlab import cli; sys.argv = {words}\n"
    code += "atexit.register(lambda: print(*sys.modules)); cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "torch" in loaded and not {"torch._dynamo", "torchvision", "sympy", "matplotlib"} & set(
        loaded
    )
