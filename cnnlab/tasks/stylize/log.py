"""TensorBoard log of a transfer: losses by layer, and the image as it is optimized."""

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
from cnnlab.tasks.stylize.setup import TransferJob

PREVIEW_SIDE = 1024  # pixels of the longer side of an image in TensorBoard


class TransferLog:
    """A run folder below outputs/stylize."""

    def __init__(
        self,
        job: TransferJob,
        config: Config,
        overrides: list[str],
        started_at: float,
        folder: Path | None = None,
    ) -> None:
        """`started_at`: of the command, on the monotonic clock; `folder`: an existing one, None to
        make one."""
        settings = job.setup.settings
        self.job, self.started_at, self.last_nonfinite = job, started_at, (1, 0)
        folder = folder or make_log_folder(job)
        self.run = Run(folder, began=time() - monotonic() + started_at)
        environment = collect_environment(job.setup.device) | {"seed": settings.seed}
        self.run.write_settings(config, overrides, environment)

    @property
    def folder(self) -> Path:
        return self.run.folder

    def has_new_nonfinite(self, state: TransferState) -> bool:
        """Return whether a loss was not finite since the last call."""
        (scale, count), self.last_nonfinite = (
            self.last_nonfinite,
            (state.scale, state.num_nonfinite),
        )
        return state.num_nonfinite > (count if scale == state.scale else 0)

    def log_state(self, state: TransferState) -> None:
        """Log losses and image at their intervals, and at the end of a scale."""
        settings = self.job.setup.settings
        self.run.elapsed_s = monotonic() - self.started_at
        if state.is_last or state.total_steps % settings.log_every == 0:
            self.log_losses(state)
        if state.is_last or state.total_steps % settings.preview_every == 0:
            image = tensor_to_image(state.image)
            image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            self.run.log_image("image", np.asarray(image), state.total_steps)

    def log_losses(self, state: TransferState) -> None:
        """Log the losses that are finite."""
        losses = self.job.setup.spec.losses_by_name(state.terms)
        totals = {name: losses[name] for name in ("loss", "content", "style")}
        for group, values in (("loss", totals), ("style", losses["layers"])):
            finite = {name: value for name, value in values.items() if value is not None}
            self.run.log_scalars(group, finite, state.total_steps)

    def write_result(self, path: Path, record: dict[str, Any]) -> None:
        """Write the image's path and record to result.json."""
        write_json(self.folder / "result.json", {"image": str(path)} | record)

    def close(self) -> None:
        self.run.close()


def make_log_folder(job: TransferJob, suffix: str = "") -> Path:
    """Create and return a run folder below outputs/stylize, named after a job's images."""
    names = "_".join(image.path.stem for image in (job.content, *job.setup.styles))
    name = truncate_to_bytes(re.sub(r"[^\w.-]+", "-", names), 90).strip(".") or "image"
    outputs = resolve_outputs_folder(job.setup.settings.outputs)
    return make_run_folder(outputs / "stylize", name + suffix)
