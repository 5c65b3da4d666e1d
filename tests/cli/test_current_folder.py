import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cnnlab


@pytest.mark.parametrize("words", [["runs"], ["train"], ["eval", "last"], ["predict", "x.png"]])
def test_removed_current_folder_is_named(
    cnnlab: Cnnlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    code, out, err = cnnlab(*words)
    assert (code, out) == (1, "")
    assert err.endswith("the current folder was removed or cannot be read;\ncd to another one\n")


def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    """`python -m` puts the current folder before the standard library."""
    names = ("json", "multiprocessing", "numpy", "torch", "typer", "usercustomize", "yaml")
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"open('{name}_ran', 'w')")
    plugins = tmp_path / "hydra_plugins"
    plugins.mkdir()
    (plugins / "evil.py").write_text("open('plugin_ran', 'w')")
    subprocess.run([sys.executable, "-m", "cnnlab", "train", "--cfg", "job"], cwd=tmp_path)
    assert not list(tmp_path.glob("*_ran"))
