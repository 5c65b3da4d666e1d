"""Describe the images that a folder gave: per class and split, and what was left out."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cnnlab.core.display_text import count_noun, format_cell, wrap_words
from cnnlab.core.quoting import printable
from cnnlab.data.dataset import ImageSet
from cnnlab.data.image_tree import MAX_LISTED, join_names

MAX_CLASSES = 10  # that are listed; of more, the largest and the smallest
NUM_EXTREMES = 4
LINE_WIDTH = 80
NAME_WIDTH = 32


@dataclass(frozen=True)
class FolderReport:
    """What an image set from the folder `root` says beside its own images.

    `test_labels`: of the test images. `skipped`: (reason, number of files). `ignored`: folders
    without images. `copies`: lines about files with equal content; `copy_groups`: these files' full
    paths.
    """

    test_labels: tuple[int, ...] = ()
    skipped: tuple[tuple[str, int], ...] = ()
    ignored: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    root: str = ""
    copy_groups: tuple[tuple[str, ...], ...] = ()


def describe_folder_images(train_set: ImageSet, validation_set: ImageSet) -> list[str]:
    """Return lines on the images of each class and split and on what was left out; none for a data
    set that is no folder."""
    report = get_report(train_set)
    if report is None:
        return []
    counts = {
        "training": count_labels(train_set.labels.tolist(), len(train_set.classes)),
        "validation": count_labels(validation_set.labels.tolist(), len(train_set.classes)),
        "test": count_labels(report.test_labels, len(train_set.classes)),
    }
    return [
        *format_class_counts(train_set.classes, counts),
        *describe_left_out(train_set),
        *describe_validation_copies(report, train_set, validation_set),
    ]


def describe_absent_classes(image_set: ImageSet, split: str) -> list[str]:
    """Return lines that name the classes of which an image set has no images."""
    counts = count_labels(image_set.labels.tolist(), len(image_set.classes))
    return format_absent_classes(image_set.classes, counts, split)


def get_report(image_set: ImageSet) -> FolderReport | None:
    """Return the report of an image set from a folder; None for others."""
    report = getattr(image_set, "report", None)
    return report if isinstance(report, FolderReport) else None


def count_labels(labels: Iterable[int], num_classes: int) -> list[int]:
    """Return the number of images of each class."""
    counts = [0] * num_classes
    for label in labels:
        counts[label] += 1
    return counts


def format_class_counts(classes: Sequence[str], counts: dict[str, list[int]]) -> list[str]:
    """Return a table of the classes' images by split, and which classes a split lacks."""
    totals = [sum(row) for row in zip(*counts.values(), strict=True)]
    order = list(range(len(classes)))
    title = count_noun(len(classes), "class")
    if len(classes) > MAX_CLASSES:
        by_size = sorted(order, key=lambda label: -totals[label])
        order = by_size[:NUM_EXTREMES] + by_size[-NUM_EXTREMES:]
        title += f", the {NUM_EXTREMES} largest and smallest"
    lines = [f"{title:<{NAME_WIDTH}}" + "".join(f"{split:>12}" for split in counts)]
    for label in order:
        numbers = "".join(f"{column[label]:>12,}" for column in counts.values())
        lines.append(f"  {format_cell(classes[label], NAME_WIDTH - 2)}{numbers}")
    for split, column in counts.items():
        lines += format_absent_classes(classes, column, split)
    return lines


def format_absent_classes(classes: Sequence[str], counts: Sequence[int], split: str) -> list[str]:
    """Return lines that name the classes with a count of zero; none where there are none."""
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not absent:
        return []
    noun = "class" if len(absent) == 1 else f"{len(absent):,} classes:"
    return wrap_line(f"no {split} images of {noun} {join_names(absent)}")


def describe_left_out(image_set: ImageSet) -> list[str]:
    """Return lines on the files and folders of a folder data set that are not used, and copies."""
    report = get_report(image_set)
    if report is None:
        return []
    lines = []
    if report.skipped:
        reasons = sorted(report.skipped, key=lambda row: -row[1])
        listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons[:MAX_LISTED])
        more = sum(count for _, count in reasons[MAX_LISTED:])
        others = f"; {more:,} others" if more else ""
        lines += wrap_line(f"skipped: {listed}{others}")
    if report.ignored:
        lines += wrap_line(f"ignored, without images: {join_names(report.ignored)}")
    return [*lines, *report.copies]


def describe_copies(
    root: str,
    trained: Sequence[tuple[str, int]],
    tested: Sequence[tuple[str, int]],
    groups: Sequence[Sequence[str]],
) -> tuple[str, ...]:
    """Return lines on `groups` of full paths of equal content: test images that are among those to
    train or validate with, and images of two classes. `trained`, `tested`: (path, label)."""
    if not groups:
        return ()
    prefix = os.path.join(root, "")  # noqa: PTH118
    train_labels, test_labels = dict(trained), dict(tested)
    known, leaked, contradictory = train_labels | test_labels, [], []
    for group in groups:
        paths = [path.removeprefix(prefix) for path in group]
        seen = [path for path in paths if path in train_labels]
        leaked += [(path, seen[0]) for path in paths if seen and path in test_labels]
        first = next((path for path in paths if path in known), "")
        contradictory += [
            (first, path) for path in paths if path in known and known[path] != known[first]
        ]
    return (
        *format_pairs(leaked, "test image", "also in training or validation"),
        *format_pairs(contradictory, "image", "of two classes"),
    )


def describe_validation_copies(
    report: FolderReport, train_set: ImageSet, validation_set: ImageSet
) -> list[str]:
    """Return lines on images to validate with of which a copy is trained with."""
    train_paths, validation_paths = (
        set(getattr(image_set, "paths", ())) for image_set in (train_set, validation_set)
    )
    pairs = []
    for group in report.copy_groups:
        trained = [path for path in group if path in train_paths]
        pairs += [(path, trained[0]) for path in group if trained and path in validation_paths]
    prefix = os.path.join(report.root, "")  # noqa: PTH118
    shown = [(path.removeprefix(prefix), copy.removeprefix(prefix)) for path, copy in pairs]
    return format_pairs(shown, "validation image", "also in training")


def format_pairs(pairs: Sequence[tuple[str, str]], noun: str, problem: str) -> list[str]:
    """Return lines with the number of pairs of copies and the first of them."""
    if not pairs:
        return []
    first, second = map(printable, pairs[0])
    count = f"1 {noun} is" if len(pairs) == 1 else f"{len(pairs):,} {noun}s are"
    return [f"{count} {problem} (equal files), such as", f"  {first}", f"  {second}"]


def wrap_line(line: str) -> list[str]:
    """Return a line in lines that fit the width, all but the first indented."""
    first, *others = wrap_words(line, LINE_WIDTH - 2)
    return [first, *(f"  {other}" for other in others)]
