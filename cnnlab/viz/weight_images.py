"""A network's first layer as pictures."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.core.image import make_image_grid


def get_first_layer_weights(model: nn.Module, shape: tuple[int, int, int]) -> Tensor | None:
    """The weights that look at the picture itself: (K, C, e, e) of a convolution, or (K, C, H, W) of a fully
    connected layer on the whole picture; None where the first layer is neither."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.weight
        if isinstance(module, nn.Linear):
            return (
                module.weight.view(-1, *shape) if module.in_features == math.prod(shape) else None
            )
    return None


def weights_to_image(weights: Tensor) -> np.ndarray:
    """(C, e, e) weights of one filter -> (e, e, C) uint8, zero at mid-grey, by its own largest magnitude; C of 3 is
    colour, others are averaged to one."""
    kept = weights.detach().float().cpu()
    kept = kept if len(kept) == 3 else kept.mean(0, keepdim=True)
    top = kept.abs().max().clamp(min=1e-12)
    return ((kept / top + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def make_filter_sheet(weights: Tensor, most: int = 64) -> np.ndarray:
    """(K, C, e, e) weights -> one uint8 sheet of the first `most`, each as `scaled` has it."""
    pixels = np.stack([weights_to_image(one) for one in weights[:most]])
    return make_image_grid(
        pixels,
        math.ceil(math.sqrt(len(pixels))),
        zoom=max(1, 40 // pixels.shape[1]),
        gap=3,
        background=255,
    )


def make_image_sheet(pictures: Tensor, most: int = 64) -> np.ndarray:
    """(N, C, H, W) float pictures as a network sees them -> one uint8 sheet, all stretched alike to their range."""
    kept = pictures[:most].detach().float().cpu()
    low, high = kept.min(), kept.max()
    pixels = (
        ((kept - low) / (high - low).clamp(min=1e-12) * 255)
        .round()
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
    )
    zoom = max(1, 64 // pixels.shape[1])
    return make_image_grid(pixels.numpy(), math.ceil(math.sqrt(len(kept))), zoom=zoom, gap=2)
