"""The settings of `cnnlab visualize`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class VisualizeSettings(Settings):
    """The keys of configs/visualize.yaml; a visualizer's own are checked by its signature."""

    what: Annotated[list[str], Key("visualizers, by name; []: all of them, and report.html")]
    run: Annotated[str, Key("a run folder, a sweep folder and a number or best, or last")]
    checkpoint: Annotated[
        str | int, Key("result (the one that train evaluated), last, best or a step")
    ]
    split: Annotated[Literal["test", "validation", "train"], Key("the images to look at")]
    indices: Annotated[
        list[int] | None,
        Key("the images shown, by number; null: some mistakes and some others, drawn by seed"),
    ]
    images: Annotated[list[str], Key("image files of your own to show instead")]
    seed: Annotated[int, Key("seed of the images shown, the randomized network and noise")]
    device: Annotated[str, Key("auto, cpu, cuda, cuda:N or mps")]
    batch_size: Annotated[
        int | None, Key("images at once; null: the run's eval_batch_size", minimum=1)
    ]
    json: Annotated[bool, Key("print the results as JSON instead of text")]
    outputs: Annotated[
        str, Key("where runs are, and where results go if the run's folder is read-only")
    ]
    dataset: dict[str, Any]
    filters: dict[str, Any]
    feature_maps: dict[str, Any]
    top_activations: dict[str, Any]
    saliency: dict[str, Any]
    activation_maximization: dict[str, Any]
    invariance: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.indices == []:
            raise ValueError("indices is empty; null draws some by the seed")
        if self.indices is not None and self.images:
            raise ValueError(
                "indices are of the data set, images are files of your own: one of them"
            )
