"""`augment.preview=true`: what each operation of a pipeline does to real pictures; nothing is trained."""

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


def write_augment_preview(settings: TrainSettings) -> float:
    """Write outputs/preview/<date>_<time>_<name>/augment.png: training pictures as they are, after each operation alone
    (whatever its probability), and after both whole pipelines. Returns 0, for sweepers."""
    spec = settings.augment
    made = build_pipelines(spec)
    train, _ = load_train_and_validation(settings.dataset)
    check_pipeline_shapes(made, train.shape)
    index = list(range(min(NUM_PREVIEW_IMAGES, len(train))))
    pictures = gather_images(train, index)
    draws = CounterRNG(settings.seed, 0, torch.tensor(index))
    labels, classes = train.labels[: len(index)].cpu(), len(train.classes)
    strips = [make_preview_strip("as they are", pictures, {})]
    for name, keys in spec["train"].items():
        always = {key: value for key, value in (keys or {}).items() if key != "probability"}
        alone = Pipeline({name: always}, "augment.train")
        changed, _ = alone.mix(alone(pictures, draws), labels, classes, draws)
        strips.append(make_preview_strip(caption_operation(name, keys), changed, {name: keys}))
    whole, _ = made.train.mix(made.train(pictures, draws), labels, classes, draws)
    strips.append(
        make_preview_strip("all of augment.train, as in the first epoch", whole, spec["train"])
    )
    judged = made.eval(pictures).unflatten(0, (len(index), -1))
    several = f", the first of {judged.shape[1]} views" if judged.shape[1] > 1 else ""
    strips.append(make_preview_strip(f"augment.eval{several}", judged[:, 0], spec["eval"]))
    folder = make_run_folder(resolve_outputs_folder(settings.outputs) / "preview", settings.name)
    title = f"What augment.train does to {settings.dataset['name']}, each operation alone, then all"
    save_png(folder / "augment.png", draw_image_strips(strips, title))
    write_json(folder / "augment.json", {"augment": spec, "seed": settings.seed, "pictures": index})
    print(
        f"cnnlab train: augment.preview=true, nothing is trained\n{folder / 'augment.png'}",
        flush=True,
    )
    return 0.0


def caption_operation(name: str, keys: dict[str, Any] | None) -> str:
    """`contrast lower=0.2 upper=1.8 (probability 0.5, here 1)`"""
    words = [f"{key}={value}" for key, value in (keys or {}).items() if key != "probability"]
    probability = (keys or {}).get("probability")
    return " ".join(
        [
            name,
            *words,
            *([f"(probability {probability}, here 1)"] if probability is not None else []),
        ]
    )


def make_preview_strip(what: str, x: Tensor, spec: dict[str, Any]) -> tuple[str, np.ndarray]:
    """(N, C, H, W) -> a caption and (N, H, W, C) uint8. What is no longer in 0..1 is cut off; pictures that were
    whitened or normalized are all stretched alike to their range."""
    stretched = any(name in NORMALIZING_OPERATIONS for name in spec)
    if x.dtype != torch.uint8:
        low, high = (x.min(), x.max()) if stretched else (torch.tensor(0.0), torch.tensor(1.0))
        x = ((x - low) / (high - low).clamp(min=1e-12) * 255).round().clamp(0, 255).to(torch.uint8)
    return what + (" (stretched to be seen)" if stretched else ""), np.asarray(
        x.permute(0, 2, 3, 1).cpu()
    )
