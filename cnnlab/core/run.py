"""A run's folder: made once, for one run alone, and everything the run writes goes through it."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cnnlab.core.files import write_json, write_text, write_whole
from cnnlab.core.image import save_png


class Run:
    """An open run folder: configuration, state, metrics, TensorBoard, figures."""

    def __init__(
        self, folder: Path, *, elapsed_s: float = 0.0, began: float | None = None, purge_step: int | None = None
    ) -> None:
        """`elapsed_s`: seconds trained before; `began`: when the first began, on the clock; `purge_step`: TensorBoard
        forgets what it has from there on."""
        self.folder, self.elapsed_s = folder, elapsed_s
        self.checkpoints, self.figures, self.filters = (folder / n for n in ("checkpoints", "figures", "filters"))
        self.metrics = folder / "metrics.jsonl"
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)
        self.began = began or time.time()

    def describe(self, config: dict[str, Any], overrides: list[str], environment: dict[str, Any]) -> None:
        """Write what makes the run what it is."""
        write_text(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_text(self.folder / "overrides.yaml", yaml.safe_dump(overrides))
        write_json(self.folder / "environment.json", environment)

    def state(self, state: str, **more: Any) -> None:
        """Say how the run stands: running, finished, interrupted or failed."""
        write_json(self.folder / "state.json", {"state": state, "pid": os.getpid(), "time": time.time(), **more})

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Numbers at a step, to TensorBoard and metrics.jsonl. TensorBoard's relative time is seconds of training."""
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step, walltime=self.began + self.elapsed_s)
        row = {"step": step, "elapsed_s": round(self.elapsed_s, 4)} | {f"{group}/{k}": v for k, v in values.items()}
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def cut(self, step: int) -> None:
        """Forget metrics after `step`, as a run that resumes there must."""
        kept = [line for line in read_lines(self.metrics) if line["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def sheet(self, name: str, image: np.ndarray, step: int) -> None:
        """(H, W) or (H, W, 3) uint8 to TensorBoard alone."""
        self.writer.add_image(name, image, step, dataformats="HW" if image.ndim == 2 else "HWC")

    def figure(self, name: str, image: np.ndarray, step: int, data: Any) -> None:
        """(H, W) or (H, W, 3) uint8 to figures/`name`.png and TensorBoard, the numbers it was drawn from beside it."""
        self.figures.mkdir(exist_ok=True)
        save_png(self.figures / f"{name}.png", image)
        write_json(self.figures / f"{name}.json", data)
        self.sheet(f"figures/{name}", image, step)

    def keep_filters(self, weights: Tensor, epoch: int) -> None:
        """The first layer's filters after an epoch (0: before the first), as float32 in filters/<epoch>.npy."""
        array = weights.detach().float().cpu().numpy()

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)

        self.filters.mkdir(exist_ok=True)
        write_whole(self.filters / f"{epoch:05d}.npy", write)

    def histograms(self, named: Mapping[str, Tensor], step: int) -> None:
        """The distribution of each tensor's values, to TensorBoard."""
        for name, values in named.items():
            self.writer.add_histogram(f"weights/{name}", values.detach().float().cpu(), step)

    def hyperparameters(self, settings: dict[str, Any], final: dict[str, float]) -> None:
        """Settings and final scores for TensorBoard's HPARAMS page."""
        plain = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in settings.items()}
        self.writer.add_hparams(plain, final, run_name=".")

    def close(self) -> None:
        """Flush everything."""
        self.writer.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl; a line cut short by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
