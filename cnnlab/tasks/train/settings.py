"""The settings of a training run."""

from dataclasses import dataclass
from typing import Literal

import torch

from cnnlab.core.files import check_folder_name
from cnnlab.core.schema import Config

AUTOCAST_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """configs/train.yaml's keys and their types."""

    name: str
    dataset: Config
    augment: Config
    model: Config
    optim: Config
    schedule: Config
    seed: int
    epochs: int
    batch_size: int
    eval_batch_size: int
    label_smoothing: float
    clip_norm: float | None
    ema_decay: float | None
    early_stop_epochs: int | None
    result: Literal["last", "best"]
    device: str
    threads: int | None
    precision: Literal["float32", "bfloat16"]
    compile: bool
    channels_last: bool
    deterministic: bool
    log_every: int
    validate_every: int | None
    save_every_minutes: float | None
    outputs: str
    resume: str | None
    init: str | None

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "eval_batch_size", "log_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key in ("threads", "validate_every", "early_stop_epochs"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.validate_every is not None and self.validate_every % self.log_every:
            raise ValueError(f"validate_every must be a multiple of log_every={self.log_every}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, not {self.ema_decay}")
        if self.save_every_minutes is not None and not self.save_every_minutes > 0:
            raise ValueError(f"save_every_minutes must be above 0, not {self.save_every_minutes}")
        if not 0 <= self.seed < 1 << 40:
            raise ValueError(f"seed must be at least 0 and below 2^40, not {self.seed}")
        if self.clip_norm is not None and not 0 < self.clip_norm < float("inf"):
            raise ValueError(f"clip_norm must be above 0, not {self.clip_norm}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}"
            )
        check_folder_name(self.name)
