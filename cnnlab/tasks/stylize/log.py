"""The log of a transfer: losses by layer and the picture as it grows, in TensorBoard."""

import re
from pathlib import Path
from time import monotonic, time
from typing import Any

import numpy as np

from cnnlab.core.files import make_run_folder, resolve_outputs_folder, truncate_to_bytes, write_json
from cnnlab.core.provenance import collect_environment
from cnnlab.core.run import Run
from cnnlab.core.schema import Config
from cnnlab.style.source_image import tensor_to_image
from cnnlab.style.transfer import TransferState
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob

PREVIEW_SIDE = 1024  # pixels of the longer side of a picture in TensorBoard


class TransferLog:
    """A folder below outputs/stylize."""

    def __init__(
        self,
        s: StylizeSettings,
        made: TransferJob,
        config: Config,
        overrides: list[str],
        began: float,
    ) -> None:
        self.settings, self.job, self.started_at, self.last_nonfinite = s, made, began, (1, 0)
        names = "_".join(one.path.stem for one in (made.content, *made.styles))
        name = truncate_to_bytes(re.sub(r"[^\w.-]+", "-", names), 90).strip(".") or "picture"
        self.run = Run(
            make_run_folder(resolve_outputs_folder(s.outputs) / "stylize", name),
            began=time() - monotonic() + began,
        )
        self.run.write_settings(
            config, overrides, collect_environment(made.device) | {"seed": s.seed}
        )

    @property
    def folder(self) -> Path:
        return self.run.folder

    def has_new_nonfinite(self, state: TransferState) -> bool:
        """Whether a loss was not finite since this was asked last."""
        before, self.last_nonfinite = self.last_nonfinite, (state.scale, state.num_nonfinite)
        return state.num_nonfinite > (before[1] if before[0] == state.scale else 0)

    def log_state(self, state: TransferState) -> None:
        """Losses now and then, the picture more rarely, and both at a scale's end."""
        self.run.elapsed_s = monotonic() - self.started_at
        if state.is_last or state.total_steps % self.settings.log_every == 0:
            losses = self.job.losses_by_name(state.terms)
            for group, named in (("loss", {k: losses[k] for k in ("loss", "content", "style")}),
                                 ("style", losses["layers"])):  # fmt: skip
                self.run.log_scalars(
                    group, {k: v for k, v in named.items() if v is not None}, state.total_steps
                )
        if state.is_last or state.total_steps % self.settings.preview_every == 0:
            image = tensor_to_image(state.image)
            image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            self.run.log_image("picture", np.asarray(image), state.total_steps)

    def write_result(self, path: Path, about: dict[str, Any]) -> None:
        """Where the picture is, and what it says of itself."""
        write_json(self.folder / "result.json", {"picture": str(path)} | about)

    def close(self) -> None:
        self.run.close()
