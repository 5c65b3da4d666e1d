"""The page that shows a whole run: report.html."""

from pathlib import Path

import torch

from cnnlab.core.errors import CnnlabError
from cnnlab.core.figure_log import Shown
from cnnlab.core.files import read_json, write_text
from cnnlab.core.predictions import read_answers
from cnnlab.engine.metrics import scores
from cnnlab.models import build_model
from cnnlab.models.summary import Layer, anatomy
from cnnlab.tasks.compare.curves import panel, shared_metrics
from cnnlab.tasks.compare.curves import title as curves_title
from cnnlab.tasks.compare.runs import grouped, read
from cnnlab.tasks.describe.tables import filters, memory, times, volumes
from cnnlab.tasks.eval.figures import figures
from cnnlab.tasks.visualize.context import Look
from cnnlab.tasks.visualize.registry import VISUALIZERS
from cnnlab.viz.curves import curves_figure
from cnnlab.viz.network_diagram import volumes_svg
from cnnlab.viz.report_page import Picture, Section, Table, page

MISTAKES = 18
TITLES = {
    "filters": "Filters",
    "features": "Pictures on their way through",
    "exciting": "What excites it",
    "saliency": "Where it looks",
    "dream": "What it would like to see",
    "invariance": "What it does not mind",
}


def report(look: Look) -> Path:
    """Everything that was found of a run as one file that a browser opens without a network; returns its path."""
    trained, config = look.trained, look.trained.config
    facts = [
        f"{config['model']['name']} on {config['dataset']['name']}, step {trained.step:,}, seed {config.get('seed')}",
        str(trained.folder),
    ]
    sections = [architecture(look), training(look), scored(look), *looks(look)]
    path = look.album.folder / "report.html"
    write_text(path, page(f"{config.get('name', trained.folder.name)}: a look inside", facts, sections))
    return path


def architecture(look: Look) -> Section:
    """The volumes as a drawing, and what each layer has and costs."""
    shape = look.sizes_in
    with torch.device("meta"):  # as it trains; the network that is looked at overwrites nothing
        layers = anatomy(build_model(look.trained.config["model"], shape, len(look.classes)), shape)
    rows = [layer_row(one) for one in layers]
    head = ["layer", "output", "filters", "weights", "biases", "multiply-adds", "memory forward", "sees, pixels"]
    parameters, work = sum(one.parameters for one in layers), sum(one.multiply_adds for one in layers)
    text = f"{parameters:,} parameters, {work:,} multiply-adds a picture. Volumes are width x height x depth."
    drawing = volumes_svg(volumes(layers, shape), "")
    return Section("Architecture", text, Table(head, rows), drawing)


def layer_row(one: Layer) -> list[str]:
    """What a layer is, has and costs; nothing stands where there is nothing."""
    counts = [f"{n:,}" if n else "" for n in (one.weights, one.biases, one.multiply_adds)]
    held = memory(one.forward.picture) if one.forward.picture else ""
    return [one.name, times(one.output), filters(one), *counts, held, times((1, *one.field.size)).removesuffix("x1")]


def training(look: Look) -> Section:
    """The curves, or why there are none."""
    try:
        arms = grouped([read(look.trained.folder)])
        image = curves_figure([panel(arms, metric) for metric in shared_metrics(arms)], curves_title(arms))
    except CnnlabError as error:
        return Section("Training", absent=[str(error)])
    look.album.show("curves", image, {metric: vars(band) for metric, band in arms[0].bands.items()}, curves_title(arms))
    return Section("Training", pictures=[Picture(image, "By step and by time.")])


def scored(look: Look) -> Section:
    """Scores of the split, confusion, calibration and the most confident mistakes. The run's own answers to the test
    set where it is finished and they are asked for; else those that the visualizers saw, of one view each."""
    s, answers = look.settings, look.trained.folder / "test.safetensors"
    own = s.split == "test" and str(s.checkpoint) == "result" and answers.exists() and finished(look)
    labels = look.pictures.labels.cpu()
    logits, answered = read_answers(answers) if own else (look.survey.logits, labels)
    if own and not torch.equal(answered, labels):  # the user's pictures have changed since
        own, logits = False, look.survey.logits
    found = scores(logits, labels, look.classes)
    low, high = found["interval_95"]
    text = (
        f"{s.split} accuracy {found['accuracy']:.2%} ({found['correct']:,} of {found['pictures']:,}; 95 % interval "
        f"{low:.2%} to {high:.2%}), loss {found['loss']:.4f}."
    )
    if not own and look.trained.preprocess.views > 1:
        text += " One view of each picture; `cnnlab eval` takes all."
    rows = [
        [name, f"{row['pictures']:,}", *(f"{row[key]:.2%}" for key in ("precision", "recall", "f1"))]
        for name, row in found["classes"].items()
    ]
    pictures = []
    for name, image, numbers, title in figures(look.pictures, look.classes, found, logits, s.split, MISTAKES):
        look.album.show(name, image, numbers, title)
        pictures.append(Picture(image, f"{title}."))
    return Section("Scores", text, Table(["class", "pictures", "precision", "recall", "F1"], rows), pictures=pictures)


def finished(look: Look) -> bool:
    """Whether the run's answers are those of the checkpoint that is looked at."""
    result = read_json(look.trained.folder / "result.json")
    return isinstance(result, dict) and result.get("step") == look.trained.step


def looks(look: Look) -> list[Section]:
    """A section a visualizer: its figures, or why there are none."""

    def mine(name: str) -> list[Shown]:
        return [one for one in look.album.shown if one.name.split("_")[0] == name]

    return [
        Section(
            TITLES[name],
            pictures=[Picture(one.image, f"{one.title}. {one.note}") for one in mine(name)],
            absent=[why for figure, why in look.album.absent if figure.split("_")[0] == name],
        )
        for name in VISUALIZERS
    ]
