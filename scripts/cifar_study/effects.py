"""What single settings change: paired differences between configurations of the study."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

import torch

from cnnlab.engine.metrics import compare_paired_accuracy

from .configurations import STUDY_EPOCHS
from .summaries import Groups, StudyRun
from .tables import make_table

# (what changes, from, to). Six of the eight combinations of batch normalization, learning rate and
# dropout were trained; they form two paths from the chapter's one network to the other.
FACTORS = (
    ("**all three, the chapter's comparison**", "cnn", "bn"),
    ("first path: rate 0.001 to 0.01", "cnn", "cnn_rate_x10"),
    ("then **batch normalization** (rate 0.01, dropout)", "cnn_rate_x10", "bn_dropout"),
    ("then no dropout", "bn_dropout", "bn"),
    ("second path: no dropout", "cnn", "cnn_no_dropout"),
    ("then **batch normalization** (rate 0.001, no dropout)", "cnn_no_dropout", "bn_rate_div10"),
    ("then rate 0.001 to 0.01", "bn_rate_div10", "bn"),
)
OTHER_SETTINGS = tuple(
    (change, base, f"{base}_{suffix}")
    for change, suffix in (
        ("L2 penalty of 0.0005", "l2"),
        ("without random brightness and contrast", "no_photometric"),
        ("logits as listed in the chapter", "as_listed"),
    )
    for base in ("cnn", "bn")
)
Contrast = tuple[str, str, str]


def pair_by_seed(first: Sequence[StudyRun], second: Sequence[StudyRun]) -> list[list[StudyRun]]:
    """Return the runs of each seed that both configurations have.

    Raises ValueError if they were evaluated on different test images."""
    by_seed = {run.seed: run for run in second}
    pairs = [[run, by_seed[run.seed]] for run in first if run.seed in by_seed]
    if len({run.test_labels for pair in pairs for run in pair}) > 1:
        raise ValueError(f"{pairs[0][0].name} and {pairs[0][1].name}: different test images")
    return pairs


def interval_over_seeds(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% interval of a mean difference, by Student's t; None for one seed."""
    if len(differences) < 2:
        return None
    from scipy.special import stdtrit

    count = len(differences)
    half_width = float(stdtrit(count - 1, 0.975)) * stdev(differences) / math.sqrt(count)
    return fmean(differences) - half_width, fmean(differences) + half_width


def format_interval(interval: tuple[float, float] | None) -> str:
    return "{:+.2f} to {:+.2f}".format(*(100 * x for x in interval)) if interval else "-"


def format_difference(groups: Groups, contrast: Contrast) -> list[str]:
    """Return the row of a difference: second configuration minus first."""
    change, first, second = contrast
    pairs = pair_by_seed(*(groups.get((name, STUDY_EPOCHS), []) for name in (first, second)))
    label = [change, f"`{second}` - `{first}`"]
    if not pairs:
        return [*label, "0", "not finished", "-", "-", "-"]
    hits = [torch.stack([run.hits for run in runs]) for runs in zip(*pairs, strict=True)]
    test = compare_paired_accuracy(*hits)
    differences = [float(b.double().mean() - a.double().mean()) for a, b in zip(*hits, strict=True)]
    return [
        *label,
        str(len(pairs)),
        f"{100 * test['difference']:+.2f}",
        format_interval(test["interval_95"]),
        format_interval(interval_over_seeds(differences)),
        ", ".join(f"{100 * value:+.2f}" for value in differences),
    ]


def build_differences(groups: Groups, contrasts: Sequence[Contrast]) -> list[str]:
    """Return a table of differences in test accuracy, in points, with 95 % intervals."""
    headers = ("what changes", "difference", "n", "points", "95 %, other test images")
    headers += ("95 %, other seeds", "each seed")
    return make_table(headers, [format_difference(groups, contrast) for contrast in contrasts])
