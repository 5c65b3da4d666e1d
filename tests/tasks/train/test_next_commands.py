"""Every command that cnnlab prints about a run works in the state in which it is printed."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cnnlab.core import checkpoint
from cnnlab.core.files import write_json
from cnnlab.tasks.train.next_commands import choose_lower_rate, format_new_run_command
from tests.conftest import TINY, Cnnlab

WORDS = [word for word in TINY if not word.startswith("epochs")] + ["schedule=constant"]


def write_classes(root: Path) -> None:
    """Write twelve images of each of two classes."""
    rng = np.random.default_rng(0)
    for i in range(24):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        image.save(root / "ab"[i % 2] / f"{i}.png")


def only_run(here: Path, outputs: str = "outputs") -> Path:
    (folder,) = (here / outputs / "train").iterdir()
    return folder


def find_commands(text: str) -> list[list[str]]:
    """The commands in a text: in backticks, or from `cnnlab` to the end of a line."""
    found = re.findall(r"`(cnnlab [^`]+)`|^[\w .:]*(cnnlab (?:train|eval) .*)$", text, re.MULTILINE)
    return [shlex.split(quoted or bare)[1:] for quoted, bare in found]


def run_commands(cnnlab: Cnnlab, text: str, count: int) -> None:
    commands = find_commands(text)
    assert len(commands) == count, text
    for words in commands:
        code, out, err = cnnlab(*words)
        assert code == 0, (words, out, err)


@pytest.mark.parametrize(
    "outputs", ["it's a=b, c", pytest.param("outputs", marks=pytest.mark.slow)]
)
def test_commands_after_training_work(cnnlab: Cnnlab, here: Path, outputs: str) -> None:
    """Of a network that is not the default one."""
    words = [*WORDS, "epochs=1", "model=mnist_mlp", "dataset=digits", "augment=none"]
    words = [word for word in words if not word.startswith("model.")] + ["model.hidden=[8]"]
    code, out, err = cnnlab("train", *words, f'outputs="{outputs}"')
    assert code == 0, err
    run_commands(cnnlab, out, 1)
    code, out, _ = cnnlab("train", f'resume="{only_run(here, outputs)}"')
    assert code == 0 and "is finished: 1 epoch" in out
    run_commands(cnnlab, out, 2)


def test_no_longer_training_is_offered_where_the_schedule_forbids_it(
    cnnlab: Cnnlab, here: Path, tiny_run: Path
) -> None:
    code, out, _ = cnnlab("train", f"resume={tiny_run}")
    assert code == 0 and "train longer" not in out
    run_commands(cnnlab, out, 1)
    code, _, err = cnnlab("train", f"resume={tiny_run}", "epochs=3")
    assert code == 2 and "epochs cannot change" in err and "epochs=3" in err
    run_commands(cnnlab, err, 1)


def test_command_after_a_loss_that_is_not_finite_works(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("train", *TINY, "optim.lr=1e30")
    assert code == 1 and "optim.lr=0.003`" in err
    run_commands(cnnlab, err, 1)
    code, _, err = cnnlab("train", *TINY, "optim.lr=1e30", "name=it's")
    assert code == 1 and "; try optim.lr=0.003, or clip_norm=1" in err
    assert cnnlab("train", *TINY, "optim.lr=0.003", "name=it's")[0] == 0


@pytest.mark.parametrize(
    ("rate", "overrides", "lower"),
    [
        (1e30, ["optim.lr=1e30"], 0.003),
        (1e30, ["optim=sgd", "optim.lr=1e30"], 0.1),
        (5.0, ["model=cifar_bn", "optim.lr=5", "name='it\\'s'"], 0.01),
        (0.003, [], 0.0003),
        (0.002, ["optim.lr=0.002"], 0.0002),
        (0.5, ["model=mine", "optim.lr=0.5"], 0.05),
        (0.5, ["model=[1", "optim.lr=0.5"], 0.05),
        (0.5, ["hydra.searchpath=[file:///evil]"], 0.003),
    ],
)
def test_the_rate_after_a_loss_that_is_not_finite_is_the_default_or_a_tenth(
    tmp_path: Path, rate: float, overrides: list[str], lower: float
) -> None:
    write_run_settings(tmp_path, overrides, [])
    assert choose_lower_rate(tmp_path, rate) == pytest.approx(lower)


def test_commands_of_a_finished_run_whose_images_have_moved_work(
    cnnlab: Cnnlab, here: Path
) -> None:
    write_classes(here / "images")
    words = [*WORDS, "epochs=1", "dataset=folder", "dataset.size=8", "dataset.workers=0"]
    assert cnnlab("train", *words, "batch_size=4", "dataset.root=images")[0] == 0
    run = only_run(here)
    (here / "images").rename(here / "it's moved")
    code, out, _ = cnnlab("train", f"resume={run}")
    assert code == 0 and find_commands(out) == [], "no command that needs the images"
    code, out, _ = cnnlab("train", f"resume={run}", "dataset.root=it's moved")
    assert code == 0
    run_commands(cnnlab, out, 2)


def test_command_after_damaged_initial_weights_works(
    cnnlab: Cnnlab, here: Path, tiny_run: Path
) -> None:
    """`checkpoint=` is no key of training."""
    run = Path(shutil.copytree(tiny_run, here / "it's"))
    checkpoint.find_checkpoint(run / "checkpoints", "last").write_bytes(b"cut")
    code, _, err = cnnlab("train", *TINY, "epochs=1", "init=it's")
    assert code == 1 and err.endswith(" selects the one before\n")
    (word,) = shlex.split(err.splitlines()[1].removesuffix(" selects the one before"))
    code, out, _ = cnnlab("train", *TINY, "epochs=1", word)
    assert code == 0 and "it's/checkpoints/step_000000025.safetensors:\n" in out


def test_command_after_a_damaged_checkpoint_works(
    cnnlab: Cnnlab, here: Path, tiny_run: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, here / "run"))
    checkpoint.find_checkpoint(run / "checkpoints", "last").write_bytes(b"cut")
    code, _, err = cnnlab("eval", str(run))
    assert code == 1 and err.endswith(";\ncheckpoint=25 selects the one before\n")
    assert cnnlab("eval", str(run), "checkpoint=25")[0] == 0
    checkpoint.checkpoint_path(run / "checkpoints", 25).write_bytes(b"cut")
    code, _, err = cnnlab("eval", str(run))
    assert code == 1 and "checkpoint=" not in err, "there is no other one"


def write_run_settings(folder: Path, overrides: Any, command: list[str]) -> None:
    (folder / "config.yaml").write_text("dataset: {name: digits, root: null}")
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    write_json(folder / "environment.json", {"command": command})


@pytest.mark.parametrize("file", ["config.yaml", "overrides.yaml", "environment.json"])
@pytest.mark.parametrize("text", ["", "[" * 5000, "[1]", "{a: 1}", "{dataset: []}"])
def test_no_command_is_made_of_damaged_settings(tmp_path: Path, file: str, text: str) -> None:
    write_run_settings(tmp_path, ["epochs=1"], [])
    (tmp_path / file).write_text(text)
    assert format_new_run_command(tmp_path) == ""


@pytest.mark.parametrize(
    "overrides",
    [
        ["hydra.searchpath=[file:///evil]"],
        ["+hydra.callbacks.x._target_=os.system"],
        ["experiment=../../evil"],
        ["name=x\x1b[31m"],
        ["name='; rm -rf ~; '"],
        ["--config-dir=evil"],
        ["nonsense"],
        "all",
        [["a"]],
    ],
)
def test_no_command_is_made_of_somebody_elses_overrides(tmp_path: Path, overrides: Any) -> None:
    write_run_settings(tmp_path, overrides, [])
    assert format_new_run_command(tmp_path) == ""


def test_no_command_is_made_where_it_would_need_a_config_dir(tmp_path: Path) -> None:
    write_run_settings(tmp_path, ["model=mine"], [])
    assert format_new_run_command(tmp_path) == f"cnnlab train model=mine init={tmp_path}"
    command = ["cnnlab", "train", "model=mine", "--config-dir", "configs"]
    write_run_settings(tmp_path, ["model=mine"], command)
    assert format_new_run_command(tmp_path) == ""


def stop_early(cnnlab: Cnnlab, here: Path) -> Path:
    words = ["optim.lr=1e-9", "early_stop_epochs=1", "epochs=6"]
    code, out, _ = cnnlab("train", *WORDS, *words)
    assert code == 0 and "stopped early" in out
    return only_run(here)


def test_early_stopped_run_continues_with_more_patience(cnnlab: Cnnlab, here: Path) -> None:
    run = stop_early(cnnlab, here)
    config = (run / "config.yaml").read_text()
    code, out, _ = cnnlab("train", f"resume={run}")
    assert code == 0 and "stopped early after step 50 of 150, 1 epoch without improvement:" in out
    code, _, err = cnnlab("train", f"resume={run}", "epochs=100")
    assert code == 2 and "more epochs change nothing;\nmore patience does: early_stop" in err
    assert (run / "config.yaml").read_text() == config
    assert cnnlab("train", f"resume={run}", "early_stop_epochs=3")[0] == 0
    assert json.loads((run / "result.json").read_text())["step"] == 100
    code, out, _ = cnnlab("train", f"resume={run}")
    assert code == 0 and "stopped early after step 100 of 150, 3 epochs" in out
    (longer,) = [words for words in find_commands(out) if "early_stop_epochs=null" in words]
    assert cnnlab(*longer)[0] == 0
    assert json.loads((run / "result.json").read_text())["step"] == 150
    code, out, _ = cnnlab("train", f"resume={run}")
    assert code == 0 and "is finished: 6 epochs" in out


def test_more_patience_and_more_epochs_together(cnnlab: Cnnlab, here: Path) -> None:
    run = stop_early(cnnlab, here)
    assert cnnlab("train", f"resume={run}", "early_stop_epochs=null", "epochs=8")[0] == 0
    assert json.loads((run / "result.json").read_text())["step"] == 200
