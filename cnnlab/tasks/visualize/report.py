"""The page that shows a whole run: report.html."""

from pathlib import Path

import torch

from cnnlab.core.errors import CnnlabError
from cnnlab.core.figure_log import LoggedFigure
from cnnlab.core.files import read_json, write_text
from cnnlab.core.predictions import read_predictions
from cnnlab.engine.metrics import classification_report
from cnnlab.models import build_model
from cnnlab.models.summary import LayerSummary, summarize_layers
from cnnlab.tasks.compare.curves import build_curve_panel, find_shared_metrics
from cnnlab.tasks.compare.curves import format_curves_title as curves_title
from cnnlab.tasks.compare.runs import group_runs_by_settings, read_run_curves
from cnnlab.tasks.describe.tables import (
    build_diagram_volumes,
    format_decimal_bytes,
    format_filters,
    format_volume,
)
from cnnlab.tasks.eval.figures import build_eval_figures
from cnnlab.tasks.visualize.context import RunContext
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.viz.curves import plot_learning_curves
from cnnlab.viz.network_diagram import render_network_svg
from cnnlab.viz.report_page import ReportFigure, ReportSection, ReportTable, render_report_page

MAX_REPORTED_MISTAKES = 18
SECTION_TITLES = {
    "filters": "Filters",
    "feature_maps": "Pictures on their way through",
    "top_activations": "What excites it",
    "saliency": "Where it looks",
    "activation_maximization": "What it would like to see",
    "invariance": "What it does not mind",
}


def write_report(look: RunContext) -> Path:
    """Everything that was found of a run as one file that a browser opens without a network; returns its path."""
    trained, config = look.trained, look.trained.config
    facts = [
        f"{config['model']['name']} on {config['dataset']['name']}, step {trained.step:,}, seed {config.get('seed')}",
        str(trained.folder),
    ]
    sections = [
        build_architecture_section(look),
        build_training_section(look),
        build_scores_section(look),
        *build_visualizer_sections(look),
    ]
    path = look.figure_log.folder / "report.html"
    write_text(
        path,
        render_report_page(
            f"{config.get('name', trained.folder.name)}: a look inside", facts, sections
        ),
    )
    return path


def build_architecture_section(look: RunContext) -> ReportSection:
    """The volumes as a drawing, and what each layer has and costs."""
    shape = look.input_shape
    with torch.device("meta"):  # as it trains; the network that is looked at overwrites nothing
        layers = summarize_layers(
            build_model(look.trained.config["model"], shape, len(look.classes)), shape
        )
    rows = [format_layer_row(one) for one in layers]
    head = [
        "layer",
        "output",
        "filters",
        "weights",
        "biases",
        "multiply-adds",
        "memory forward",
        "sees, pixels",
    ]
    parameters, work = (
        sum(one.parameters for one in layers),
        sum(one.multiply_adds for one in layers),
    )
    text = f"{parameters:,} parameters, {work:,} multiply-adds a picture. Volumes are width x height x depth."
    drawing = render_network_svg(build_diagram_volumes(layers, shape), "")
    return ReportSection("Architecture", text, ReportTable(head, rows), drawing)


def format_layer_row(one: LayerSummary) -> list[str]:
    """What a layer is, has and costs; nothing stands where there is nothing."""
    counts = [f"{n:,}" if n else "" for n in (one.weights, one.biases, one.multiply_adds)]
    held = (
        format_decimal_bytes(one.forward_memory.per_image) if one.forward_memory.per_image else ""
    )
    return [
        one.name,
        format_volume(one.output),
        format_filters(one),
        *counts,
        held,
        format_volume((1, *one.receptive_field.size)).removesuffix("x1"),
    ]


def build_training_section(look: RunContext) -> ReportSection:
    """The curves, or why there are none."""
    try:
        arms = group_runs_by_settings([read_run_curves(look.trained.folder)])
        image = plot_learning_curves(
            [build_curve_panel(arms, metric) for metric in find_shared_metrics(arms)],
            curves_title(arms),
        )
    except CnnlabError as error:
        return ReportSection("Training", missing_reasons=[str(error)])
    look.figure_log.log_figure(
        "curves",
        image,
        {metric: vars(band) for metric, band in arms[0].mean_curves.items()},
        curves_title(arms),
    )
    return ReportSection("Training", figures=[ReportFigure(image, "By step and by time.")])


def build_scores_section(look: RunContext) -> ReportSection:
    """Scores of the split, confusion, calibration and the most confident mistakes. The run's own answers to the test
    set where it is finished and they are asked for; else those that the visualizers saw, of one view each."""
    s, answers = look.settings, look.trained.folder / "test.safetensors"
    own = (
        s.split == "test"
        and str(s.checkpoint) == "result"
        and answers.exists()
        and is_final_checkpoint(look)
    )
    labels = look.images.labels.cpu()
    logits, answered = read_predictions(answers) if own else (look.split_activations.logits, labels)
    if own and not torch.equal(answered, labels):  # the user's pictures have changed since
        own, logits = False, look.split_activations.logits
    found = classification_report(logits, labels, look.classes)
    low, high = found["interval_95"]
    text = (
        f"{s.split} accuracy {found['accuracy']:.2%} ({found['correct']:,} of {found['images']:,}; 95 % interval "
        f"{low:.2%} to {high:.2%}), loss {found['loss']:.4f}."
    )
    if not own and look.trained.preprocess.num_views > 1:
        text += " One view of each picture; `cnnlab eval` takes all."
    rows = [
        [
            name,
            f"{row['images']:,}",
            *(f"{row[key]:.2%}" for key in ("precision", "recall", "f1")),
        ]
        for name, row in found["classes"].items()
    ]
    pictures = []
    for name, image, numbers, title in build_eval_figures(
        look.images, look.classes, found, logits, s.split, MAX_REPORTED_MISTAKES
    ):
        look.figure_log.log_figure(name, image, numbers, title)
        pictures.append(ReportFigure(image, f"{title}."))
    return ReportSection(
        "Scores",
        text,
        ReportTable(["class", "pictures", "precision", "recall", "F1"], rows),
        figures=pictures,
    )


def is_final_checkpoint(look: RunContext) -> bool:
    """Whether the run's answers are those of the checkpoint that is looked at."""
    result = read_json(look.trained.folder / "result.json")
    return isinstance(result, dict) and result.get("step") == look.trained.step


def build_visualizer_sections(look: RunContext) -> list[ReportSection]:
    """A section a visualizer: its figures, or why there are none."""

    def mine(name: str) -> list[LoggedFigure]:
        return [one for one in look.figure_log.figures if one.name.split("_")[0] == name]

    return [
        ReportSection(
            SECTION_TITLES[name],
            figures=[ReportFigure(one.image, f"{one.title}. {one.note}") for one in mine(name)],
            missing_reasons=[
                why for figure, why in look.figure_log.skipped if figure.split("_")[0] == name
            ],
        )
        for name in VISUALIZERS
    ]
