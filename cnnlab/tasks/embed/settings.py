"""The settings of `cnnlab embed`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(Settings):
    """The keys of configs/embed.yaml; a projection's own are checked by its signature."""

    projection: Annotated[
        Literal["tsne", "pca"], Key("tsne or pca; --tsne and --pca are short for it")
    ]
    run: Annotated[
        str | None, Key("a run folder, a sweep folder and a number or best, or last; null: last")
    ]
    against: Annotated[
        str | None, Key("another run, whose map of the same images is aligned with the first one's")
    ]
    checkpoint: Annotated[
        str | int, Key("result (the one that train evaluated), last, best or a step")
    ]
    split: Annotated[
        str,
        Key("test, validation, train or trainval, or a folder: your images among the test set"),
    ]
    n: Annotated[
        int | None,
        Key("images on the map, drawn by seed where there are more; null: all", minimum=5),
    ]
    layer: Annotated[
        str | None,
        Key("the layer whose output is mapped; null: the penultimate features; pixels: the images"),
    ]
    features: Annotated[
        str | None,
        Key("a torchvision network trained on ImageNet instead of the run's: resnet18, vgg16, ..."),
    ]
    seed: Annotated[int, Key("seed of the selection and of t-SNE's initialization")]
    neighbors: Annotated[int, Key("nearest neighbors that the scores and the page use", minimum=1)]
    seeds: Annotated[
        int, Key("further maps from other seeds, to measure seed stability; 0: none", minimum=0)
    ]
    near_duplicates: Annotated[
        float | None,
        Key(
            "an image is a near-duplicate across splits when it is nearer than this share of the "
            "distance to the tenth nearest neighbor there; null: not searched",
            minimum=0,
            maximum=1,
        ),
    ]
    grid: Annotated[int, Key("rows and columns of grid.png", minimum=2, maximum=64)]
    device: Annotated[str, Key("auto, cpu, cuda, cuda:N or mps")]
    batch_size: Annotated[
        int | None, Key("images at once; null: the run's eval_batch_size", minimum=1)
    ]
    json: Annotated[bool, Key("print the numbers as JSON instead of text")]
    outputs: Annotated[
        str, Key("where runs are, and where results go if the run's folder is read-only")
    ]
    dataset: dict[str, Any]
    tsne: dict[str, Any]
    pca: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer == "pixels" and self.against:
            raise ValueError(
                "pixels are the same for every network: layer=pixels and against= do not go "
                "together"
            )
        if self.features and (self.against or self.layer == "pixels"):
            raise ValueError(
                "features= is another network's: against= and layer=pixels do not go with it"
            )
