import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("module", "is_pipe"),
    [
        ("cnnlab.viz.plots", True),
        ("cnnlab.interpret.attribution", False),
        pytest.param("cnnlab.viz.plots", False, marks=pytest.mark.slow),
        pytest.param("cnnlab.interpret.attribution", True, marks=pytest.mark.slow),
    ],
)
def test_matplotlibrc_in_the_current_folder_is_not_read(
    tmp_path: Path, module: str, is_pipe: bool
) -> None:
    """With usetex it started LaTeX."""
    path = tmp_path / "matplotlibrc"
    os.mkfifo(path) if is_pipe else path.write_text("text.usetex: true\n")
    code = (
        f"import os, {module}, matplotlib; print(matplotlib.rcParams['text.usetex'], os.getcwd())"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.stdout == f"False {tmp_path}\n", result.stderr
