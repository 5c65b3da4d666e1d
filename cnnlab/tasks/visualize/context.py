"""What the visualizers look at, and where what they find goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.hooks import capture_outputs, get_layer
from cnnlab.core.image import read_image
from cnnlab.core.quoting import printable
from cnnlab.data.adapt import adapt_image
from cnnlab.data.build import compute_input_shape, parse_data_settings
from cnnlab.data.dataset import ImageSet, gather_images
from cnnlab.interpret.top_activations import TopActivations
from cnnlab.models.receptive_field import ReceptiveField, compute_receptive_fields
from cnnlab.tasks.trained_run import TrainedRun, load_split
from cnnlab.tasks.visualize.settings import VisualizeSettings

MAX_TOP_IMAGES = 16  # pictures of each channel that a survey remembers


class NothingToShow(CnnlabError):
    """A visualizer has nothing that it could draw of this run, and says why."""

    exit_code = 2


@dataclass(frozen=True)
class SelectedImage:
    """A picture that is looked at: (C, H, W) uint8 as the data set has them, its name, and its class where known."""

    name: str
    pixels: Tensor
    label: int | None
    adaptations: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Its name, and what was done to make it fit."""
        return f"{self.name} ({', '.join(self.adaptations)})" if self.adaptations else self.name


@dataclass(frozen=True)
class SplitActivations:
    """Every picture of the split through the network, one view each: (N, K) logits, and each layer's peaks."""

    logits: Tensor
    top_activations: dict[str, TopActivations]


@dataclass
class RunContext:
    """A trained run, its pictures, and the album that figures go to."""

    trained: TrainedRun
    settings: VisualizeSettings
    device: torch.device
    figure_log: FigureLog

    @property
    def model(self) -> nn.Module:
        return self.trained.model

    @property
    def classes(self) -> tuple[str, ...]:
        return self.trained.classes

    @cached_property
    def images(self) -> ImageSet:
        return load_split(self.trained, self.settings.split).to(self.device)

    @property
    def batch_size(self) -> int:
        """Pictures that go through the network together."""
        return self.settings.batch_size or int(self.trained.config["eval_batch_size"])

    def make_rng(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(depth, height, width) of what the network is given."""
        return compute_input_shape(self.trained.preprocess, self.trained.shape)

    def label_probabilities(self, answer: Tensor) -> dict[str, float]:
        """(K,) probabilities -> {class: probability}."""
        return dict(zip(self.classes, answer.tolist(), strict=True))

    def format_prediction(self, subject: SelectedImage, answer: Tensor) -> str:
        """What the network takes a picture for, and what it is, in words."""
        probability, k = answer.max(0)
        truth = "" if subject.label is None else f", is {self.classes[subject.label]}"
        return f"said {self.classes[int(k)]} ({float(probability):.1%}){truth}"

    def prepare_input(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pictures -> what the network is given of each, one view."""
        return self.trained.prepare_input(pixels.to(self.device))

    def render_input(self, pixels: Tensor) -> np.ndarray:
        """(N, C, H, W) uint8 pictures -> (N, H', W', C) uint8: that, as it looks."""
        shown = self.trained.preprocess.apply_before_normalize(pixels.to(self.device))
        return (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    @cached_property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every named layer's output for one picture."""
        names = [name for name, _ in self.model.named_modules() if name]
        with torch.inference_mode():
            found = capture_outputs(
                self.model,
                self.prepare_input(torch.zeros(1, *self.trained.shape, dtype=torch.uint8)),
                names,
            )
        return {name: tuple(out.shape[1:]) for name, out in found.items()}

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """What each layer's units see of the picture that the network is given."""
        return compute_receptive_fields(self.model, self.input_shape)

    @property
    def block_names(self) -> list[str]:
        """The network's layers as its listing has them, `conv_1`, not what is inside; without what only reshapes."""
        passing = (nn.Flatten, nn.Dropout, nn.Identity)
        return [
            name for name, child in self.model.named_children() if not isinstance(child, passing)
        ]

    @property
    def last_spatial_block(self) -> str | None:
        """The last layer whose output is maps of more than one place."""
        with_maps = [
            name
            for name in self.block_names
            if len(self.output_shapes[name]) == 3 and max(self.output_shapes[name][1:]) > 1
        ]
        return with_maps[-1] if with_maps else None

    def check_layer_name(self, name: str, where: str) -> str:
        """A layer's name. Raises UsageError with the names there are."""
        get_layer(self.model, name, where)
        return name

    @cached_property
    def split_activations(self) -> SplitActivations:
        """All the split's pictures through the network, once for all visualizers that ask."""
        wanted = [
            self.settings.top_activations.get("layer"),
            self.settings.activation_maximization.get("layer"),
        ]
        names = list(
            dict.fromkeys([*self.block_names, *(n for n in wanted if n in self.output_shapes)])
        )
        peaks, logits = {name: TopActivations(MAX_TOP_IMAGES) for name in names}, []
        order = torch.arange(len(self.images), device=self.images.labels.device)
        with torch.inference_mode():
            for pixels, _ in self.images.iterate_batches(order.split(self.batch_size)):
                found = capture_outputs(self.model, self.prepare_input(pixels), names)
                for name in names:
                    peaks[name].update(found[name])
                logits.append(found[self.block_names[-1]])
        return SplitActivations(torch.cat(logits).float().cpu(), peaks)

    @property
    def num_images_text(self) -> str:
        return f"{len(self.split_activations.logits):,}"

    def predict_probabilities(self, pixels: Tensor) -> Tensor:
        """(K,) probabilities that the network gives a (C, H, W) picture's one view."""
        with torch.inference_mode():
            return self.model(self.prepare_input(pixels.unsqueeze(0)))[0].float().softmax(0).cpu()

    def choose_images(self, count: int) -> list[SelectedImage]:
        """The pictures to be shown: files, or those of `indices`, or `count`: the firmest mistake, and others drawn by
        the seed. Raises UsageError for an index that there is not, CnnlabError for files that cannot be read."""
        if self.settings.images:
            return [self.load_user_image(name) for name in self.settings.images]
        labels, n = self.images.labels.cpu(), len(self.images)
        indices = (
            None if self.settings.indices is None else list(dict.fromkeys(self.settings.indices))
        )
        if indices is None:
            probability, predicted = self.split_activations.logits.softmax(1).max(1)
            firm = torch.where(predicted != labels, probability, -1.0)
            mistakes = firm.argsort(descending=True, stable=True)[: int((firm > 0).sum())][
                : -(-count // 3)
            ].tolist()
            drawn = torch.randperm(n, generator=self.make_rng()).tolist()
            indices = [*mistakes, *(i for i in drawn[: 2 * count] if i not in mistakes)][:count]
        if wrong := [i for i in indices if not 0 <= i < n]:
            raise UsageError(
                f"indices: {self.settings.split} has pictures 0 to {n - 1:,}, and no {wrong[0]}"
            )
        pixels = gather_images(self.images, indices).cpu()
        split = self.settings.split
        return [
            SelectedImage(f"{split} #{i}", p, int(labels[i]))
            for i, p in zip(indices, pixels, strict=True)
        ]

    def load_user_image(self, name: str) -> SelectedImage:
        """A picture file, made to fit as `predict` does."""
        dark = parse_data_settings(self.trained.config["dataset"]).light_on_dark
        pixels, changes = adapt_image(
            read_image(Path(name)), self.trained.shape, light_on_dark=dark
        )
        return SelectedImage(printable(Path(name).name), pixels, None, changes)
