"""`cnnlab describe`: a network's layers, and what they ask for; nothing is trained, loaded or allocated."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

from cnnlab.core.errors import CnnlabError, UsageError, not_one_of
from cnnlab.core.files import outputs_folder, write_text
from cnnlab.core.image import save_png
from cnnlab.core.quoting import plain
from cnnlab.core.schema import Config, call
from cnnlab.models import conv_arithmetic
from cnnlab.models.summary import Layer, anatomy
from cnnlab.tasks.describe import growth
from cnnlab.tasks.describe import tables as tables
from cnnlab.tasks.describe.network import Subject, of_run, of_settings
from cnnlab.tasks.train.settings import Settings
from cnnlab.viz.network_diagram import volumes_figure, volumes_svg


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


def run(config: Config, overrides: list[str]) -> None:
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
        growth.told(g, outputs_folder(config["outputs"]), stem(a.drawing), as_json=a.json)
    else:
        network(a, config, overrides)


def network(a: Asked, config: Config, overrides: list[str]) -> None:
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
