"""The settings of `cnnlab stylize`, and which of them an output image records."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from cnnlab.core.keys import Key, Settings, iterate_keys
from cnnlab.tasks.stylize.settings_checks import (
    check_masks,
    check_style_scale,
    check_style_weights,
    parse_duration,
)

TIMED_SUPERSAMPLING = 2.0  # with a time limit: measured to help up to here


@dataclass(frozen=True, kw_only=True)
class StylizeSettings(Settings):
    """The keys of configs/stylize.yaml; those of the style, the features and the optimizers are
    checked by their builders."""

    content: Annotated[
        str | None, Key("the content image, a folder of them, or a clip", recorded=False)
    ]
    styles: Annotated[list[str], Key("the style image, or several", recorded=False)]
    network: Annotated[
        str | None,
        Key(
            "a style network to apply in place of a style image: a run's folder, last, or a "
            ".safetensors file",
            recorded=False,
        ),
    ]
    style_weights: Annotated[
        list[float] | None, Key("the weight of each style image, e.g. [2,1]; null: equal")
    ]
    out: Annotated[
        str | None,
        Key(
            ".png, .jpg, .tif or .webp to write; null: content_style.png beside the content image",
            recorded=False,
        ),
    ]
    overwrite: Annotated[
        bool, Key("replace an existing file; otherwise _2, _3, ... is appended", recorded=False)
    ]
    size: Annotated[
        int | None,
        Key(
            "of the longer side; null: the content image's own; nothing is enlarged",
            unit="pixels",
            minimum=1,
        ),
    ]
    supersampling: Annotated[
        float,
        Key(
            "size of the last scale, relative to the output image, to which it is then reduced; "
            "with time= at least 2, as far as time allows; 1: none",
            minimum=1,
            maximum=4,
        ),
    ]
    time: Annotated[
        str | float | None,
        Key("time limit: 30s, 2m, 1:30; null: as many steps as below", recorded=False),
    ]
    steps: Annotated[int, Key("optimization steps at each scale but the coarsest", minimum=1)]
    first_steps: Annotated[int, Key("optimization steps at the coarsest scale", minimum=1)]
    coarsest: Annotated[
        int,
        Key(
            "of the longer side that the coarsest scale has at least; each next scale is 1.41 "
            "times as large",
            unit="pixels",
            minimum=1,
        ),
    ]
    style_scale: Annotated[
        float | list[float],
        Key(
            "size of the style images, as a share of that which gives them the output's area; they "
            "are never enlarged; or one for each, e.g. [1,0.5]",
            above=0,
        ),
    ]
    mask: Annotated[
        str | list[str] | None,
        Key(
            "grayscale image: white is stylized, black stays the content image, gray is between "
            "them; or one for each style image, e.g. [sky.png,ground.png]",
            recorded=False,
        ),
    ]
    content_map: Annotated[
        str | None,
        Key(
            "grayscale image: content weighs content_map_weight times as much in white as in black",
            recorded=False,
        ),
    ]
    content_map_weight: Annotated[
        float, Key("weight of content in the white of content_map", minimum=1)
    ]
    wrap: Annotated[
        bool,
        Key(
            "make a seamless tile: opposite sides are neighbors, each a multiple of 16 pixels; "
            "there is no margin"
        ),
    ]
    margin: Annotated[
        int,
        Key(
            "around the image that are optimized with it and cropped, so that no frame shows",
            unit="pixels",
            minimum=0,
            maximum=1024,
        ),
    ]
    color: Annotated[
        Literal["style", "content", "matched"],
        Key(
            "style; content: only luminance is stylized; matched: the style image's colors are "
            "matched to the content image's first"
        ),
    ]
    start: Annotated[
        Literal["content", "noise", "style"],
        Key("what the first scale starts from: content, noise or style"),
    ]
    start_noise: Annotated[
        float,
        Key(
            "range of uniform noise added to that start: without it, nothing but the border tells "
            "apart the positions of a flat image",
            minimum=0,
            maximum=1,
        ),
    ]
    total_variation: Annotated[
        float, Key("weight of the mean squared difference of neighboring pixels", minimum=0)
    ]
    optimizer: Annotated[Literal["lbfgs", "adam"], Key("lbfgs or adam")]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Key("of the convolutions: float32, bfloat16 or auto (bfloat16 on a GPU)"),
    ]
    seed: Annotated[int, Key("seed of noise and of random features", minimum=0, below=1 << 40)]
    device: Annotated[str, Key("auto, cpu, cuda, cuda:N or mps", recorded=False)]
    threads: Annotated[int | None, Key("CPU threads; null: all", minimum=1)]
    max_pixels: Annotated[
        int, Key("an image of more pixels is refused before decoding", recorded=False, minimum=1)
    ]
    memory_limit: Annotated[
        str | float | None,
        Key("4GB, 800MB: device memory to use; null: most of what is free", recorded=False),
    ]
    max_tile_pixels: Annotated[
        int | None,
        Key(
            "that the network is given at once, at most; null: as many as memory holds",
            unit="pixels",
            minimum=1,
        ),
    ]
    log_every: Annotated[
        int, Key("between lines in TensorBoard", unit="steps", recorded=False, minimum=1)
    ]
    preview_every: Annotated[
        int, Key("between images in TensorBoard", unit="steps", recorded=False, minimum=1)
    ]
    download: Annotated[
        bool, Key("download missing weights: vgg19's, or those of features=", recorded=False)
    ]
    reproduce: Annotated[
        str | None, Key("an image that stylize made, to make once more", recorded=False)
    ]
    score: Annotated[
        str | None,
        Key("an image of any program, whose losses are computed instead", recorded=False),
    ]
    frame_steps: Annotated[
        int,
        Key("optimization steps of a clip's frames after the first", recorded=False, minimum=1),
    ]
    temporal_weight: Annotated[
        float,
        Key(
            "weight of a moving pixel's mean squared change from frame to frame of a clip",
            recorded=False,
            minimum=0,
        ),
    ]
    max_frames: Annotated[
        int,
        Key("a clip of more frames is refused before decoding", recorded=False, minimum=1),
    ]
    explore: Annotated[
        list[str],
        Key(
            "one or two keys with values to compare, e.g. ['style.strength=0.5,0.8']",
            recorded=False,
        ),
    ]
    explore_size: Annotated[
        int,
        Key(
            "of the longer side of the images of --explore, unless size= is given",
            unit="pixels",
            recorded=False,
            minimum=1,
        ),
    ]
    json: Annotated[bool, Key("print the numbers as JSON instead of text", recorded=False)]
    outputs: Annotated[str, Key("where the logs go, below stylize/", recorded=False)]
    style: dict[str, Any]
    features: dict[str, Any]
    lbfgs: dict[str, Any]
    adam: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.style_weights is not None:
            check_style_weights(self.style_weights, len(self.styles))
        check_style_scale(self.style_scale, len(self.styles))
        if self.mask_paths:
            check_masks(self.mask_paths, len(self.styles), self.style_weights, wrap=self.wrap)
        if self.time is not None:
            parse_duration(str(self.time))
        if self.memory_limit is not None:
            from cnnlab.core.memory import parse_bytes  # imports torch

            parse_bytes(str(self.memory_limit))

    @property
    def style_scales(self) -> list[float]:
        """Return each style image's scale."""
        scale = self.style_scale
        return scale if isinstance(scale, list) else [scale] * len(self.styles)

    @property
    def mask_paths(self) -> list[str]:
        """Return the masks' files: none, one, or one for each style image."""
        if self.mask is None:
            return []
        return self.mask if isinstance(self.mask, list) else [self.mask]

    @property
    def max_supersampling(self) -> float:
        """Return the size of the largest scale relative to the output image's."""
        if self.time is None or self.supersampling == 1:
            return self.supersampling
        return max(self.supersampling, TIMED_SUPERSAMPLING)

    @property
    def time_limit_s(self) -> float | None:
        return None if self.time is None else parse_duration(str(self.time))


UNRECORDED_KEYS = tuple(
    name for name, info in iterate_keys(StylizeSettings) if not info.is_recorded
)
RECORDED_KEYS = tuple(
    field.name for field in fields(StylizeSettings) if field.name not in UNRECORDED_KEYS
)
