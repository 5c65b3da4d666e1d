"""The tables of docs/cifar10.md, from the summaries of the runs."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

import torch

from cnnlab.core.sweep_index import format_mean_std
from cnnlab.engine.learning_curves import ThresholdCrossing
from cnnlab.engine.metrics import NUM_BATCH_DRAWS, sample_batch_accuracies

from .configurations import CLAIMS, CONFIGURATIONS, PLANNED_SEEDS, STEPS_PER_EPOCH
from .summaries import BATCH_SIZE, Groups, StudyRun


def format_percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def format_scores(runs: Sequence[StudyRun]) -> str:
    """Return `79.37 % ± 0.21`, mean and standard deviation over seeds of the test accuracy."""
    return format_mean_std(tuple(run.test_accuracy for run in runs)).replace("%", " %")


def make_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, or of a sentence if there is no row yet."""
    lines = [headers, ["---"] * len(headers), *rows]
    if len(lines) == 2:
        return ["No run is finished yet."]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def build_progress(groups: Groups) -> list[str]:
    """Return a sentence: how many of the planned runs are finished, and which are not."""
    missing = {
        key: [seed for seed in seeds if seed not in {run.seed for run in groups.get(key, [])}]
        for key, seeds in PLANNED_SEEDS.items()
    }
    planned = sum(map(len, PLANNED_SEEDS.values()))
    num_missing = sum(map(len, missing.values()))
    text = f"{planned - num_missing} of the {planned} planned runs are finished."
    if num_missing:
        text += " The tables hold finished runs only; the other runs are in training or queued."
    return [text]


def build_scores(groups: Groups) -> list[str]:
    """Return the accuracy of every planned or finished configuration on all test images."""
    order = list(CONFIGURATIONS)
    keys = sorted({**PLANNED_SEEDS, **groups}, key=lambda key: (order.index(key[0]), key[1]))
    rows = []
    for name, epochs in keys:
        runs = groups.get((name, epochs), [])
        num_planned = len(PLANNED_SEEDS.get((name, epochs), runs))
        claim = format_percent(CLAIMS[name]) if name in CLAIMS else "-"
        score = format_scores(runs) if runs else "not finished"
        each = ", ".join(f"{100 * run.test_accuracy:.2f}" for run in runs) or "-"
        steps = f"{runs[0].steps if runs else STEPS_PER_EPOCH * epochs:,}"
        progress = f"{len(runs)} of {num_planned}"
        rows.append([f"`{name}`", steps, progress, claim, score, each])
    headers = ("configuration", "minibatches", "seeds finished", "the chapter")
    return make_table((*headers, "test accuracy, all 10,000 images", "each seed"), rows)


def batch_share_at_least(hits: int, images: int, accuracy: float) -> float:
    """Return the share of the batches of 128 of `images` images, `hits` of them classified
    correctly, whose accuracy is at least `accuracy`: the tail of the hypergeometric distribution,
    exactly."""
    first = math.ceil(accuracy * BATCH_SIZE)
    ways = sum(
        math.comb(hits, k) * math.comb(images - hits, BATCH_SIZE - k)
        for k in range(first, BATCH_SIZE + 1)
    )
    return ways / math.comb(images, BATCH_SIZE)


def format_odds(share: float) -> str:
    """Return a share as `1 in 340`, or as `3.1 %` above one in a hundred."""
    if share >= 0.01:
        return format_percent(share)
    if share < 1e-9:
        return "under 1 in a billion"
    return f"1 in {float(f'{1 / share:.2g}'):,.0f}"


def format_batches(accuracies: Sequence[dict[str, float]]) -> list[str]:
    """Return mean and standard deviation of single batches, and the best, over runs."""
    mean, std = (fmean(run[key] for run in accuracies) for key in ("mean", "std"))
    best = max(run["best"] for run in accuracies)
    return [f"{format_percent(mean)} ± {100 * std:.1f}", format_percent(best)]


def build_single_batches(groups: Groups) -> list[str]:
    """Return what single batches of 128 give, of the test images and of the training images."""
    rows = []
    size = {"batch_size": BATCH_SIZE, "num_batches": NUM_BATCH_DRAWS}
    for (name, _), runs in groups.items():
        rng = torch.Generator().manual_seed(0)
        test = [sample_batch_accuracies(run.hits, rng=rng, **size) for run in runs]
        shares = [
            fmean(batch_share_at_least(int(r.hits.sum()), r.test_images, claim) for r in runs)
            for claim in CLAIMS.values()
        ]
        row = [f"`{name}`", f"{runs[0].steps:,}", str(len(runs)), *format_batches(test)]
        row += map(format_odds, shares)
        rows.append(row + format_batches([run.training_batches for run in runs]))
    headers = ("configuration", "minibatches", "n", "one test batch: mean ± sd")
    headers += (f"best of {NUM_BATCH_DRAWS:,} a seed",)
    headers += tuple(f"share of {format_percent(claim)} or more" for claim in CLAIMS.values())
    return make_table((*headers, "one training batch: mean ± sd", "best"), rows)


def format_crossings(crossings: Sequence[ThresholdCrossing | None]) -> str:
    """Return mean and standard deviation of the minibatches to a threshold, and how many runs reach
    it if not all do."""
    steps = [crossing.step for crossing in crossings if crossing]
    if not steps:
        return "-"
    text = f"{fmean(steps):,.0f}" + (f" ± {stdev(steps):,.0f}" if len(steps) > 1 else "")
    is_partial = len(steps) < len(crossings)
    return text + (f" ({len(steps)} of {len(crossings)})" if is_partial else "")


def build_times(groups: Groups, metric: str) -> list[str]:
    """Return minibatches to each threshold of a metric, mean ± sd over seeds."""
    learned = {key: runs for key, runs in groups.items() if not key[0].startswith("fixed")}
    thresholds = next((list(runs[0].crossings[metric]) for runs in learned.values()), [])
    rows = []
    for (name, _), runs in learned.items():
        cells = [format_crossings([run.crossings[metric][t] for run in runs]) for t in thresholds]
        rows.append([f"`{name}`", f"{runs[0].steps:,}", str(len(runs)), *cells])
    headers = [format_percent(float(threshold), 0) for threshold in thresholds]
    return make_table(["configuration", "minibatches", "n", *headers], rows)


def build_origins(groups: Groups) -> list[str]:
    """Return what trained each configuration, and where."""
    columns = ("commit", "machine", "torch", "precision")
    rows = []
    for (name, _), runs in groups.items():
        row = [f"`{name}`", f"`{runs[0].command}`", ", ".join(str(run.seed) for run in runs)]
        row += [", ".join(dict.fromkeys(getattr(run, key) for run in runs)) for key in columns]
        rows.append(row)
    return make_table(("configuration", "command", "seeds", *columns), rows)
