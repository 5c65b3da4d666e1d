"""Save figures to a folder and to TensorBoard, and keep them in memory for a report."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.files import make_run_folder
from cnnlab.core.run import Run


@dataclass(frozen=True)
class LoggedFigure:
    """A saved figure: its name, (H, W, 3) uint8, its numbers, its title, and a note on how to read
    it."""

    name: str
    image: np.ndarray
    numbers: Any
    title: str
    note: str = ""


class FigureLog:
    """The figures of one command, and why some were skipped. The folder is created with the first
    figure: a command that is refused leaves nothing."""

    def __init__(self, parent: Path, name: str, step: int) -> None:
        """The folder will be `parent`/<date>_<time>_<name>; `step`: the run's step, where
        TensorBoard shows them."""
        self.parent, self.name, self.step = parent, name, step
        self.figures: list[LoggedFigure] = []
        self.skipped: list[tuple[str, str]] = []

    @cached_property
    def run(self) -> Run:
        return Run(make_run_folder(self.parent, self.name))

    @property
    def folder(self) -> Path:
        return self.run.folder

    def log_figure(
        self, name: str, image: np.ndarray, numbers: Any, title: str, note: str = ""
    ) -> None:
        """Write a figure to the folder and TensorBoard, its numbers beside it as JSON."""
        self.run.save_figure(name, image, self.step, numbers)
        self.figures.append(LoggedFigure(name, image, numbers, title, note))

    def record_skipped(self, name: str, reason: str) -> None:
        """Record that a figure cannot be made, and why: the report shows the reason in its
        place."""
        self.skipped.append((name, reason))

    def close(self) -> None:
        if "run" in self.__dict__:
            self.run.close()


def figure_name(prefix: str, layer: str) -> str:
    """Return the file name stem of a layer's figure, without dots."""
    return f"{prefix}_{layer.replace('.', '_')}"
