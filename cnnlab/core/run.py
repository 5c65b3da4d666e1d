"""A run's folder, through which everything of the run is written."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cnnlab.core.errors import CnnlabError, WriteFailed
from cnnlab.core.files import (
    fsync_path,
    read_jsonl,
    remove_temporary_files,
    write_atomically,
    write_json,
    write_text,
)
from cnnlab.core.image import save_png
from cnnlab.core.link_safety import check_is_no_link, make_subfolder, open_to_append
from cnnlab.core.quoting import printable
from cnnlab.core.schema import is_of_type
from cnnlab.core.yaml_files import format_yaml


class FolderReplaced(CnnlabError):
    """Another folder, perhaps another run's, stands where the run's folder was."""


def identify_folder(folder: Path) -> tuple[int, int] | None:
    """Return a folder's device and inode, which no other existing folder has; None without it."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Run:
    """An open run folder: configuration, status, metrics, TensorBoard, figures."""

    def __init__(
        self,
        folder: Path,
        *,
        elapsed_s: float = 0.0,
        began: float | None = None,
        purge_step: int | None = None,
    ) -> None:
        """`elapsed_s`: seconds trained before; `began`: start of the first training, as Unix time;
        `purge_step`: TensorBoard drops its events from there on. No other process may use the
        folder: temporary files of a killed process are removed."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.folder, self.elapsed_s = folder, elapsed_s
        self.checkpoints, self.figures = folder / "checkpoints", folder / "figures"
        self.filters = folder / "filters"
        self.metrics = folder / "metrics.jsonl"
        self.identity = identify_folder(folder)
        self.began = began or time.time()
        with self.translate_write_errors():
            for subfolder in (self.checkpoints, self.figures, self.filters):
                check_is_no_link(subfolder)
                remove_temporary_files(subfolder)
            remove_temporary_files(folder)
            threading.excepthook = ignore_write_errors
            self.writer = SummaryWriter(str(folder), purge_step=purge_step)

    @contextmanager
    def translate_write_errors(self) -> Iterator[None]:
        """Raise any OSError as a WriteFailed that names the folder, and FolderReplaced."""
        self.check_in_place()
        try:
            yield
        except OSError as error:
            raise WriteFailed(self.folder, error) from error

    def check_in_place(self) -> None:
        """Raise FolderReplaced if the folder is no longer the one that this run writes to."""
        if identify_folder(self.folder) != self.identity:
            raise FolderReplaced(
                f"{printable(str(self.folder))} was moved or replaced while the run wrote to it;\n"
                "its checkpoints are where it was moved to"
            )

    def write_settings(
        self, config: dict[str, Any], overrides: list[str], environment: dict[str, Any]
    ) -> None:
        """Write configuration, overrides and environment."""
        write_text(self.folder / "config.yaml", format_yaml(config))
        write_text(self.folder / "overrides.yaml", format_yaml(overrides))
        write_json(self.folder / "environment.json", environment)

    def record_resume(
        self, config: dict[str, Any], overrides: list[str], environment: dict[str, Any], step: int
    ) -> None:
        """Record that the run resumes after `step`: its configuration, overrides and
        environment."""
        self.append_row(
            self.folder / "resumed.jsonl", {"step": step, "overrides": overrides} | environment
        )
        write_text(self.folder / "config.yaml", format_yaml(config))

    def set_status(self, state: str, **more: Any) -> None:
        """Write the status: running, finished, interrupted or failed."""
        self.check_in_place()
        write_json(
            self.folder / "state.json",
            {"state": state, "pid": os.getpid(), "time": time.time(), **more},
        )

    def log_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Write values at a step to TensorBoard and metrics.jsonl. TensorBoard's relative time is
        seconds of training."""
        time_s = self.began + self.elapsed_s
        tagged = {f"{group}/{name}": value for name, value in values.items()}
        with self.translate_write_errors():
            for tag, value in tagged.items():
                self.writer.add_scalar(tag, value, step, walltime=time_s)
        row = {"step": step, "elapsed_s": round(self.elapsed_s, 4)}
        self.append_row(self.metrics, row | tagged)

    def append_row(self, path: Path, row: dict[str, Any]) -> None:
        """Append a line of JSON to a file."""
        self.check_in_place()
        try:
            with open_to_append(path) as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise WriteFailed(path, error) from error

    def flush(self) -> None:
        """Wait until all that was logged is on the disk: no checkpoint may be ahead of the log."""
        with self.translate_write_errors():
            self.writer.flush()
            for path in (self.metrics, *self.folder.glob("events.out.tfevents.*")):
                if path.is_file():  # a pipe of that name cannot be flushed
                    fsync_path(path)

    def truncate_after(self, step: int) -> None:
        """Remove metrics after `step`, at which the run resumes."""
        rows = [row for row in read_metrics(self.metrics) if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Write (H, W) or (H, W, 3) uint8 to TensorBoard only."""
        with self.translate_write_errors():
            self.writer.add_image(name, image, step, dataformats="HW" if image.ndim == 2 else "HWC")

    def save_figure(self, name: str, image: np.ndarray, step: int, data: Any) -> None:
        """Write (H, W) or (H, W, 3) uint8 to figures/`name`.png and TensorBoard, and its numbers to
        figures/`name`.json."""
        make_subfolder(self.figures)
        save_png(self.figures / f"{name}.png", image)
        write_json(self.figures / f"{name}.json", data)
        self.log_image(f"figures/{name}", image, step)

    def save_filters(self, weights: Tensor, epoch: int) -> None:
        """Write the first layer's filters after an epoch (0: before the first) as float32 to
        filters/<epoch>.npy."""
        array = weights.detach().float().cpu().numpy()

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)

        make_subfolder(self.filters)
        write_atomically(self.filters / f"{epoch:05d}.npy", write)

    def log_histograms(self, named: Mapping[str, Tensor], step: int) -> None:
        """Write the distribution of each tensor's values to TensorBoard."""
        with self.translate_write_errors():
            for name, values in named.items():
                self.writer.add_histogram(f"weights/{name}", values.detach().float().cpu(), step)

    def log_hyperparameters(self, settings: dict[str, Any], final: dict[str, float]) -> None:
        """Write settings and final scores to TensorBoard's HPARAMS page."""
        hparams = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in settings.items()
        }
        with self.translate_write_errors():
            self.writer.add_hparams(hparams, final, run_name=".")

    def close(self) -> None:
        """Close TensorBoard's file. An error here was raised by `flush` or a write before."""
        with suppress(OSError):
            self.writer.close()


def ignore_write_errors(failed: threading.ExceptHookArgs) -> None:
    """Ignore OSErrors of TensorBoard's writing thread, which raises them again in the run's
    thread."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl that have a step."""
    return [row for row in read_jsonl(path) if is_of_type(row.get("step"), int)]
