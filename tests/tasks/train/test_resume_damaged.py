"""Runs that are damaged, moved, or crafted by somebody else are resumed safely or refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnlab.core import checkpoint
from cnnlab.core.errors import UsageError
from cnnlab.core.files import write_json
from cnnlab.core.run_index import read_run_state
from cnnlab.tasks.train.resume import can_resume_sweep_run
from tests.conftest import TINY, Cnnlab
from tests.tasks.train.test_own_images import lay_out

LONGER = [word for word in TINY if not word.startswith("epochs")] + ["schedule=constant"]


@pytest.fixture
def run(cnnlab: Cnnlab, here: Path) -> Path:
    """A run of 4 epochs, marked interrupted, with checkpoints of the steps 25 to 100."""
    prune, checkpoint.prune_checkpoints = checkpoint.prune_checkpoints, lambda _: None
    try:
        assert cnnlab("train", *LONGER, "epochs=4")[0] == 0
    finally:
        checkpoint.prune_checkpoints = prune
    (folder,) = (here / "outputs" / "train").iterdir()
    write_json(folder / "state.json", {"state": "interrupted"})
    return folder


def list_steps(run: Path) -> list[int]:
    return checkpoint.list_checkpoint_steps(run / "checkpoints")


def test_run_whose_two_newest_checkpoints_are_damaged_ends_as_if_they_were_not(
    cnnlab: Cnnlab, run: Path
) -> None:
    """Each new checkpoint was removed at once, so that the run never got further."""
    result = json.loads((run / "result.json").read_text())
    for step in (75, 100):
        checkpoint.checkpoint_path(run / "checkpoints", step).write_bytes(b"cut")
    code, _, err = cnnlab("train", f"resume={run}")
    assert code == 0 and len(err.splitlines()) == 2
    for step, line in zip((100, 75), err.splitlines(), strict=True):
        assert f"step_{step:09d}.safetensors is damaged and was set aside" in line
    assert list_steps(run)[-2:] == [75, 100] and read_run_state(run) == "finished"
    assert json.loads((run / "result.json").read_text())["test"] == result["test"]
    assert len(list((run / "checkpoints").glob("*.damaged"))) == 2


@pytest.mark.parametrize(
    "kind",
    ["empty", "pipe", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("folder", "link"))],
)
def test_stray_checkpoint_of_a_later_step_is_named_and_ignored(
    cnnlab: Cnnlab, run: Path, kind: str
) -> None:
    """With an empty file of step 999,999,999 the run never finished."""
    stray = run / "checkpoints" / "step_999999999.safetensors"
    make = {"empty": Path.touch, "pipe": os.mkfifo, "folder": os.mkdir}
    make.get(kind, lambda path: path.symlink_to("/dev/zero"))(stray)
    checkpoint.checkpoint_path(run / "checkpoints", 100).unlink()
    code, _, err = cnnlab("train", f"resume={run}")
    assert code == 0 and f"{stray.name} is damaged and was set aside" in err
    assert read_run_state(run) == "finished" and list_steps(run)[-1] == 100
    assert cnnlab("train", f"resume={run}")[2] == ""


def test_unreadable_checkpoint_is_not_taken_for_damaged(
    cnnlab: Cnnlab, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_header = checkpoint.check_safetensors_header

    def refuse_newest(path: Path) -> None:
        if path.name.endswith("100.safetensors"):
            raise PermissionError(13, "Permission denied")
        check_header(path)

    monkeypatch.setattr(checkpoint, "check_safetensors_header", refuse_newest)
    code, _, err = cnnlab("train", f"resume={run}")
    assert code == 1 and "cannot read" in err and "Permission denied" in err
    assert list_steps(run) == [25, 50, 75, 100]


@pytest.mark.parametrize("name", ["resumed.jsonl", "checkpoints", "filters", "figures"])
def test_link_in_a_run_leaves_its_target_as_it_is(cnnlab: Cnnlab, run: Path, name: str) -> None:
    target = run.parents[2] / "target"
    if name == "resumed.jsonl":
        target.write_text("mine\n")
    elif (run / name).exists():
        shutil.move(run / name, target)
    else:
        target.mkdir()
    if target.is_dir():
        (target / ".mine.part").write_text("mine")
    (run / name).symlink_to(target)
    checkpoint.checkpoint_path(run / "checkpoints", 100).unlink()
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    code, _, err = cnnlab("train", f"resume={run}")
    assert code == 1 and f"{name}: it is a link" in err
    assert before == {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    if name == "resumed.jsonl":
        assert target.read_text() == "mine\n"
        (run / name).unlink()
        assert cnnlab("train", f"resume={run}")[0] == 0, "as the message says"


def test_metrics_that_are_a_link_are_replaced(cnnlab: Cnnlab, run: Path) -> None:
    target = run.parents[2] / "target"
    shutil.move(run / "metrics.jsonl", target)
    (run / "metrics.jsonl").symlink_to(target)
    before = target.read_bytes()
    assert cnnlab("train", f"resume={run}", "epochs=5")[0] == 0
    assert target.read_bytes() == before and not (run / "metrics.jsonl").is_symlink()


def test_folder_replaced_while_a_run_writes_to_it_stays_as_it_is(
    cnnlab: Cnnlab, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running run removed the checkpoints of the one in its place."""
    other = run.parent / "2020-01-01_00-00-00_other"
    shutil.copytree(run, other)
    save, saves = checkpoint.save_checkpoint, []

    def replace_folder(path: Path, *rest: Any) -> None:
        save(path, *rest)
        saves.append(path)
        if len(saves) == 2:
            path.parents[1].rename(run.parents[2] / "moved")
            other.rename(path.parents[1])

    monkeypatch.setattr(checkpoint, "save_checkpoint", replace_folder)
    state = (other / "state.json").read_bytes()
    code, _, err = cnnlab("train", f"resume={run}", "epochs=9")
    assert code == 1 and "was moved or replaced while the run wrote to it;" in err
    assert "resume=" not in err and (run / "state.json").read_bytes() == state
    assert not (run / "resumed.jsonl").exists()


@pytest.mark.parametrize(
    "threads",
    [0, 100_000, "1", *(pytest.param(n, marks=pytest.mark.slow) for n in (-1, 2**40, 1.5, [1]))],
)
def test_threads_of_a_checkpoint_are_checked(cnnlab: Cnnlab, run: Path, threads: Any) -> None:
    """100,000 of them crashed the process."""
    for step in list_steps(run):
        path = checkpoint.checkpoint_path(run / "checkpoints", step)
        groups, record = checkpoint.load_checkpoint(path)
        config = record["config"] | {"threads": threads}
        checkpoint.save_checkpoint(path, groups, record | {"config": config})
    for words in (["eval", str(run), "mistakes=0"], ["train", f"resume={run}"]):
        code, _, err = cnnlab(*words)
        assert code == 1 and "does not fit its own description: threads must be" in err


def test_threads_have_an_upper_bound(cnnlab: Cnnlab, here: Path) -> None:
    code, _, err = cnnlab("train", *TINY, "threads=100000")
    assert code == 2 and "threads must be between 1 and 1024, not 100000" in err


@pytest.fixture
def image_run(cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on images in `mine`, interrupted after 2 of 3 epochs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    lay_out(here / "mine", list("0123456789"))
    own = ["dataset=folder", "dataset.root=mine", "dataset.size=8", "dataset.depth=1"]
    own += ["dataset.mean=[0.5]", "dataset.std=[0.5]", "dataset.validation=30", "dataset.test=30"]
    assert cnnlab("train", *LONGER, *own, "epochs=3", "batch_size=40")[0] == 0
    (run,) = (here / "outputs" / "train").iterdir()
    path = checkpoint.find_checkpoint(run / "checkpoints", "last")
    path.unlink()
    write_json(run / "state.json", {"state": "interrupted"})
    return run


def test_images_that_have_moved_are_named_anew(
    cnnlab: Cnnlab, here: Path, image_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "else where").mkdir()
    shutil.move(here / "mine", here / "else where" / "yours")
    moved = f"dataset.root={here / 'else where' / 'yours'}"
    for words in (
        ["eval", str(image_run), "mistakes=0"],
        ["visualize", "saliency", str(image_run), "count=1", "methods=gradient"],
        ["embed", f"run={image_run}", "--pca", "seeds=0", "neighbors=2"],
        ["train", f"resume={image_run}"],
    ):
        code, _, err = cnnlab(*words)
        assert code == 1 and "mine;\nwhere they are now: dataset.root=FOLDER\n" in err, words
        code, _, err = cnnlab(*words, moved, "dataset.workers=0")
        assert (code, err) == (0, ""), words
    # The run knows from now on.
    assert cnnlab("eval", str(image_run), "mistakes=0")[0] == 0


def test_other_images_are_not_taken_for_those_that_have_moved(
    cnnlab: Cnnlab, here: Path, image_run: Path
) -> None:
    lay_out(here / "others", list("0123456789"), count=310)
    for words in (["eval", str(image_run)], ["train", f"resume={image_run}"]):
        code, _, err = cnnlab(*words, "dataset.root=others")
        assert code == 1 and "have changed since the run" in err
    code, _, err = cnnlab("eval", str(image_run), "dataset.root=nowhere")
    assert code == 1 and "nowhere;\nwhere they are now" in err


def test_number_of_workers_may_change_when_a_run_resumes(
    cnnlab: Cnnlab, here: Path, image_run: Path
) -> None:
    copy = here / "copy"
    shutil.copytree(image_run, copy)
    for word in ("dataset.workers=-1", "dataset.workers=x", "dataset.root=7"):
        assert cnnlab("train", f"resume={copy}", word)[0] in (1, 2)
    assert read_run_state(copy) == "interrupted"
    assert cnnlab("train", f"resume={image_run}", "dataset.workers=0")[0] == 0
    assert cnnlab("train", f"resume={copy}", "dataset.workers=1")[0] == 0
    first, second = (
        checkpoint.load_checkpoint(checkpoint.find_checkpoint(folder / "checkpoints", "last"))[0]
        for folder in (image_run, copy)
    )
    assert all(torch.equal(first["model"][k], v) for k, v in second["model"].items())
    for word in ("dataset.size=9", "dataset.validation=20", "dataset=mnist"):
        code, _, err = cnnlab("train", f"resume={copy}", word)
        assert code == 2, err


def test_images_of_a_sweep_may_move(tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", {"state": "interrupted"})
    words = ["dataset=folder", "dataset.root=a", "seed=1"]
    (tmp_path / "overrides.yaml").write_text(json.dumps(words))
    for overrides in (words, ["seed=1", "dataset=folder", "dataset.root=b", "dataset.workers=0"]):
        assert not can_resume_sweep_run(tmp_path, overrides), "it has no checkpoint"
    with pytest.raises(UsageError, match="takes the same overrides"):
        can_resume_sweep_run(tmp_path, [*words[:2], "seed=2"])


def test_sweep_run_with_damaged_checkpoints_only_is_made_anew(cnnlab: Cnnlab, here: Path) -> None:
    words = ["-m", *LONGER, "epochs=1", "seed=1,2"]
    assert cnnlab("train", *words)[0] == 0
    (sweep,) = (here / "outputs" / "train").iterdir()
    result = (sweep / "0" / "result.json").read_text()
    for path in (sweep / "0" / "checkpoints").iterdir():
        path.write_bytes(b"cut")
    write_json(sweep / "0" / "state.json", {"state": "interrupted"})
    code, _, err = cnnlab("train", *words, f"resume={sweep}")
    assert code == 0, err
    again = json.loads((sweep / "0" / "result.json").read_text())
    assert again["test"] == json.loads(result)["test"]


@pytest.mark.parametrize(
    "name",
    [
        "0",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("multirun.yaml", "failed.jsonl")),
    ],
)
def test_link_in_a_sweep_leaves_its_target_as_it_is(cnnlab: Cnnlab, here: Path, name: str) -> None:
    words = ["-m", *LONGER, "epochs=1", "seed=1,2"]
    assert cnnlab("train", *words)[0] == 0
    (sweep,) = (here / "outputs" / "train").iterdir()
    target = here / "target"
    if name == "0":
        shutil.rmtree(sweep / name)
        target.mkdir()
        (target / "config.yaml").write_text("mine\n")
    else:
        (sweep / name).unlink(missing_ok=True)
        target.write_text("mine\n")
    (sweep / name).symlink_to(target)
    code, _, err = cnnlab("train", *words, f"resume={sweep}")
    assert code == (1 if name == "0" else 0), err
    mine = target / "config.yaml" if name == "0" else target
    assert mine.read_text() == "mine\n" and (name != "0" or len(list(target.iterdir())) == 1)


def test_training_goes_on_when_the_clock_is_set_back(
    cnnlab: Cnnlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cnnlab("train", *LONGER, "epochs=1")[0] == 0
    monkeypatch.setattr("cnnlab.core.run.time.time", lambda: 1000.0)
    code, _, err = cnnlab("train", "resume=last", "epochs=2")
    assert (code, err) == (0, "")


def test_run_behind_a_link_is_resumed(cnnlab: Cnnlab, here: Path, run: Path) -> None:
    """Such as on another disk; only links inside of a run are refused."""
    moved = here / "disk"
    shutil.move(run, moved)
    run.symlink_to(moved)
    checkpoint.checkpoint_path(moved / "checkpoints", 100).unlink()
    assert cnnlab("train", f"resume={run}")[0] == 0 and list_steps(moved)[-1] == 100
    assert cnnlab("eval", str(run), "mistakes=0")[0] == 0
