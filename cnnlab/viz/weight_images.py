"""Render weights and network inputs as uint8 images."""

import math

import numpy as np
import torch
from torch import Tensor

from cnnlab.core.image import make_image_grid


def weights_to_image(weights: Tensor) -> np.ndarray:
    """Render one filter's (C, e, e) weights as (e, e, C) uint8, zero at mid-gray, scaled by its own
    largest magnitude; C of 3 is color, other depths are averaged to one."""
    values = weights.detach().float().cpu()
    values = values if len(values) == 3 else values.mean(0, keepdim=True)
    top = values.abs().max().clamp(min=1e-12)
    return ((values / top + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def make_filter_sheet(weights: Tensor, max_images: int = 64) -> np.ndarray:
    """Render the first `most` of (K, C, e, e) filters on one uint8 sheet, each as
    `weights_to_image` does."""
    pixels = np.stack([weights_to_image(kernel) for kernel in weights[:max_images]])
    columns, zoom = math.ceil(math.sqrt(len(pixels))), max(1, 40 // pixels.shape[1])
    return make_image_grid(pixels, columns, zoom=zoom, gap=3, background=255)


def make_image_sheet(images: Tensor, max_images: int = 64) -> np.ndarray:
    """Render the first `most` of (N, C, H, W) float network inputs on one uint8 sheet, all scaled
    to their joint range."""
    values = images[:max_images].detach().float().cpu()
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low).clamp(min=1e-12) * 255
    pixels = scaled.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    columns, zoom = math.ceil(math.sqrt(len(pixels))), max(1, 64 // pixels.shape[1])
    return make_image_grid(pixels, columns, zoom=zoom, gap=2)
