import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cnnlab


def test_help_has_examples_and_group_options(
    cnnlab: Cnnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cnnlab("train", "-h")
    assert code == 0 and "cnnlab train -m seed=1,2,3" in out
    for line in (
        "model=      alexnet | cifar_bn | cifar_cnn | cifar_fast | digits_cnn |",
        "dataset=    cifar10 | digits | folder | mnist",
    ):
        assert line in out
    assert all(len(line) <= 80 for line in out.splitlines())
    for verb in ("eval", "predict"):
        assert "Examples:" in cnnlab(verb, "-h")[1]
    listing = cnnlab("--help")[1]
    assert all(verb in listing for verb in ("train", "eval", "predict", "runs"))


def test_misspelled_commands_and_flags_get_a_suggestion(cnnlab: Cnnlab) -> None:
    code, _, err = cnnlab("trian")
    assert code == 2 and "Did you mean 'train'?" in err
    code, _, err = cnnlab("train", "--config")
    assert code == 2 and "--config-dir" in err
    refused = (2, "", "cnnlab: --epochs is a key, not a flag\ntype epochs=3\n")
    assert cnnlab("train", "--epochs", "3") == cnnlab("train", "--epochs=3") == refused
    assert "type optim.lr=VALUE" in cnnlab("train", "--lr")[2]


def test_unexpected_errors_are_one_line(cnnlab: Cnnlab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("cnnlab.cli.verbs.launch", fail)
    assert cnnlab("train") == (1, "", "cnnlab: ZeroDivisionError: by zero (--debug shows where)\n")
    with pytest.raises(ZeroDivisionError):
        cnnlab("train", "--debug")


def test_version_is_the_packages(cnnlab: Cnnlab) -> None:
    from importlib.metadata import version

    assert cnnlab("--version") == cnnlab("version") == (0, f"{version('cnnlab')}\n", "")


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    command = f"{sys.executable} -m cnnlab train --cfg job | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.stdout.startswith("name:") and "Traceback" not in done.stderr
