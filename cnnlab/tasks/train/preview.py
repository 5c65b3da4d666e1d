"""`augment.preview=true`: the effect of each augmentation on real images."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.core.files import make_run_folder, resolve_outputs_folder, write_json
from cnnlab.core.image import save_png
from cnnlab.data.augment import NORMALIZING_OPERATIONS, Pipeline
from cnnlab.data.build import build_pipelines, check_pipeline_shapes, load_train_and_validation
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.dataset import gather_images
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.viz.plots import draw_image_strips

NUM_PREVIEW_IMAGES = 10
Strip = tuple[str, np.ndarray]


def write_augment_preview(settings: TrainSettings) -> float:
    """Write a sheet of augmented training images; train nothing. Returns 0, for sweepers.

    outputs/preview/<date>_<time>_<name>/augment.png shows the images before augmentation, after
    each operation alone (whatever its probability), and after both whole pipelines.
    """
    title = f"What augment.train does to {settings.dataset['name']}, each operation alone, then all"
    indices, strips = make_preview_strips(settings)
    folder = make_run_folder(resolve_outputs_folder(settings.outputs) / "preview", settings.name)
    save_png(folder / "augment.png", draw_image_strips(strips, title))
    write_json(
        folder / "augment.json",
        {"augment": settings.augment, "seed": settings.seed, "indices": indices},
    )
    print(
        f"cnnlab train: preview only (augment.preview=true), no training\n{folder / 'augment.png'}",
        flush=True,
    )
    return 0.0


def make_preview_strips(settings: TrainSettings) -> tuple[list[int], list[Strip]]:
    """Return the indices of the images, and a strip of images for each stage."""
    augment = settings.augment
    pipelines = build_pipelines(augment)
    train_set, _ = load_train_and_validation(settings.dataset)
    check_pipeline_shapes(pipelines, train_set.shape)
    indices = list(range(min(NUM_PREVIEW_IMAGES, len(train_set))))
    images = gather_images(train_set, indices)
    rng = CounterRNG(settings.seed, 0, torch.tensor(indices))
    labels, num_classes = train_set.labels[: len(indices)].cpu(), len(train_set.classes)

    def augment_images(pipeline: Pipeline) -> Tensor:
        return pipeline.mix(pipeline(images, rng), labels, num_classes, rng)[0]

    strips = [make_preview_strip("not augmented", images, {})]
    for name, keys in augment["train"].items():
        always = {key: value for key, value in (keys or {}).items() if key != "probability"}
        augmented = augment_images(Pipeline({name: always}, "augment.train"))
        strips.append(make_preview_strip(caption_operation(name, keys), augmented, {name: keys}))
    caption = "all of augment.train, as in the first epoch"
    strips.append(make_preview_strip(caption, augment_images(pipelines.train), augment["train"]))
    views = pipelines.eval(images).unflatten(0, (len(indices), -1))
    caption = "augment.eval"
    if views.shape[1] > 1:
        caption += f", the first of {views.shape[1]} views"
    strips.append(make_preview_strip(caption, views[:, 0], augment["eval"]))
    return indices, strips


def caption_operation(name: str, keys: dict[str, Any] | None) -> str:
    """Return `contrast lower=0.2 upper=1.8 (probability 0.5, here 1)`."""
    values = dict(keys or {})
    probability = values.pop("probability", None)
    words = [name, *(f"{key}={value}" for key, value in values.items())]
    if probability is not None:
        words.append(f"(probability {probability}, here 1)")
    return " ".join(words)


def make_preview_strip(caption: str, x: Tensor, operations: dict[str, Any]) -> Strip:
    """(N, C, H, W) -> a caption and (N, H, W, C) uint8.

    Values are clipped to 0..1; normalized images are stretched together to their range.
    """
    is_stretched = any(name in NORMALIZING_OPERATIONS for name in operations)
    if x.dtype != torch.uint8:
        low, high = (x.min(), x.max()) if is_stretched else (torch.tensor(0.0), torch.tensor(1.0))
        x = ((x - low) / (high - low).clamp(min=1e-12) * 255).round().clamp(0, 255).to(torch.uint8)
    if is_stretched:
        caption += " (range stretched)"
    return caption, np.asarray(x.permute(0, 2, 3, 1).cpu())
