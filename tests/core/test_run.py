import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnlab.core.errors import WriteFailed
from cnnlab.core.run import FolderReplaced, Run, read_metrics


def events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_scalars_go_to_tensorboard_and_to_metrics(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step, seconds in ((10, 1.5), (20, 4.0)):
        run.elapsed_s = seconds
        run.log_scalars("train", {"loss": 1 / step}, step)
    run.close()
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[1] == {"step": 20, "elapsed_s": 4.0, "train/loss": 0.05}
    first, second = events(tmp_path).Scalars("train/loss")
    assert (second.step, second.value) == (20, pytest.approx(0.05))
    assert second.wall_time - first.wall_time == pytest.approx(2.5), (
        "relative time is seconds of training"
    )


def test_a_resumed_run_drops_later_metrics(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.log_scalars("train", {"loss": float(step)}, step)
    run.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "train/lo')
    resumed = Run(tmp_path, elapsed_s=9.0, began=run.began, purge_step=3)
    resumed.truncate_after(2)
    resumed.log_scalars("train", {"loss": 30.0}, 3)
    resumed.close()
    assert [line["train/loss"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [
        1.0,
        2.0,
        30.0,
    ]
    third, second = events(tmp_path).Scalars("train/loss")[:0:-1]
    assert third.wall_time - second.wall_time == pytest.approx(9.0), "a pause does not count"
    assert [event.value for event in events(tmp_path).Scalars("train/loss")] == [1.0, 2.0, 30.0]


def test_settings_round_trip(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_settings(
        {"optim": {"lr": 0.1}, "filters": [1, 2]}, ["optim.lr=0.1"], {"commit": None}
    )
    run.set_status("running", reason="none")
    run.close()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {
        "optim": {"lr": 0.1},
        "filters": [1, 2],
    }
    assert yaml.safe_load((tmp_path / "overrides.yaml").read_text()) == ["optim.lr=0.1"]
    assert json.loads((tmp_path / "state.json").read_text())["state"] == "running"


def test_images_filters_histograms_and_hyperparameters(tmp_path: Path) -> None:
    run = Run(tmp_path)
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    run.save_figure("confusion", image, 5, {"counts": [[1]]})
    run.save_filters(torch.full((2, 1, 3, 3), 0.5), 7)
    run.log_histograms({"fc.weight": torch.randn(100)}, 5)
    run.log_hyperparameters({"optim.lr": 0.1, "model.filters": [1]}, {"final/test_accuracy": 0.9})
    run.close()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "figures" / "confusion.png")), image)
    assert json.loads((tmp_path / "figures" / "confusion.json").read_text()) == {"counts": [[1]]}
    weights = np.load(tmp_path / "filters" / "00007.npy", allow_pickle=False)
    assert weights.shape == (2, 1, 3, 3) and weights.dtype == np.float32
    tags = events(tmp_path).Tags()
    assert "figures/confusion" in tags["images"] and "weights/fc.weight" in tags["histograms"]
    assert not [
        path
        for path in tmp_path.iterdir()
        if path.is_dir() and path.name not in ("figures", "filters")
    ]


def test_folders_of_a_run_that_are_links_are_refused(tmp_path: Path) -> None:
    """Temporary files were removed, and figures written, where the link led."""
    target, run_folder = tmp_path / "target", tmp_path / "run"
    target.mkdir()
    (target / ".mine.part").write_text("mine")
    run_folder.mkdir()
    for name in ("figures", "filters", "checkpoints"):
        (run_folder / name).symlink_to(target)
        with pytest.raises(WriteFailed, match=f"{name}: it is a link"):
            Run(run_folder)
        (run_folder / name).unlink()
    assert [path.name for path in target.iterdir()] == [".mine.part"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "resumed.jsonl"])
def test_log_that_is_a_link_is_not_appended_to(tmp_path: Path, name: str) -> None:
    target, run_folder = tmp_path / "bashrc", tmp_path / "run"
    target.write_text("mine\n")
    run_folder.mkdir()
    run = Run(run_folder)
    (run_folder / name).symlink_to(target)
    with pytest.raises(WriteFailed, match="it is a link"):
        run.append_row(run_folder / name, {"step": 1})
    run.close()
    assert target.read_text() == "mine\n"


@pytest.mark.parametrize("is_replaced", [True, False])
def test_run_whose_folder_is_moved_writes_nothing_to_another(
    tmp_path: Path, is_replaced: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    run = Run(folder)
    folder.rename(tmp_path / "moved")
    if is_replaced:
        folder.mkdir()
    writes = (
        lambda: run.log_scalars("train", {"loss": 1.0}, 1),
        lambda: run.set_status("failed"),
        run.flush,  # precedes every checkpoint
    )
    for write in writes:
        with pytest.raises(FolderReplaced, match="run was moved or replaced"):
            write()
    run.close()
    assert folder.exists() == is_replaced and not (is_replaced and list(folder.iterdir()))


@pytest.mark.parametrize(
    "text", ['{"step": true}', '{"step": 1.5}', '{"step": "1"}', '{"step": 1' + "0" * 400 + "}"]
)
def test_metrics_of_wrong_types_are_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text + '\n{"step": 2}\n')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 2}]


def test_pipe_among_the_event_files_is_not_awaited(tmp_path: Path) -> None:
    """A resumed run once waited for its writer for ever, and ignored SIGTERM."""
    os.mkfifo(tmp_path / "events.out.tfevents.1")
    run = Run(tmp_path)
    run.log_scalars("train", {"loss": 1.0}, 1)
    run.flush()
    run.close()
