"""The scores of `cnnlab eval` as text."""

from typing import Any

from cnnlab.core.display_text import format_cell


def format_score_table(scores: dict[str, Any], dataset: str, split: str) -> str:
    """Return the scores as a table 80 columns wide."""
    low, high = scores["interval_95"]
    rows = [
        f"\n{dataset} {split}: accuracy {scores['accuracy']:.2%} "
        f"({scores['correct']:,} of {scores['images']:,}; 95 % interval {low:.2%} to {high:.2%})",
        f"loss {scores['loss']:.4f}, "
        f"expected calibration error {scores['calibration']['error']:.2%}",
    ]
    if missing := format_missing_classes(scores, split):
        rows.append(missing)
    if single := scores.get("single_batches"):
        rows.append(
            f"{single['num_batches']:,} single batches of {single['size']}: "
            f"mean {single['mean']:.2%}, standard deviation {single['std']:.2%}, "
            f"best {single['best']:.2%}"
        )
    rows.append(f"\n{'class':<20}{'images':>10}{'precision':>12}{'recall':>10}{'F1':>10}")
    for name, row in scores["classes"].items():
        precision, recall, f1 = format_class_scores(row, split)
        # The reason for missing scores takes all of their columns.
        numbers = f"{precision:>12}{recall:>10}{f1:>10}" if precision else f"{f1:>32}"
        rows.append(f"{format_cell(name, 19)} {row['images']:>10,}{numbers}")
    return "\n".join(rows)


def format_class_scores(row: dict[str, Any], split: str) -> tuple[str, str, str]:
    """Return a class's precision, recall and F1; or that it has no images to measure them on."""
    if not row["images"]:
        return "", "", f"no {split} images"
    return f"{row['precision']:.2%}", f"{row['recall']:.2%}", f"{row['f1']:.2%}"


def format_missing_classes(scores: dict[str, Any], split: str) -> str:
    """Return how many classes the split has no images of, and which is the first; empty if none."""
    missing = [name for name, row in scores["classes"].items() if not row["images"]]
    if not missing:
        return ""
    count = f"{len(missing):,} of {len(scores['classes']):,}"
    example = format_cell(missing[0], 19).rstrip()
    return f"classes without {split} images: {count}, such as {example}"
