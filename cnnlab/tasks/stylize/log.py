"""The log of a transfer: losses by layer and the picture as it grows, in TensorBoard."""

import re
from pathlib import Path
from time import monotonic, time
from typing import Any

import numpy as np

from cnnlab.core.files import clipped, new_folder, outputs_folder, write_json
from cnnlab.core.provenance import environment
from cnnlab.core.run import Run
from cnnlab.core.schema import Config
from cnnlab.style.source_image import to_image
from cnnlab.style.transfer import State
from cnnlab.tasks.stylize.settings import Settings
from cnnlab.tasks.stylize.setup import Studio

PREVIEW = 1024  # pixels of the longer side of a picture in TensorBoard


class Sketchbook:
    """A folder below outputs/stylize."""

    def __init__(self, s: Settings, made: Studio, config: Config, overrides: list[str], began: float) -> None:
        self.s, self.made, self.began, self.seen = s, made, began, (1, 0)
        names = "_".join(one.path.stem for one in (made.content, *made.styles))
        name = clipped(re.sub(r"[^\w.-]+", "-", names), 90).strip(".") or "picture"
        self.run = Run(new_folder(outputs_folder(s.outputs) / "stylize", name), began=time() - monotonic() + began)
        self.run.describe(config, overrides, environment(made.device) | {"seed": s.seed})

    @property
    def folder(self) -> Path:
        return self.run.folder

    def unsound(self, state: State) -> bool:
        """Whether a loss was not finite since this was asked last."""
        before, self.seen = self.seen, (state.scale, state.unsound)
        return state.unsound > (before[1] if before[0] == state.scale else 0)

    def note(self, state: State) -> None:
        """Losses now and then, the picture more rarely, and both at a scale's end."""
        self.run.elapsed_s = monotonic() - self.began
        if state.last or state.total % self.s.log_every == 0:
            losses = self.made.losses(state.terms)
            for group, named in (("loss", {k: losses[k] for k in ("loss", "content", "style")}),
                                 ("style", losses["layers"])):  # fmt: skip
                self.run.scalars(group, {k: v for k, v in named.items() if v is not None}, state.total)
        if state.last or state.total % self.s.preview_every == 0:
            image = to_image(state.picture)
            image.thumbnail((PREVIEW, PREVIEW))
            self.run.sheet("picture", np.asarray(image), state.total)

    def conclude(self, path: Path, about: dict[str, Any]) -> None:
        """Where the picture is, and what it says of itself."""
        write_json(self.folder / "result.json", {"picture": str(path)} | about)

    def close(self) -> None:
        self.run.close()
