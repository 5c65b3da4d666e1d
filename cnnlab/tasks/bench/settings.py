"""The settings of `cnnlab bench`."""

from dataclasses import dataclass
from typing import Annotated

from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class BenchSettings(Settings):
    """The keys that configs/bench.yaml has beside train.yaml's."""

    seconds: Annotated[
        float, Key("of training that are measured, at least", unit="seconds", above=0)
    ]
    batch_sizes: Annotated[
        list[int] | None,
        Key("also measure each of these batch sizes, e.g. [32,64,128]; null: none", minimum=1),
    ]
    profile: Annotated[bool, Key("also write a trace of a few steps, for Perfetto")]
    one_line: Annotated[bool, Key("print one line a model")]
