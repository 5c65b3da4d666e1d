"""`augment.preview=true`: what each operation of a pipeline does to real pictures; nothing is trained."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.core.files import new_folder, write_json
from cnnlab.core.image import save_png
from cnnlab.data.augment import LAST, Pipeline
from cnnlab.data.draws import Draws
from cnnlab.data.pictures import some
from cnnlab.tasks import parts
from cnnlab.tasks.training import Settings
from cnnlab.viz.figures import strips_figure

PICTURES = 10


def preview(settings: Settings) -> float:
    """Write outputs/preview/<date>_<time>_<name>/augment.png: training pictures as they are, after each operation alone
    (whatever its probability), and after both whole pipelines. Returns 0, for sweepers."""
    spec = settings.augment
    made = parts.pipelines(spec)
    train, _ = parts.train_and_validation(settings.dataset)
    parts.check_shapes(made, train.shape)
    index = list(range(min(PICTURES, len(train))))
    pictures = some(train, index)
    draws = Draws(settings.seed, 0, torch.tensor(index))
    labels, classes = train.labels[: len(index)].cpu(), len(train.classes)
    strips = [("as they are", pictures)]
    for name, keys in spec["train"].items():
        always = {key: value for key, value in (keys or {}).items() if key != "probability"}
        alone = Pipeline({name: always}, "augment.train")
        strips.append((caption(name, keys), alone.mixed(alone(pictures, draws), labels, classes, draws)[0]))
    whole, _ = made.train.mixed(made.train(pictures, draws), labels, classes, draws)
    judged = made.eval(pictures).unflatten(0, (len(index), -1))[:, 0]
    strips += [("all of augment.train, in this epoch", whole), ("augment.eval", judged)]
    shown = [(what, as_pixels(x, stretch=what.startswith(("all", "augment", *LAST)))) for what, x in strips]
    folder = new_folder(parts.outputs_folder(settings.outputs) / "preview", settings.name)
    title = f"What augment.train does to {settings.dataset['name']}, each operation alone, then all"
    save_png(folder / "augment.png", strips_figure(shown, title))
    write_json(folder / "augment.json", {"augment": spec, "seed": settings.seed, "pictures": index})
    print(f"cnnlab train: augment.preview=true, nothing is trained\n{folder / 'augment.png'}", flush=True)
    return 0.0


def caption(name: str, keys: dict[str, Any] | None) -> str:
    """`contrast lower=0.2 upper=1.8`"""
    return " ".join([name, *(f"{key}={value}" for key, value in (keys or {}).items())])


def as_pixels(x: Tensor, *, stretch: bool) -> np.ndarray:
    """(N, C, H, W) -> (N, H, W, C) uint8. What is no longer in 0..1 is cut off, or all pictures are stretched alike."""
    if x.dtype != torch.uint8:
        low, high = (x.min(), x.max()) if stretch else (torch.tensor(0.0), torch.tensor(1.0))
        x = ((x - low) / (high - low).clamp(min=1e-12) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(x.permute(0, 2, 3, 1).cpu())
