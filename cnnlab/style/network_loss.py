"""The loss of `stylize` for batches: what a feed-forward style network is trained with.

The statistics are those of the whole batch: a part of an image may then lack a color or a stroke
of the style image. The scales, which `stylize` computes for each content image, are constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cnnlab.style.canvas import extend_to_canvas
from cnnlab.style.gram import at_least_float32
from cnnlab.style.losses import Objective
from cnnlab.style.scales import Size
from cnnlab.style.tiled_loss import TransferLoss, spatial_size


@dataclass(frozen=True)
class NetworkLoss:
    """The loss of a batch of stylized images, all of one size, beside their content images.

    `objective`: that of the style images, with constant scales; its P is not used.
    """

    transfer_loss: TransferLoss
    objective: Objective

    def extend(self, images: Tensor) -> Tensor:
        """Return images with the margin that the loss is computed with, reflected."""
        canvas = extend_to_canvas(images, self.transfer_loss.margin)
        return canvas.contiguous(memory_format=torch.channels_last)

    def style_term(self, terms: Tensor) -> Tensor:
        """Return the sum of the style layers' terms."""
        return terms[2 : 2 + len(self.transfer_loss.spec.layers)].sum()

    def compute_terms(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return the mean terms of a batch, as `Objective.compute_terms` orders them.

        `outputs`, `images`: (N, 3, H, W) in 0..1.
        """
        spec, encoder = self.transfer_loss.spec, self.transfer_loss.encoder
        outputs, images = self.extend(outputs), self.extend(images)
        with torch.no_grad():
            P = encoder(images, (spec.content_layer,))[spec.content_layer]
        maps = encoder(outputs, self.transfer_loss.relu_names)
        content = (at_least_float32(maps[spec.content_layer]) - P).square().sum() / len(images)
        measure = spec.statistic.measure
        measures = [measure(stack_rows(maps[name]), None, None) for name in spec.layers]
        return self.objective.compute_terms([content, *measures], stack_rows(outputs))


def stack_rows(x: Tensor) -> Tensor:
    """Return (N, K, H, W) as one image (1, K, NH, W), whose statistics are those of the batch."""
    return x.transpose(0, 1).flatten(1, 2).unsqueeze(0)


def make_network_loss(transfer_loss: TransferLoss, images: Tensor) -> NetworkLoss:
    """Return the loss of batches, its scales those of (N, 3, H, W) content images on average.

    `transfer_loss`: of the style images; its content image is not used.
    """
    size = spatial_size(images)
    objectives = [make_image_objective(transfer_loss, x, size) for x in images.split(1)]
    a = harmonic_mean([objective.scales[0] for objective in objectives])
    b = {
        name: harmonic_mean([objective.scales[1][name] for objective in objectives])
        for name in transfer_loss.spec.layers
    }
    return NetworkLoss(transfer_loss, replace(objectives[0], scales=(a, b)))


def make_image_objective(transfer_loss: TransferLoss, image: Tensor, size: Size) -> Objective:
    """Return the objective of one content image (1, 3, H, W)."""
    return replace(transfer_loss, content=lambda _: image).make_objective(size).regions[0]


def harmonic_mean(scales: Sequence[Tensor]) -> Tensor:
    """Return the scale that divides by the mean of what these divide by."""
    return 1 / torch.stack([1 / scale for scale in scales]).mean()
