"""What the visualizers share: a trained run, its images, its layers, and the log of figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.hooks import capture_outputs, get_layer
from cnnlab.core.quoting import printable
from cnnlab.data.build import compute_input_shape
from cnnlab.data.dataset import ImageSet, gather_images
from cnnlab.data.user_images import (
    UnreadableImages,
    expand_folders,
    find_user_image_target,
    read_user_image,
)
from cnnlab.interpret.top_activations import TopActivations
from cnnlab.models.receptive_field import ReceptiveField, compute_receptive_fields
from cnnlab.tasks.trained_run import TrainedRun, load_split
from cnnlab.tasks.visualize.settings import VisualizeSettings

MAX_TOP_IMAGES = 16  # images of each channel that are remembered
RESHAPING_LAYERS = (nn.Flatten, nn.Dropout, nn.Identity)


class NothingToShow(CnnlabError):
    """The run has nothing that a visualizer could draw; the message says why."""

    exit_code = 2


@dataclass(frozen=True)
class SelectedImage:
    """An image to be shown: (C, H, W) uint8 as the data set has them, its name, and its label where
    known."""

    name: str
    pixels: Tensor
    label: int | None
    adaptations: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Its name, and how it was adapted."""
        return f"{self.name} ({', '.join(self.adaptations)})" if self.adaptations else self.name


@dataclass(frozen=True)
class SplitActivations:
    """The outputs for every image of the split, one view each: (N, K) logits, and each layer's top
    activations."""

    logits: Tensor
    top_activations: dict[str, TopActivations]


@dataclass
class RunContext:
    """A trained run, its images, and the log of figures.

    The network computes in float32 whatever the run's precision: gradients and small differences
    between activations need it.
    """

    trained: TrainedRun
    settings: VisualizeSettings
    device: torch.device
    figure_log: FigureLog
    unreadable: UnreadableImages = field(default_factory=UnreadableImages)

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
        """Images in one forward pass."""
        return self.settings.batch_size or int(self.trained.config["eval_batch_size"])

    def make_rng(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(depth, height, width) of the network's input."""
        return compute_input_shape(self.trained.preprocess, self.trained.shape)

    def label_probabilities(self, probabilities: Tensor) -> dict[str, float]:
        """Map class names to (K,) probabilities."""
        return dict(zip(self.classes, probabilities.tolist(), strict=True))

    def format_prediction(self, image: SelectedImage, probabilities: Tensor) -> str:
        """Return the predicted class, its probability, and the label in words."""
        probability, k = probabilities.max(0)
        label = "" if image.label is None else f", label {self.classes[image.label]}"
        return f"predicted {self.classes[int(k)]} ({float(probability):.1%}){label}"

    def prepare_input(self, pixels: Tensor) -> Tensor:
        """Return the network's input for (N, C, H, W) uint8 images, one view each."""
        return self.trained.prepare_input(pixels.to(self.device))

    def render_input(self, pixels: Tensor) -> np.ndarray:
        """Return the network's input for (N, C, H, W) uint8 images as images, (N, H', W', C)
        uint8."""
        views = self.trained.preprocess.apply_before_normalize(pixels.to(self.device))
        return (views * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    @cached_property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every named layer's output for one image."""
        names = [name for name, _ in self.model.named_modules() if name]
        black = torch.zeros(1, *self.trained.shape, dtype=torch.uint8)
        with torch.inference_mode():
            outputs = capture_outputs(self.model, self.prepare_input(black), names)
        return {name: tuple(output.shape[1:]) for name, output in outputs.items()}

    def get_unit_kind(self, name: str) -> str:
        """Return what a layer's outputs are called: channel or unit."""
        return "channel" if len(self.output_shapes[name]) == 3 else "unit"

    @cached_property
    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """Each layer's receptive field on the network's input."""
        return compute_receptive_fields(self.model, self.input_shape)

    @property
    def block_names(self) -> list[str]:
        """The network's top-level layers, `conv_1`, without those that only reshape."""
        children = self.model.named_children()
        return [name for name, child in children if not isinstance(child, RESHAPING_LAYERS)]

    @property
    def last_spatial_block(self) -> str | None:
        """The last layer whose output is maps of more than one pixel."""
        for name in reversed(self.block_names):
            shape = self.output_shapes[name]
            if len(shape) == 3 and max(shape[1:]) > 1:
                return name
        return None

    @property
    def first_unit_block(self) -> str:
        """The first top-level layer whose output is units, not maps."""
        return next(name for name in self.block_names if len(self.output_shapes[name]) == 1)

    def check_layer_name(self, name: str, where: str) -> str:
        """Return a layer's name. Raises UsageError with the valid names."""
        get_layer(self.model, name, where)
        return name

    @cached_property
    def split_activations(self) -> SplitActivations:
        """The network's outputs for all images of the split, computed once for all visualizers."""
        settings = self.settings
        groups = (settings.top_activations, settings.activation_maximization)
        named = [group.get("layer") for group in groups]
        names = [*self.block_names, *(name for name in named if name in self.output_shapes)]
        tops, logits = {name: TopActivations(MAX_TOP_IMAGES) for name in dict.fromkeys(names)}, []
        order = torch.arange(len(self.images), device=self.images.labels.device)
        with torch.inference_mode():
            for pixels, _ in self.images.iterate_batches(order.split(self.batch_size)):
                outputs = capture_outputs(self.model, self.prepare_input(pixels), list(tops))
                for name, top in tops.items():
                    top.update(outputs[name])
                logits.append(outputs[self.block_names[-1]])
        return SplitActivations(torch.cat(logits).float().cpu(), tops)

    @property
    def num_images_text(self) -> str:
        return f"{len(self.split_activations.logits):,}"

    def predict_probabilities(self, pixels: Tensor) -> Tensor:
        """Return the (K,) class probabilities of one view of a (C, H, W) image."""
        with torch.inference_mode():
            return self.model(self.prepare_input(pixels.unsqueeze(0)))[0].float().softmax(0).cpu()

    def choose_images(self, count: int) -> list[SelectedImage]:
        """Return the images to be shown: files, or those of `indices`, or `count` drawn ones.
        Raises UsageError for an index out of range, CnnlabError where no file can be read."""
        if self.settings.images:
            return self.user_images
        split, labels, n = self.settings.split, self.images.labels.cpu(), len(self.images)
        if self.settings.indices is None:
            indices = self.draw_indices(count)
        else:
            indices = list(dict.fromkeys(self.settings.indices))
        if invalid := [i for i in indices if not 0 <= i < n]:
            raise UsageError(f"indices: {split} has images 0 to {n - 1:,}, and no {invalid[0]}")
        pixels = gather_images(self.images, indices).cpu()
        return [
            SelectedImage(f"{split} #{i}", image, int(labels[i]))
            for i, image in zip(indices, pixels, strict=True)
        ]

    def draw_indices(self, count: int) -> list[int]:
        """Return the most confident mistakes, at most a third of `count`, and other images drawn by
        the seed."""
        labels, n = self.images.labels.cpu(), len(self.images)
        probability, predicted = self.split_activations.logits.softmax(1).max(1)
        confidence = torch.where(predicted != labels, probability, -1.0)
        most = min(int((confidence > 0).sum()), -(-count // 3))
        mistakes = confidence.argsort(descending=True, stable=True)[:most].tolist()
        drawn = torch.randperm(n, generator=self.make_rng()).tolist()
        return [*mistakes, *(i for i in drawn[: 2 * count] if i not in mistakes)][:count]

    @cached_property
    def user_images(self) -> list[SelectedImage]:
        """The image files, adapted to the network as for `predict`; `unreadable` has the others.
        Raises CnnlabError where none can be read."""
        target = find_user_image_target(self.trained.config["dataset"], self.trained.shape)
        images = []
        for name in expand_folders(self.settings.images, self.unreadable):
            try:
                pixels, adaptations = read_user_image(name, target)
            except CnnlabError as error:
                self.unreadable.add(name, error)
                continue
            images.append(SelectedImage(printable(Path(name).name), pixels, None, adaptations))
        if not images:
            self.unreadable.raise_if_any()
        return images
