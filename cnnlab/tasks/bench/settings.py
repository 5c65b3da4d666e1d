"""The settings of `cnnlab bench`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """The keys that configs/bench.yaml has beside train.yaml's."""

    seconds: float
    batch_sizes: list[int] | None
    profile: bool
    one_line: bool

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"seconds must be above 0, not {self.seconds}")
        if any(size < 1 for size in self.batch_sizes or []):
            raise ValueError(f"batch_sizes must be at least 1 each, not {self.batch_sizes}")
