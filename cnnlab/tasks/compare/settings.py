"""The settings of `cnnlab compare`."""

from dataclasses import dataclass

from cnnlab.core.files import check_folder_name


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """configs/compare.yaml's keys and their types."""

    runs: list[str]
    thresholds: list[float]
    consecutive: int
    name: str
    json: bool
    outputs: str

    def __post_init__(self) -> None:
        if not all(0 < threshold <= 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds must be above 0 and at most 1, not {self.thresholds}")
        if self.consecutive < 1:
            raise ValueError(f"consecutive must be at least 1, not {self.consecutive}")
        check_folder_name(self.name)
