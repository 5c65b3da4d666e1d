"""Imports point downward, and heavy packages are imported only when needed."""

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
    "config_safety": 1,
    "config_loader": 2,
    **dict.fromkeys(("models", "data", "projection", "style", "interpret", "viz", "engine"), 1),
    "tasks": 2,
    "multirun": 3,
    "launch": 4,
    "cli": 5,
    "__init__": 6,
    "__main__": 6,
}
FILES = sorted(PACKAGE.rglob("*.py"))


def get_part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def list_imported_parts(path: Path) -> list[str]:
    """Return the parts of cnnlab that a file imports anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "cnnlab"
        ):
            parts = node.module.split(".")
            names += [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [a.name.split(".")[1] for a in node.names if a.name.startswith("cnnlab.")]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    own = get_part(path)
    for part in list_imported_parts(path):
        assert part == own or LAYER[part] < LAYER[own], f"{path} imports cnnlab.{part}"


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from cnnlab.tasks import runs\n")
    assert list_imported_parts(bad) == ["tasks"]


def test_only_the_public_part_of_hydra_is_imported() -> None:
    """But for the module that composes: Hydra instantiates what it composed at once."""
    users = [path.name for path in FILES if "hydra._internal" in path.read_text()]
    assert users == ["config_loader.py"]


@pytest.mark.parametrize("module", ["cnnlab.cli.verbs", "cnnlab.tasks.runs", "cnnlab"])
def test_the_command_line_imports_neither_torch_nor_hydra(module: str) -> None:
    heavy = ("torch", "hydra", "matplotlib", "sklearn")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


def test_a_missing_image_is_reported_without_importing_torch(here: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "cnnlab"]
    command += ["stylize", "absent.png", "x.png"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 1 and "\ncnnlab: no file absent.png\n" in process.stderr
    assert (
        "| typer" in process.stderr
        and "| torch" not in process.stderr
        and "| hydra" not in process.stderr
    )


def test_stylize_imports_no_more_of_torch_than_it_uses(here: Path) -> None:
    """torch's compiler and torchvision take a second and a half to import."""
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
        "first_steps=1",
    ]
    code = f"import sys, atexit; from cnnlab import cli; sys.argv = {words}\n"
    code += "atexit.register(lambda: print(*sys.modules)); cli.main()"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.splitlines()[-1].split())
    assert "torch" in loaded
    assert not {"torch._dynamo", "torchvision", "sympy", "matplotlib"} & loaded
