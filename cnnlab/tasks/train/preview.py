"""`augment.preview=true`: what each operation of a pipeline does to real pictures; nothing is trained."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.core.files import new_folder, outputs_folder, write_json
from cnnlab.core.image import save_png
from cnnlab.data.augment import LAST, Pipeline
from cnnlab.data.build import check_shapes, pipelines, train_and_validation
from cnnlab.data.counter_rng import Draws
from cnnlab.data.dataset import some
from cnnlab.tasks.train.settings import Settings
from cnnlab.viz.plots import strips_figure

PICTURES = 10


def preview(settings: Settings) -> float:
    """Write outputs/preview/<date>_<time>_<name>/augment.png: training pictures as they are, after each operation alone
    (whatever its probability), and after both whole pipelines. Returns 0, for sweepers."""
    spec = settings.augment
    made = pipelines(spec)
    train, _ = train_and_validation(settings.dataset)
    check_shapes(made, train.shape)
    index = list(range(min(PICTURES, len(train))))
    pictures = some(train, index)
    draws = Draws(settings.seed, 0, torch.tensor(index))
    labels, classes = train.labels[: len(index)].cpu(), len(train.classes)
    strips = [strip("as they are", pictures, {})]
    for name, keys in spec["train"].items():
        always = {key: value for key, value in (keys or {}).items() if key != "probability"}
        alone = Pipeline({name: always}, "augment.train")
        changed, _ = alone.mixed(alone(pictures, draws), labels, classes, draws)
        strips.append(strip(caption(name, keys), changed, {name: keys}))
    whole, _ = made.train.mixed(made.train(pictures, draws), labels, classes, draws)
    strips.append(strip("all of augment.train, as in the first epoch", whole, spec["train"]))
    judged = made.eval(pictures).unflatten(0, (len(index), -1))
    several = f", the first of {judged.shape[1]} views" if judged.shape[1] > 1 else ""
    strips.append(strip(f"augment.eval{several}", judged[:, 0], spec["eval"]))
    folder = new_folder(outputs_folder(settings.outputs) / "preview", settings.name)
    title = f"What augment.train does to {settings.dataset['name']}, each operation alone, then all"
    save_png(folder / "augment.png", strips_figure(strips, title))
    write_json(folder / "augment.json", {"augment": spec, "seed": settings.seed, "pictures": index})
    print(f"cnnlab train: augment.preview=true, nothing is trained\n{folder / 'augment.png'}", flush=True)
    return 0.0


def caption(name: str, keys: dict[str, Any] | None) -> str:
    """`contrast lower=0.2 upper=1.8 (probability 0.5, here 1)`"""
    words = [f"{key}={value}" for key, value in (keys or {}).items() if key != "probability"]
    probability = (keys or {}).get("probability")
    return " ".join([name, *words, *([f"(probability {probability}, here 1)"] if probability is not None else [])])


def strip(what: str, x: Tensor, spec: dict[str, Any]) -> tuple[str, np.ndarray]:
    """(N, C, H, W) -> a caption and (N, H, W, C) uint8. What is no longer in 0..1 is cut off; pictures that were
    whitened or normalized are all stretched alike to their range."""
    stretched = any(name in LAST for name in spec)
    if x.dtype != torch.uint8:
        low, high = (x.min(), x.max()) if stretched else (torch.tensor(0.0), torch.tensor(1.0))
        x = ((x - low) / (high - low).clamp(min=1e-12) * 255).round().clamp(0, 255).to(torch.uint8)
    return what + (" (stretched to be seen)" if stretched else ""), np.asarray(x.permute(0, 2, 3, 1).cpu())
