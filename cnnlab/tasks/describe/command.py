"""`cnnlab describe`: a network's layers, and what they ask for; nothing is trained, loaded or allocated."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

import torch
from torch import nn

from cnnlab.core import checkpoint as checkpoints
from cnnlab.core.errors import CnnlabError, UsageError, nearest, not_one_of
from cnnlab.core.files import write_text
from cnnlab.core.image import save_png
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import call, check_spec
from cnnlab.core.quoting import plain
from cnnlab.data.sources import SOURCES, facts
from cnnlab.models import conv_arithmetic
from cnnlab.models.summary import Layer, anatomy
from cnnlab.tasks import trained_run
from cnnlab.tasks.describe import growth
from cnnlab.tasks.describe import tables as tables
from cnnlab.tasks.train.trainer import Settings
from cnnlab.viz.network_diagram import volumes_figure, volumes_svg

COPIES = {"adam": 2, "adamw": 2}  # numbers that the optimizer keeps for each parameter; sgd's is its momentum
WORDS = ("conv", "growth", "last", "pool")  # that can stand where a run's name does
WITH_RUN = ("run", "layer", "formulas", "drawing", "json", "batch_size", "outputs")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The keys that configs/describe.yaml has beside train.yaml's."""

    what: Literal["network", "conv", "pool", "growth"]
    run: str | None
    layer: str | None
    formulas: bool
    drawing: str | None
    json: bool
    shape: dict[str, Any]
    growth: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A network without weights, and what is known of it. `shape`: what it sees, (depth, height, width)."""

    model: nn.Module
    name: str
    title: str
    shape: tuple[int, int, int]
    batch: int
    copies: int


def run(config: trained_run.Config, overrides: list[str]) -> None:
    """Print what was asked; draw only where told to, but for growth."""
    own = {key: config.pop(key) for key in Asked.__annotations__ if key in config}
    a = call(Asked, own, "")
    if a.what in conv_arithmetic.SHAPES:
        if a.drawing is not None:
            raise UsageError(f"drawing= draws a network or growth, and {a.what} is one layer")
        answer = call(conv_arithmetic.SHAPES[a.what], a.shape, a.what)
        print(json.dumps(answer.numbers, indent=1) if a.json else "\n".join(folded(answer.lines)))
    elif a.what == "growth":
        g = call(growth.Growth, a.growth, "growth")
        growth.told(g, trained_run.outputs_folder(config["outputs"]), stem(a.drawing), as_json=a.json)
    else:
        network(a, config, overrides)


def network(a: Asked, config: trained_run.Config, overrides: list[str]) -> None:
    place = stem(a.drawing)
    subject = of_run(a.run, config, overrides) if a.run else of_settings(call(Settings, config, ""))
    try:
        layers = anatomy(subject.model, subject.shape)
    except RuntimeError as error:
        raise CnnlabError(f"{subject.name} does not take {tables.times(subject.shape)}: {error}") from error
    if a.layer is not None:
        layers = [one_layer(layers, a.layer)]
    if a.json:
        print(json.dumps(as_numbers(subject, layers), indent=1))
    else:
        print("\n".join(formula_rows(layers) if a.layer is not None else report(subject, layers, a)), flush=True)
    if place:
        draw(subject, layers, place)
        if not a.json:
            print(f"drawing: {place}.svg, {place}.png")


def of_settings(s: Settings) -> Subject:
    """The network that a training would have. Raises UsageError."""
    if s.resume is not None or s.init is not None:
        raise UsageError("resume and init are of a training; for a run's network, `cnnlab describe RUN`")
    spec, name = trained_run.source_settings(s.dataset), plain(str(s.dataset.get("name")))
    trained_run.data_settings(s.dataset)
    check_spec(SOURCES, spec, "dataset")
    shape, classes = call(lambda: facts(name, spec), {}, "dataset")
    seen = trained_run.input_shape(trained_run.pipelines(s.augment).eval, shape)
    with torch.device("meta"):
        model = trained_run.build_model(s.model, seen, classes)
    many = f"{classes:,} classes" + (" as ImageNet (no dataset.root)" if name == "folder" and not spec["root"] else "")
    title = f"{s.model['name']} on {name}: {tables.times(seen)}, {many}"
    return Subject(model, s.model["name"], title, seen, s.batch_size, copies(s.optim))


def of_run(name: str, config: trained_run.Config, overrides: list[str]) -> Subject:
    """A run's network, by its newest checkpoint's record. Raises UsageError, CnnlabError for a damaged one."""
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key.split(".")[0] not in WITH_RUN:
            raise UsageError(f"a run has its own {plain(key)}: with it describe takes {', '.join(WITH_RUN[1:])}")
    path = checkpoints.find(found_run(name, config["outputs"]) / "checkpoints", "last")
    record = checkpoints.read_record(path)
    try:
        theirs = trained_run.completed(record["config"])
        model = trained_run.unfilled(theirs["model"], theirs["augment"], record)
        seen = trained_run.input_shape(trained_run.pipelines(theirs["augment"]).eval, tuple(record["shape"]))
        told = any(word.startswith("batch_size=") for word in overrides)
        batch = int((config if told else theirs)["batch_size"])
        title = f"{theirs['model']['name']} of {plain(str(path.parents[1]))}: {tables.times(seen)}, " + (
            f"{len(record['classes']):,} classes"
        )
        return Subject(model, theirs["model"]["name"], title, seen, batch, copies(theirs["optim"]))
    except (UsageError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise trained_run.misfit(path, error) from error


def found_run(name: str, outputs: str) -> Path:
    """A run's folder; where there is none, what might have been meant. Raises UsageError."""
    try:
        return find_run(name, trained_run.outputs_folder(outputs))
    except UsageError as error:
        raise UsageError(plain(str(error)) + ("" if name in WORDS else nearest(name, WORDS))) from error


def copies(optim: trained_run.Config) -> int:
    return COPIES.get(str(optim.get("name")), int(bool(optim.get("momentum"))))


def one_layer(layers: list[Layer], name: str) -> Layer:
    """Raises UsageError with the names there are."""
    for layer in layers:
        if layer.name == name:
            return layer
    raise UsageError(not_one_of("layer", plain(name), [layer.name for layer in layers]))


def report(subject: Subject, layers: list[Layer], a: Asked) -> Iterator[str]:
    """All that is told of a network, line by line."""
    sums = tables.totals(layers, subject.shape, subject.batch, subject.copies)
    yield from wrap(subject.title, 80, subsequent_indent="  ")
    yield from ("volumes are width x height x depth; sees: the receptive field, padding counted", "")
    yield from tables.shape_rows(layers)
    yield ""
    yield from tables.cost_rows(layers, subject.batch)
    yield ""
    yield from tables.total_rows(sums)
    yield from tables.biggest_rows(layers)
    if subject.name.startswith("vgg"):
        yield ""
        yield from tables.claim_rows(sums)
    if a.formulas:
        yield ""
        yield from formula_rows([layer for layer in layers if layer.extent or layer.kind == "fully connected"])


def formula_rows(layers: list[Layer]) -> Iterator[str]:
    for layer in layers:
        head, *rest = conv_arithmetic.of_layer(layer)
        yield from folded([f"{plain(layer.name)}, {head}", *rest])


def folded(lines: list[str]) -> Iterator[str]:
    """Lines of at most 80 columns."""
    for line in lines:
        yield from wrap(line, 80, subsequent_indent=" " * 6, drop_whitespace=True) or [""]


def as_numbers(subject: Subject, layers: list[Layer]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "title": subject.title,
        "input": list(subject.shape),
        "layers": [tables.numbers(layer, subject.batch) for layer in layers],
        "totals": tables.totals(layers, subject.shape, subject.batch, subject.copies),
    }


def stem(drawing: str | None) -> Path | None:
    """Where pictures go, without their endings."""
    if not drawing:
        return None
    path = Path(drawing).expanduser()
    path = path.with_suffix("") if path.suffix in (".svg", ".png", ".json") else path
    if not path.name or path.is_dir():
        raise UsageError(f"drawing={plain(drawing)} is a folder; name a file in it")
    return path


def draw(subject: Subject, layers: list[Layer], place: Path) -> None:
    """The volumes as SVG and PNG. Raises Unwritable."""
    drawn = tables.volumes(layers, subject.shape)
    write_text(place.with_name(f"{place.name}.svg"), volumes_svg(drawn, subject.title))
    save_png(place.with_name(f"{place.name}.png"), volumes_figure(drawn, subject.title))
