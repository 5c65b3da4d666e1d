"""The objective of `cnnlab train model=style_network style=STYLE.jpg`: the loss of `stylize`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.core.errors import UsageError
from cnnlab.core.files import expand_home
from cnnlab.core.schema import build_registered, call_checked
from cnnlab.data.augment import NORMALIZING_OPERATIONS
from cnnlab.data.build import Pipelines
from cnnlab.data.dataset import ImageSet, gather_images
from cnnlab.style.canvas import canvas_size
from cnnlab.style.encoder import load_encoder
from cnnlab.style.losses import STYLE_LOSSES
from cnnlab.style.network_loss import NetworkLoss, make_network_loss
from cnnlab.style.settings import EncoderSettings
from cnnlab.style.source_image import read_source_image
from cnnlab.style.tiled_loss import UNTILED, TransferLoss, spatial_size
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.viz.weight_images import make_image_sheet

NUM_REFERENCE_IMAGES = 16  # training images that the scales of the loss are computed from
NUM_PREVIEW_IMAGES = 8  # validation images that TensorBoard shows
MAX_STYLE_PIXELS = 100_000_000


@dataclass(frozen=True)
class StyleObjective:
    """The loss of stylized images beside their content images, and its parts.

    `fingerprint`: of the style image, and of the network that the loss is computed with.
    """

    loss: NetworkLoss
    fingerprint: str
    metrics = ("content", "style")

    def compute_loss(
        self, outputs: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return a batch's loss, and its content and style terms times the number of images."""
        terms = self.loss.compute_terms(outputs.float(), images)
        parts = torch.stack([terms[1], self.loss.style_term(terms)])
        return terms[0], parts.detach() * len(images)

    @torch.no_grad()
    def evaluate(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
    ) -> dict[str, float]:
        """Return the mean loss, content and style of single images."""
        was_training = model.training
        model.eval()
        rows = []
        for images, labels in batches:
            for image, label in zip(images.split(1), labels.split(1), strict=True):
                loss, parts = self.compute_loss(model(image), image, label)
                rows.append(torch.cat([loss.view(1), parts]))
        model.train(was_training)
        means = torch.stack(rows).double().mean(0).tolist()
        return dict(zip(("loss", *self.metrics), means, strict=True))

    def format_metrics(self, metrics: dict[str, float]) -> str:
        return " ".join(f"{name} {value:.3f}" for name, value in metrics.items())

    def format_scores(self, scores: dict[str, float]) -> str:
        return f"val {scores['loss']:.4f}"


def build_style_objective(
    settings: TrainSettings, train_set: ImageSet, pipelines: Pipelines, device: torch.device
) -> StyleObjective:
    """Return the objective of a style network. Raises UsageError, CnnlabError for a style image or
    a network that cannot be read."""
    check_style_settings(settings, pipelines)
    model = settings.model
    spec = build_registered(STYLE_LOSSES, model["loss"], "model.loss")
    style = read_source_image(str(model["style"]), MAX_STYLE_PIXELS).flatten_alpha()
    loaded = load_encoder(
        call_checked(EncoderSettings, model["features"], "model.features"),
        deepest_layer=spec.deepest_layer,
        seed=settings.seed,
        allow_download=False,
    )
    encoder = loaded.encoder.to(device)
    indices = list(range(min(NUM_REFERENCE_IMAGES, len(train_set))))
    images = pipelines.eval(gather_images(train_set, indices))
    transfer_loss = TransferLoss(
        encoder=encoder.to(memory_format=torch.channels_last),
        content=lambda size: images[:1],
        styles=[style.as_image_at_size(device)],
        style_sizes=[style.size],
        style_weights=[1.0],
        style_scales=[model["style_scale"]],
        spec=spec,
        tv_weight=0.0,
        margin=model["margin"],
        max_tile_pixels=UNTILED,
    )
    encoder.check_input(
        transfer_loss.relu_names, canvas_size(spatial_size(images), model["margin"])
    )
    fingerprint = f"style {style.sha256}, weights {loaded.sha256}"
    return StyleObjective(make_network_loss(transfer_loss, images), fingerprint)


def check_style_settings(settings: TrainSettings, pipelines: Pipelines) -> None:
    """Raise UsageError for settings that a style network cannot be trained with."""
    if not settings.model["style"]:
        raise UsageError("model=style_network needs a style image\nname it: style=FILE")
    steps = (*pipelines.train.operation_steps, *pipelines.eval.operation_steps)
    if name := next((step.name for step in steps if step.name in NORMALIZING_OPERATIONS), None):
        raise UsageError(
            f"augment.{name}: a style network takes colors in 0..1\nleave it out: augment=mirror"
        )
    for key, default in (("early_stop_epochs", None), ("result", "last"), ("label_smoothing", 0)):
        value = getattr(settings, key)
        if value != default:
            raise UsageError(
                f"{key}={value} is of classifiers: a style network has no accuracy\n"
                f"leave out {key}="
            )


def resolve_style_path(settings: TrainSettings) -> str | None:
    """Return the absolute path of the style image, None without one."""
    style = settings.model.get("style")
    return style and str(Path(expand_home(style)).absolute())


@torch.inference_mode()
def draw_preview(model: nn.Module, images: Tensor) -> np.ndarray:
    """Return a sheet of (N, 3, H, W) content images and, below them, stylized ones."""
    was_training = model.training
    model.eval()
    outputs = torch.cat([model(image) for image in images.split(1)])
    model.train(was_training)
    return make_image_sheet(torch.cat([images, outputs]))
