"""The settings of `cnnlab eval`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class EvalSettings(Settings):
    """The keys of configs/eval.yaml."""

    run: Annotated[str, Key("a run folder, a sweep folder and a number or best, or last")]
    checkpoint: Annotated[
        str | int, Key("result (the one that train evaluated), last, best or a step")
    ]
    split: Annotated[Literal["test", "validation", "train"], Key("the images to evaluate on")]
    device: Annotated[str, Key("auto, cpu, cuda, cuda:N or mps")]
    batch_size: Annotated[
        int | None, Key("images at once; null: the run's eval_batch_size", minimum=1)
    ]
    mistakes: Annotated[int, Key("most confident mistakes shown", minimum=0)]
    single_batch_size: Annotated[
        int | None,
        Key("also report what 1,000 single batches of this many images would have shown"),
    ]
    json: Annotated[bool, Key("print the numbers as JSON instead of text")]
    outputs: Annotated[
        str, Key("where runs are, and where results go if the run's folder is read-only")
    ]
    dataset: dict[str, Any]
