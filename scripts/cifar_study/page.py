"""Write the tables of docs/cifar10.md and its figure from the summaries of the runs."""

import re

from cnnlab.core.files import write_text

from .effects import FACTORS, OTHER_SETTINGS, build_differences
from .figure import build_figure
from .summaries import FOLDER, group_by_seed, read_summaries
from .tables import (
    build_origins,
    build_progress,
    build_scores,
    build_single_batches,
    build_times,
)

PAGE = FOLDER.parent / "cifar10.md"
SECTIONS = {
    "progress": build_progress,
    "scores": build_scores,
    "single batches": build_single_batches,
    "validation": lambda groups: build_times(groups, "validation_accuracy"),
    "training batches": lambda groups: build_times(groups, "train_accuracy"),
    "figure": build_figure,
    "differences": lambda groups: build_differences(groups, FACTORS),
    "other settings": lambda groups: build_differences(groups, OTHER_SETTINGS),
    "commands": build_origins,
}


def replace_section(page: str, name: str, lines: list[str]) -> str:
    """Return the page with the lines between a section's two comments replaced.

    Raises ValueError if the page does not have the section exactly once."""
    begin, end = f"<!-- {name}: by scripts/reproduce_cifar --table -->\n", "\n<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = "\n".join(["", *lines, ""])
    page, count = pattern.subn(lambda _: begin + text + end, page)
    if count != 1:
        raise ValueError(f"{PAGE.name} has the section {name!r} {count} times")
    return page


def write_page() -> None:
    """Write tables and figure, from the summaries alone."""
    groups = group_by_seed(read_summaries())
    page = PAGE.read_text()
    for name, build in SECTIONS.items():
        page = replace_section(page, name, build(groups))
    write_text(PAGE, page)
    print(f"{sum(map(len, groups.values()))} runs in {PAGE}")
