"""The settings of `cnnlab compare`."""

from dataclasses import dataclass
from typing import Annotated

from cnnlab.core.files import check_folder_name
from cnnlab.core.keys import Key, Settings


@dataclass(frozen=True, kw_only=True)
class CompareSettings(Settings):
    """The keys of configs/compare.yaml."""

    runs: Annotated[list[str], Key("run folders, sweep folders, patterns (*), last or best")]
    thresholds: Annotated[
        list[float],
        Key("accuracies; steps and time to each are reported", above=0, maximum=1),
    ]
    consecutive: Annotated[
        int, Key("validations in a row at or above a threshold, the first counts", minimum=1)
    ]
    name: Annotated[str, Key("the folder is outputs/compare/<date>_<time>_<name>")]
    json: Annotated[bool, Key("print the numbers as JSON instead of text")]
    outputs: Annotated[str, Key("where runs are, and where the comparison goes")]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder_name(self.name)
