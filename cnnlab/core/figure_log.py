"""Figures as they are made: in a folder, in TensorBoard, and at hand for a page."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.core.files import make_run_folder
from cnnlab.core.run import Run


@dataclass(frozen=True)
class LoggedFigure:
    """A figure that was made: its name, (H, W, 3) uint8, its title, how it is to be read, and its numbers."""

    name: str
    image: np.ndarray
    numbers: Any
    title: str
    note: str = ""


class FigureLog:
    """Figures of one command, and why some could not be made. The folder is there from the first figure on: a command
    that is refused leaves nothing."""

    def __init__(self, parent: Path, name: str, step: int) -> None:
        """`parent`/<date>_<time>_<name> will be the folder; `step`: of the run, where TensorBoard puts the figures."""
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
        """A figure to the folder and TensorBoard, its numbers beside it."""
        self.run.save_figure(name, image, self.step, numbers)
        self.figures.append(LoggedFigure(name, image, numbers, title, note))

    def record_skipped(self, name: str, why: str) -> None:
        """A figure that there cannot be, and why: the page says it in its place."""
        self.skipped.append((name, why))

    def close(self) -> None:
        if "run" in self.__dict__:
            self.run.close()
