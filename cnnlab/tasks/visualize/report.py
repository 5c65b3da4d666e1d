"""The report of a whole run: report.html."""

from pathlib import Path

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import read_json, write_text
from cnnlab.core.predictions import read_predictions
from cnnlab.core.quoting import quote_argument
from cnnlab.engine.metrics import classification_report
from cnnlab.models import build_model
from cnnlab.models.summary import LayerSummary, summarize_layers
from cnnlab.tasks.compare.curves import (
    build_curve_panel,
    find_shared_metrics,
    format_curves_title,
)
from cnnlab.tasks.compare.runs import group_runs_by_settings, read_run_curves
from cnnlab.tasks.describe.tables import (
    build_diagram_volumes,
    format_decimal_bytes,
    format_filters,
    format_volume,
)
from cnnlab.tasks.eval.figures import build_eval_figures
from cnnlab.tasks.eval.tables import format_class_scores, format_missing_classes
from cnnlab.tasks.visualize.context import RunContext
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.viz.curves import plot_learning_curves
from cnnlab.viz.network_diagram import render_network_svg
from cnnlab.viz.report_page import ReportFigure, ReportSection, ReportTable, render_report_page

MAX_REPORTED_MISTAKES = 18
SECTION_TITLES = {
    "filters": "Filters",
    "feature_maps": "Feature maps",
    "top_activations": "Top-activating images",
    "saliency": "Saliency",
    "activation_maximization": "Activation maximization",
    "invariance": "Invariance",
}
LAYER_COLUMNS = (
    "layer",
    "output",
    "filters",
    "weights",
    "biases",
    "multiply-adds",
    "memory forward",
    "receptive field, pixels",
)


def write_report(context: RunContext) -> Path:
    """Write everything that was found about a run to one HTML file; return its path."""
    trained, config = context.trained, context.trained.config
    facts = [
        f"{config['model']['name']} on {config['dataset']['name']}, step {trained.step:,}, seed "
        f"{config.get('seed')}",
        str(trained.folder),
    ]
    sections = [
        build_architecture_section(context),
        build_training_section(context),
        build_scores_section(context),
        *build_visualizer_sections(context),
    ]
    title = f"{config.get('name', trained.folder.name)}: visualization report"
    path = context.figure_log.folder / "report.html"
    write_text(path, render_report_page(title, facts, sections))
    return path


def build_architecture_section(context: RunContext) -> ReportSection:
    """Return the network as a diagram, and a table of its layers."""
    shape = context.input_shape
    # As it is trained: the network of the context has no in-place layers.
    with torch.device("meta"):
        model = build_model(context.trained.config["model"], shape, len(context.classes))
        layers = summarize_layers(model, shape)
    parameters = sum(layer.parameters for layer in layers)
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    totals = f"{parameters:,} parameters, {multiply_adds:,} multiply-adds an image"
    text = f"{totals}. Volumes are width x height x depth."
    table = ReportTable(LAYER_COLUMNS, [format_layer_row(layer) for layer in layers])
    svg = render_network_svg(build_diagram_volumes(layers, shape), "")
    return ReportSection("Architecture", text, table, svg)


def format_layer_row(layer: LayerSummary) -> list[str]:
    """Return a layer's cells in the table; zeros are left empty."""
    counts = [f"{n:,}" if n else "" for n in (layer.weights, layer.biases, layer.multiply_adds)]
    memory = layer.forward_memory.per_image
    return [
        layer.name,
        format_volume(layer.output),
        format_filters(layer),
        *counts,
        format_decimal_bytes(memory) if memory else "",
        format_volume((1, *layer.receptive_field.size)).removesuffix("x1"),
    ]


def build_training_section(context: RunContext) -> ReportSection:
    """Return the learning curves, or why there are none."""
    try:
        groups = group_runs_by_settings([read_run_curves(context.trained.folder)])
        panels = [build_curve_panel(groups, metric) for metric in find_shared_metrics(groups)]
        title = format_curves_title(groups)
        image = plot_learning_curves(panels, title)
    except CnnlabError as error:
        return ReportSection("Training", missing_reasons=[str(error)])
    numbers = {metric: vars(curve) for metric, curve in groups[0].mean_curves.items()}
    context.figure_log.log_figure("curves", image, numbers, title)
    return ReportSection("Training", figures=[ReportFigure(image, "By step and by time.")])


def build_scores_section(context: RunContext) -> ReportSection:
    """Return the scores of the split, and figures of confusion, calibration and the most confident
    mistakes."""
    split, trained, classes = context.settings.split, context.trained, context.classes
    saved = read_test_logits(context)
    logits = context.split_activations.logits if saved is None else saved
    scores = classification_report(logits, context.images.labels.cpu(), classes)
    low, high = scores["interval_95"]
    text = (
        f"{split} accuracy {scores['accuracy']:.2%} ({scores['correct']:,} of "
        f"{scores['images']:,}; 95 % interval "
        f"{low:.2%} to {high:.2%}), loss {scores['loss']:.4f}."
    )
    if missing := format_missing_classes(scores, split):
        text += f" {missing[0].upper()}{missing[1:]}."
    if saved is None and trained.preprocess.num_views > 1:
        text += f" One view of each image; `{format_eval_command(context)}` takes all."
    rows = [
        [
            name,
            f"{row['images']:,}",
            *format_class_scores(row, split),
        ]
        for name, row in scores["classes"].items()
    ]
    figures = []
    for name, image, numbers, title in build_eval_figures(
        context.images, classes, scores, logits, split, MAX_REPORTED_MISTAKES
    ):
        context.figure_log.log_figure(name, image, numbers, title)
        figures.append(ReportFigure(image, f"{title}."))
    table = ReportTable(["class", "images", "precision", "recall", "F1"], rows)
    return ReportSection("Scores", text, table, figures=figures)


def format_eval_command(context: RunContext) -> str:
    """Return the command that evaluates the same checkpoint on the same split."""
    settings = context.settings
    changed = [
        f"{key}={value}"
        for key, value, default in (
            ("split", settings.split, "test"),
            ("checkpoint", settings.checkpoint, "result"),
        )
        if str(value) != default
    ]
    return " ".join(["cnnlab eval", quote_argument(str(context.trained.folder)), *changed])


def read_test_logits(context: RunContext) -> Tensor | None:
    """Return the logits that `train` saved for the test set, of all views. None where they are not
    of the checkpoint and the images that are shown; the visualizers' own, of one view, serve
    then."""
    settings, path = context.settings, context.trained.folder / "test.safetensors"
    if settings.split != "test" or str(settings.checkpoint) != "result" or not path.exists():
        return None
    if not is_final_checkpoint(context):
        return None
    logits, labels = read_predictions(path)
    # The user's images may have changed since.
    return logits if torch.equal(labels, context.images.labels.cpu()) else None


def is_final_checkpoint(context: RunContext) -> bool:
    """Return whether the run's saved predictions are the loaded checkpoint's."""
    result = read_json(context.trained.folder / "result.json")
    return isinstance(result, dict) and result.get("step") == context.trained.step


def build_visualizer_sections(context: RunContext) -> list[ReportSection]:
    """Return a section for each visualizer: its figures, or why there are none."""
    log = context.figure_log
    return [
        ReportSection(
            SECTION_TITLES[visualizer],
            figures=[
                ReportFigure(figure.image, f"{figure.title}. {figure.note}")
                for figure in log.figures
                if is_figure_of(figure.name, visualizer)
            ],
            missing_reasons=[
                reason for name, reason in log.skipped if is_figure_of(name, visualizer)
            ],
        )
        for visualizer in VISUALIZERS
    ]


def is_figure_of(figure: str, visualizer: str) -> bool:
    """Return whether a figure's name is of a visualizer: `saliency_0`, or the visualizer's own
    name."""
    return figure == visualizer or figure.startswith(f"{visualizer}_")
