"""What the visualizers look at, and where what they find goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.figure_log import Album
from cnnlab.core.hooks import layer, outputs
from cnnlab.core.image import read_picture
from cnnlab.core.quoting import plain
from cnnlab.data.adapt import fitted
from cnnlab.data.build import data_settings, input_shape
from cnnlab.data.dataset import PictureSet, some
from cnnlab.interpret.top_activations import Peaks
from cnnlab.models.receptive_field import Field, fields
from cnnlab.tasks.trained_run import Trained, split_of

KEPT = 16  # pictures of each channel that a survey remembers


class NothingToShow(CnnlabError):
    """A visualizer has nothing that it could draw of this run, and says why."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/visualize.yaml's keys and their types; a visualizer's own are checked by its signature."""

    what: list[str]
    run: str
    checkpoint: str | int
    split: Literal["test", "validation", "train"]
    indices: list[int] | None
    pictures: list[str]
    seed: int
    device: str
    batch_size: int | None
    json: bool
    outputs: str
    filters: dict[str, Any]
    features: dict[str, Any]
    exciting: dict[str, Any]
    saliency: dict[str, Any]
    dream: dict[str, Any]
    invariance: dict[str, Any]

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.indices == []:
            raise ValueError("indices is empty; null draws some by the seed")
        if self.indices is not None and self.pictures:
            raise ValueError("indices are of the data set, pictures are files of your own: one of them")


@dataclass(frozen=True)
class Subject:
    """A picture that is looked at: (C, H, W) uint8 as the data set has them, its name, and its class where known."""

    name: str
    pixels: Tensor
    true: int | None
    changes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Its name, and what was done to make it fit."""
        return f"{self.name} ({', '.join(self.changes)})" if self.changes else self.name


@dataclass(frozen=True)
class Survey:
    """Every picture of the split through the network, one view each: (N, K) logits, and each layer's peaks."""

    logits: Tensor
    peaks: dict[str, Peaks]


@dataclass
class Look:
    """A trained run, its pictures, and the album that figures go to."""

    trained: Trained
    settings: Settings
    device: torch.device
    album: Album

    @property
    def model(self) -> nn.Module:
        return self.trained.model

    @property
    def classes(self) -> tuple[str, ...]:
        return self.trained.classes

    @cached_property
    def pictures(self) -> PictureSet:
        return split_of(self.trained, self.settings.split).to(self.device)

    @property
    def at_once(self) -> int:
        """Pictures that go through the network together."""
        return self.settings.batch_size or int(self.trained.config["eval_batch_size"])

    def rng(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed)

    @property
    def sizes_in(self) -> tuple[int, int, int]:
        """(depth, height, width) of what the network is given."""
        return input_shape(self.trained.preprocess, self.trained.shape)

    def likely(self, answer: Tensor) -> dict[str, float]:
        """(K,) probabilities -> {class: probability}."""
        return dict(zip(self.classes, answer.tolist(), strict=True))

    def said(self, subject: Subject, answer: Tensor) -> str:
        """What the network takes a picture for, and what it is, in words."""
        probability, k = answer.max(0)
        truth = "" if subject.true is None else f", is {self.classes[subject.true]}"
        return f"said {self.classes[int(k)]} ({float(probability):.1%}){truth}"

    def given(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pictures -> what the network is given of each, one view."""
        return self.trained.given(pixels.to(self.device))

    def visible(self, pixels: Tensor) -> np.ndarray:
        """(N, C, H, W) uint8 pictures -> (N, H', W', C) uint8: that, as it looks."""
        shown = self.trained.preprocess.shown(pixels.to(self.device))
        return (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    @cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every named layer's output for one picture."""
        names = [name for name, _ in self.model.named_modules() if name]
        with torch.inference_mode():
            found = outputs(self.model, self.given(torch.zeros(1, *self.trained.shape, dtype=torch.uint8)), names)
        return {name: tuple(out.shape[1:]) for name, out in found.items()}

    @cached_property
    def fields(self) -> dict[str, Field]:
        """What each layer's units see of the picture that the network is given."""
        return fields(self.model, self.sizes_in)

    @property
    def blocks(self) -> list[str]:
        """The network's layers as its listing has them, `conv_1`, not what is inside; without what only reshapes."""
        passing = (nn.Flatten, nn.Dropout, nn.Identity)
        return [name for name, child in self.model.named_children() if not isinstance(child, passing)]

    @property
    def last_maps(self) -> str | None:
        """The last layer whose output is maps of more than one place."""
        with_maps = [name for name in self.blocks if len(self.sizes[name]) == 3 and max(self.sizes[name][1:]) > 1]
        return with_maps[-1] if with_maps else None

    def checked(self, name: str, where: str) -> str:
        """A layer's name. Raises UsageError with the names there are."""
        layer(self.model, name, where)
        return name

    @cached_property
    def survey(self) -> Survey:
        """All the split's pictures through the network, once for all visualizers that ask."""
        wanted = [self.settings.exciting.get("layer"), self.settings.dream.get("layer")]
        names = list(dict.fromkeys([*self.blocks, *(n for n in wanted if n in self.sizes)]))
        peaks, logits = {name: Peaks(KEPT) for name in names}, []
        order = torch.arange(len(self.pictures), device=self.pictures.labels.device)
        with torch.inference_mode():
            for pixels, _ in self.pictures.stream(order.split(self.at_once)):
                found = outputs(self.model, self.given(pixels), names)
                for name in names:
                    peaks[name].add(found[name])
                logits.append(found[self.blocks[-1]])
        return Survey(torch.cat(logits).float().cpu(), peaks)

    @property
    def survey_size(self) -> str:
        return f"{len(self.survey.logits):,}"

    def answer(self, pixels: Tensor) -> Tensor:
        """(K,) probabilities that the network gives a (C, H, W) picture's one view."""
        with torch.inference_mode():
            return self.model(self.given(pixels.unsqueeze(0)))[0].float().softmax(0).cpu()

    def subjects(self, count: int) -> list[Subject]:
        """The pictures to be shown: files, or those of `indices`, or `count`: the firmest mistake, and others drawn by
        the seed. Raises UsageError for an index that there is not, CnnlabError for files that cannot be read."""
        if self.settings.pictures:
            return [self.own(name) for name in self.settings.pictures]
        labels, n = self.pictures.labels.cpu(), len(self.pictures)
        indices = None if self.settings.indices is None else list(dict.fromkeys(self.settings.indices))
        if indices is None:
            probability, predicted = self.survey.logits.softmax(1).max(1)
            firm = torch.where(predicted != labels, probability, -1.0)
            mistakes = firm.argsort(descending=True, stable=True)[: int((firm > 0).sum())][: -(-count // 3)].tolist()
            drawn = torch.randperm(n, generator=self.rng()).tolist()
            indices = [*mistakes, *(i for i in drawn[: 2 * count] if i not in mistakes)][:count]
        if wrong := [i for i in indices if not 0 <= i < n]:
            raise UsageError(f"indices: {self.settings.split} has pictures 0 to {n - 1:,}, and no {wrong[0]}")
        pixels = some(self.pictures, indices).cpu()
        split = self.settings.split
        return [Subject(f"{split} #{i}", p, int(labels[i])) for i, p in zip(indices, pixels, strict=True)]

    def own(self, name: str) -> Subject:
        """A picture file, made to fit as `predict` does."""
        dark = data_settings(self.trained.config["dataset"]).light_on_dark
        pixels, changes = fitted(read_picture(Path(name)), self.trained.shape, light_on_dark=dark)
        return Subject(plain(Path(name).name), pixels, None, changes)
