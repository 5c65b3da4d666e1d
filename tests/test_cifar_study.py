"""The CIFAR-10 study: summaries of runs, and the page made from them."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cnnlab.engine.learning_curves import MetricCurve, ThresholdCrossing

ROOT = Path(__file__).resolve().parents[1]
NUM_IMAGES = 200
LoadModule = Callable[[str], ModuleType]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoadModule:
    """Load a module of the study, whose summaries are in a folder of the test."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    summaries = import_module("cifar_study.summaries")
    monkeypatch.setattr(summaries, "FOLDER", tmp_path / "cifar10_runs")
    return lambda name: import_module(f"cifar_study.{name}")


def make_run(summaries: ModuleType, name: str, seed: int, num_hits: int, step: int = 900):
    """Return a run of which the first `num_hits` of 200 test images are hits."""
    steps = (351, 702, 20_007)
    curve = MetricCurve(steps, (1.0, 2.0, 3.0), (0.5, 0.75, 0.8))
    crossings = {"0.75": ThresholdCrossing(step, 2.0), "0.9": None}
    return summaries.StudyRun(
        name=name,
        seed=seed,
        epochs=57,
        steps=20_007,
        run=f"run_{name}_{seed}",
        command="cnnlab train",
        commit="abc",
        machine="a CPU",
        torch="2.14.1",
        precision="bfloat16",
        seconds=3.0,
        test_accuracy=num_hits / NUM_IMAGES,
        test_images=NUM_IMAGES,
        test_hits=summaries.pack_hits(torch.arange(NUM_IMAGES) < num_hits),
        test_labels="labels",
        training_batches={"mean": 0.8, "std": 0.04, "best": 0.9},
        crossings={"validation_accuracy": crossings, "train_accuracy": crossings},
        curves={"train_loss": curve, "train_accuracy": curve, "validation_accuracy": curve},
    )


def test_summary_of_a_run_gives_its_score_and_curves_back(
    study: LoadModule, tiny_run: Path
) -> None:
    summaries = study("summaries")
    run = replace(summaries.summarize_run(tiny_run), name="cnn")
    summaries.write_summary(run)
    assert summaries.read_summaries() == [run]
    result = json.loads((tiny_run / "result.json").read_text())
    assert float(run.hits.double().mean()) == pytest.approx(result["test"]["accuracy"])
    validation = run.curves["validation_accuracy"]
    assert validation.values[-1] == round(result["validation"]["accuracy"], 4)
    assert 0 < run.training_batches["mean"] <= run.training_batches["best"] <= 1
    assert str(tiny_run.parent) not in (summaries.FOLDER / run.file_name).read_text()


def test_curves_over_training_batches_are_thinned_to_200_points(study: LoadModule) -> None:
    steps = tuple(range(50, 80_001, 50))
    seconds, values = tuple(map(float, steps)), tuple(step / 1e5 for step in steps)
    curve = MetricCurve(steps, seconds, values)
    thin = study("summaries").thin_curve("train_loss", curve)
    assert (len(thin.steps), thin.steps[0], thin.steps[-1]) == (200, 400, 80_000)
    assert thin.values[0] == pytest.approx(sum(values[:8]) / 8, abs=1e-4)
    assert study("summaries").thin_curve("validation_accuracy", curve).steps == steps


def test_share_of_batches_is_that_of_all_batches(study: LoadModule) -> None:
    """Batches of 128 of 130 images leave two out: 119 or 120 hits if at most one of these is a
    hit."""
    share = study("tables").batch_share_at_least(120, 130, 0.923)
    assert share == pytest.approx(1 - math.comb(120, 2) / math.comb(130, 2))
    assert study("tables").format_odds(0.00294) == "1 in 340"
    assert study("tables").format_odds(0.031) == "3.1 %"


def test_thresholds_show_spread_and_how_many_runs_reach_them(study: LoadModule) -> None:
    format_crossings = study("tables").format_crossings
    crossings = [ThresholdCrossing(1_800, 1.0), ThresholdCrossing(2_200, 2.0)]
    assert format_crossings([*crossings, None]) == "2,000 ± 283 (2 of 3)"
    assert format_crossings(crossings[:1]) == "1,800"
    assert format_crossings([None]) == "-"


def test_differences_pair_seeds_and_add_up_along_both_paths(study: LoadModule) -> None:
    summaries, effects = study("summaries"), study("effects")
    hits = {"cnn": 100, "cnn_rate_x10": 110, "bn_dropout": 150, "bn": 160}
    hits |= {"cnn_no_dropout": 90, "bn_rate_div10": 154}
    runs = [
        make_run(summaries, name, seed, count + seed * (name == "bn"))
        for name, count in hits.items()
        for seed in (3, 1)
    ]
    runs.append(make_run(summaries, "bn", 2, 0))  # without partner
    groups = summaries.group_by_seed(runs)
    points = [float(effects.format_difference(groups, row)[3]) for row in effects.FACTORS]
    assert points == [31, 5, 20, 6, -5, 32, 4]
    assert points[0] == sum(points[1:4]) == sum(points[4:])
    all_three = effects.format_difference(groups, effects.FACTORS[0])
    assert all_three[2] == "2" and all_three[-1] == "+31.50, +30.50"
    others = effects.build_differences(groups, effects.OTHER_SETTINGS)
    assert all("not finished" in row for row in others[2:])
    other_images = replace(runs[0], test_labels="others")
    with pytest.raises(ValueError, match="different test images"):
        effects.pair_by_seed([other_images], [make_run(summaries, "bn", 3, 1)])


def test_interval_over_seeds_is_students(study: LoadModule) -> None:
    interval_over_seeds = study("effects").interval_over_seeds
    half_width = 4.302652729911275 / math.sqrt(3)  # of a table of Student's t, 2 degrees
    assert interval_over_seeds([1.0, 2.0, 3.0]) == pytest.approx((2 - half_width, 2 + half_width))
    assert interval_over_seeds([1.0]) is None


def test_page_is_rebuilt_from_the_summaries(
    study: LoadModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the page's sections is there, once, and can be replaced again."""
    summaries, page, figure = study("summaries"), study("page"), study("figure")
    tables = study("tables")
    monkeypatch.setattr(tables, "NUM_BATCH_DRAWS", 20)
    text = (ROOT / "docs" / "cifar10.md").read_text()
    monkeypatch.setattr(page, "PAGE", tmp_path / "cifar10.md")
    monkeypatch.setattr(figure, "FIGURE", tmp_path / "figure.png")
    page.PAGE.write_text(text)
    for name, seed, num_hits in (("cnn", 1, 150), ("cnn", 2, 160), ("bn", 1, 170)):
        summaries.write_summary(make_run(summaries, name, seed, num_hits))
    page.write_page()
    written = page.PAGE.read_text()
    assert "3 of the 37 planned runs are finished." in written
    assert "| `cnn` | 20,007 | 2 of 3 | 92.3 % | 77.50 % ± 3.54 | 75.00, 80.00 |" in written
    assert "| `cnn` | 20,007 | 2 | 900 ± 0 | - |" in written
    assert written.count("<!-- end -->") == text.count("<!-- end -->") == len(page.SECTIONS)
    assert (
        "![Validation error after 20,007 minibatches: 20.0 % without, 20.0 % with batch" in written
    )
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    again = page.replace_section(written, "progress", tables.build_progress({}))
    assert again == written.replace("3 of the 37", "0 of the 37")


def test_figure_draws_the_range_of_its_runs(study: LoadModule) -> None:
    summaries, figure = study("summaries"), study("figure")
    runs = [make_run(summaries, "bn", seed, 150) for seed in (1, 2, 3)]
    curves = [MetricCurve((351, 702), (1.0, 2.0), (0.5, v)) for v in (0.6, 0.7, 0.83)]
    runs = [
        replace(r, curves={"validation_accuracy": c}) for r, c in zip(runs, curves, strict=True)
    ]
    curve = figure.average_runs("with batch normalization (bn)", runs, "validation_accuracy")
    assert curve.mean == pytest.approx([50, 29], abs=1e-4)
    assert (curve.low, curve.high) == ([50, 17], [50, 40])
    title = figure.format_title([curve], [3])
    assert title.split("\n") == [
        "Validation error after 702 minibatches: 29.0 % with batch normalization",
        "mean and range of 3 seeds",
    ]
