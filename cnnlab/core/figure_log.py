"""Log figures to a folder and TensorBoard, and keep them for a page."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.files import make_run_folder
from cnnlab.core.run import Run


@dataclass(frozen=True)
class LoggedFigure:
    """A figure as (H, W, 3) uint8, its numbers, title and explanation."""

    name: str
    image: np.ndarray
    numbers: Any
    title: str
    note: str = ""


class FigureLog:
    """The figures of one command, and reasons for skipped ones. The folder is created with the
    first figure: a refused command leaves nothing."""

    def __init__(self, parent: Path, name: str, step: int) -> None:
        """The folder will be `parent`/<date>_<time>_<name>. `step`: of the run, for TensorBoard."""
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
        """Write a figure to the folder and TensorBoard, and its numbers as JSON beside it."""
        self.run.save_figure(name, image, self.step, numbers)
        self.figures.append(LoggedFigure(name, image, numbers, title, note))

    def record_skipped(self, name: str, reason: str) -> None:
        """Record why a figure is impossible; the page prints the reason in its place."""
        self.skipped.append((name, reason))

    def close(self) -> None:
        if "run" in self.__dict__:
            self.run.close()
