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
