"""The settings of `cnnlab predict`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class PredictSettings(Settings):
    """The keys of configs/predict.yaml."""

    images: Annotated[list[str], Key("image files, or folders of them")]
    run: Annotated[str, Key("a run folder, a sweep folder and a number or best, or last")]
    checkpoint: Annotated[
        str | int, Key("result (the one that train evaluated), last, best or a step")
    ]
    device: Annotated[str, Key("auto, cpu, cuda, cuda:N or mps")]
    top_k: Annotated[int, Key("most probable classes printed for each image", minimum=1)]
    format: Annotated[Literal["table", "csv", "json"], Key("how to print: table, csv or json")]
    outputs: Annotated[str, Key("where runs are")]
