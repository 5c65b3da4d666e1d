"""Set up style transfers as `cnnlab stylize` does, for benchmarks that run the steps themselves."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from cnnlab.config import compose
from cnnlab.core.schema import call_checked
from cnnlab.style.optimizers import LBFGS
from cnnlab.style.source_image import read_source_image
from cnnlab.style.time_budget import TransferBudget
from cnnlab.style.transfer import TransferState, transfer_style
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles


def prepare_transfer(
    content: Path, style: Path, overrides: Sequence[str], device_name: str = "cpu"
) -> tuple[StylizeSettings, TransferJob]:
    """Return settings and job of two images, by `stylize`'s defaults and `overrides`."""
    config = compose("stylize", list(overrides))
    images = {"content": str(content), "styles": [str(style)]}
    settings = call_checked(StylizeSettings, config | images, "")
    setup = prepare_styles(settings, torch.device(device_name), allow_download=False)
    return settings, prepare_job(setup, read_source_image(str(content), settings.max_pixels))


def make_budget(settings: StylizeSettings, job: TransferJob, **limits: float) -> TransferBudget:
    """Return the budget of the settings' steps; `limits`: `time_limit_s` and `started_at`."""
    steps = [settings.first_steps, *[settings.steps] * (len(job.sizes) - 1)]
    ratios = [job.transfer_loss.style_pixel_ratio(size) for size in job.sizes]
    return TransferBudget(job.sizes, steps, ratios, margin=job.transfer_loss.margin, **limits)


def run_lbfgs(
    settings: StylizeSettings, job: TransferJob, budget: TransferBudget
) -> Iterator[TransferState]:
    """Optimize by the L-BFGS of `stylize`; yield after each step."""
    optimizer = partial(LBFGS, **settings.lbfgs)
    return transfer_style(job.transfer_loss, job.make_initial_image, optimizer, budget)
