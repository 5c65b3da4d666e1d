"""A run's folder: made once, for one run alone, and everything the run writes goes through it."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cnnlab.core.errors import WriteFailed
from cnnlab.core.files import (
    fsync_path,
    read_jsonl,
    remove_temporary_files,
    write_atomically,
    write_json,
    write_text,
)
from cnnlab.core.image import save_png


class Run:
    """An open run folder: configuration, state, metrics, TensorBoard, figures."""

    def __init__(
        self,
        folder: Path,
        *,
        elapsed_s: float = 0.0,
        began: float | None = None,
        purge_step: int | None = None,
    ) -> None:
        """`elapsed_s`: seconds trained before; `began`: when the first began, on the clock; `purge_step`: TensorBoard
        forgets what it has from there on. The folder must be the caller's alone: what a killed process had begun to
        write there is removed."""
        self.folder, self.elapsed_s = folder, elapsed_s
        self.checkpoints, self.figures, self.filters = (
            folder / n for n in ("checkpoints", "figures", "filters")
        )
        self.metrics = folder / "metrics.jsonl"
        self.began = began or time.time()
        for place in (folder, self.checkpoints, self.figures, self.filters):
            remove_temporary_files(place)
        with self.translate_write_errors():
            threading.excepthook = ignore_write_errors
            self.writer = SummaryWriter(str(folder), purge_step=purge_step)

    @contextmanager
    def translate_write_errors(self) -> Iterator[None]:
        """A disk's refusal, as one error that names the folder."""
        try:
            yield
        except OSError as error:
            raise WriteFailed(self.folder, error) from error

    def write_settings(
        self, config: dict[str, Any], overrides: list[str], environment: dict[str, Any]
    ) -> None:
        """Write what makes the run what it is."""
        write_text(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_text(self.folder / "overrides.yaml", yaml.safe_dump(overrides))
        write_json(self.folder / "environment.json", environment)

    def record_resume(
        self, config: dict[str, Any], overrides: list[str], environment: dict[str, Any], step: int
    ) -> None:
        """Write that the run goes on after `step`, in which environment and, where it changed, with what."""
        write_text(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        self.append_row(
            self.folder / "resumed.jsonl", {"step": step, "overrides": overrides} | environment
        )

    def set_status(self, state: str, **more: Any) -> None:
        """Say how the run stands: running, finished, interrupted or failed."""
        write_json(
            self.folder / "state.json",
            {"state": state, "pid": os.getpid(), "time": time.time(), **more},
        )

    def log_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Numbers at a step, to TensorBoard and metrics.jsonl. TensorBoard's relative time is seconds of training."""
        with self.translate_write_errors():
            for name, value in values.items():
                self.writer.add_scalar(
                    f"{group}/{name}", value, step, walltime=self.began + self.elapsed_s
                )
        row = {"step": step, "elapsed_s": round(self.elapsed_s, 4)} | {
            f"{group}/{k}": v for k, v in values.items()
        }
        self.append_row(self.metrics, row)

    def append_row(self, path: Path, row: dict[str, Any]) -> None:
        """A line of JSON at a file's end."""
        with self.translate_write_errors(), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Wait until the disk has all that was logged: a checkpoint that is saved next must not know more than that."""
        with self.translate_write_errors():
            self.writer.flush()
            for path in (self.metrics, *self.folder.glob("events.out.tfevents.*")):
                with suppress(FileNotFoundError):
                    fsync_path(path)

    def truncate_after(self, step: int) -> None:
        """Forget metrics after `step`, as a run that resumes there must."""
        kept = [line for line in read_metrics(self.metrics) if line["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """(H, W) or (H, W, 3) uint8 to TensorBoard alone."""
        with self.translate_write_errors():
            self.writer.add_image(name, image, step, dataformats="HW" if image.ndim == 2 else "HWC")

    def save_figure(self, name: str, image: np.ndarray, step: int, data: Any) -> None:
        """(H, W) or (H, W, 3) uint8 to figures/`name`.png and TensorBoard, the numbers it was drawn from beside it."""
        with self.translate_write_errors():
            self.figures.mkdir(exist_ok=True)
        save_png(self.figures / f"{name}.png", image)
        write_json(self.figures / f"{name}.json", data)
        self.log_image(f"figures/{name}", image, step)

    def save_filters(self, weights: Tensor, epoch: int) -> None:
        """The first layer's filters after an epoch (0: before the first), as float32 in filters/<epoch>.npy."""
        array = weights.detach().float().cpu().numpy()

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)

        with self.translate_write_errors():
            self.filters.mkdir(exist_ok=True)
        write_atomically(self.filters / f"{epoch:05d}.npy", write)

    def log_histograms(self, named: Mapping[str, Tensor], step: int) -> None:
        """The distribution of each tensor's values, to TensorBoard."""
        with self.translate_write_errors():
            for name, values in named.items():
                self.writer.add_histogram(f"weights/{name}", values.detach().float().cpu(), step)

    def log_hyperparameters(self, settings: dict[str, Any], final: dict[str, float]) -> None:
        """Settings and final scores for TensorBoard's HPARAMS page."""
        plain = {
            k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in settings.items()
        }
        with self.translate_write_errors():
            self.writer.add_hparams(plain, final, run_name=".")

    def close(self) -> None:
        """Let go of TensorBoard's file. What it refuses now, `flush` or the line before said already."""
        with suppress(OSError):
            self.writer.close()


def ignore_write_errors(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard's writing thread raises what the disk refused once more where the run can see it."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; those of no step are left out."""
    return [row for row in read_jsonl(path) if isinstance(row.get("step"), int)]
