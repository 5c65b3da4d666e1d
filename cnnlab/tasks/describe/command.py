"""`cnnlab describe`: a network's layers, and what they ask for; nothing is trained, loaded or allocated."""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError, format_unknown_choice
from cnnlab.core.files import resolve_outputs_folder, write_text
from cnnlab.core.image import save_png
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked
from cnnlab.models import conv_arithmetic
from cnnlab.models.summary import LayerSummary, summarize_layers
from cnnlab.tasks.describe import growth
from cnnlab.tasks.describe import tables as tables
from cnnlab.tasks.describe.network import (
    DescribedNetwork,
    build_described_network,
    load_described_network,
)
from cnnlab.tasks.describe.settings import DescribeSettings, GrowthSettings
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.viz.network_diagram import draw_network_diagram, render_network_svg


def run(config: Config, overrides: list[str]) -> None:
    """Print what was asked; draw only where told to, but for growth."""
    own = {key: config.pop(key) for key in DescribeSettings.__annotations__ if key in config}
    a = call_checked(DescribeSettings, own, "")
    if a.what in conv_arithmetic.LAYER_FORMULAS:
        if a.figure is not None:
            raise UsageError(f"figure= draws a network or growth; {a.what} is one layer")
        answer = call_checked(conv_arithmetic.LAYER_FORMULAS[a.what], a.shape, a.what)
        print(
            json.dumps(answer.values, indent=1) if a.json else "\n".join(wrap_lines(answer.lines))
        )
    elif a.what == "growth":
        g = call_checked(GrowthSettings, a.growth, "growth")
        growth.write_growth(
            g,
            resolve_outputs_folder(config["outputs"]),
            resolve_figure_stem(a.figure),
            as_json=a.json,
        )
    else:
        describe_network(a, config, overrides)


def describe_network(a: DescribeSettings, config: Config, overrides: list[str]) -> None:
    place = resolve_figure_stem(a.figure)
    subject = (
        load_described_network(a.run, config, overrides)
        if a.run
        else build_described_network(call_checked(TrainSettings, config, ""))
    )
    try:
        layers = summarize_layers(subject.model, subject.shape)
    except RuntimeError as error:
        raise CnnlabError(
            f"{subject.name} does not take {tables.format_volume(subject.shape)}: {error}"
        ) from error
    if a.layer is not None:
        layers = [find_layer_summary(layers, a.layer)]
    if a.json:
        print(json.dumps(network_to_dict(subject, layers), indent=1))
    else:
        print(
            "\n".join(
                format_formulas(layers)
                if a.layer is not None
                else format_network_report(subject, layers, a)
            ),
            flush=True,
        )
    if place:
        save_network_diagram(subject, layers, place)
        if not a.json:
            print(f"figure: {place}.svg, {place}.png")


def find_layer_summary(layers: list[LayerSummary], name: str) -> LayerSummary:
    """Raises UsageError with the names there are."""
    for layer in layers:
        if layer.name == name:
            return layer
    raise UsageError(
        format_unknown_choice("layer", printable(name), [layer.name for layer in layers])
    )


def format_network_report(
    subject: DescribedNetwork, layers: list[LayerSummary], a: DescribeSettings
) -> Iterator[str]:
    """All that is told of a network, line by line."""
    sums = tables.compute_totals(
        layers, subject.shape, subject.batch_size, subject.optimizer_copies
    )
    yield from wrap(subject.title, 80, subsequent_indent="  ")
    yield from (
        "volumes are width x height x depth; sees: the receptive field, padding counted",
        "",
    )
    yield from tables.format_shape_table(layers)
    yield ""
    yield from tables.format_cost_table(layers, subject.batch_size)
    yield ""
    yield from tables.format_totals(sums)
    yield from tables.format_largest_layers(layers)
    if subject.name.startswith("vgg"):
        yield ""
        yield from tables.format_vgg_claim(sums)
    if a.formulas:
        yield ""
        yield from format_formulas(
            [layer for layer in layers if layer.kernel_size or layer.kind == "fully connected"]
        )


def format_formulas(layers: list[LayerSummary]) -> Iterator[str]:
    for layer in layers:
        head, *rest = conv_arithmetic.explain_layer(layer)
        yield from wrap_lines([f"{printable(layer.name)}, {head}", *rest])


def wrap_lines(lines: list[str]) -> Iterator[str]:
    """Lines of at most 80 columns."""
    for line in lines:
        yield from wrap(line, 80, subsequent_indent=" " * 6, drop_whitespace=True) or [""]


def network_to_dict(subject: DescribedNetwork, layers: list[LayerSummary]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "title": subject.title,
        "input": list(subject.shape),
        "layers": [tables.layer_to_dict(layer, subject.batch_size) for layer in layers],
        "totals": tables.compute_totals(
            layers, subject.shape, subject.batch_size, subject.optimizer_copies
        ),
    }


def resolve_figure_stem(figure: str | None) -> Path | None:
    """Where pictures go, without their endings."""
    if not figure:
        return None
    path = Path(figure).expanduser()
    path = path.with_suffix("") if path.suffix in (".svg", ".png", ".json") else path
    if not path.name or path.is_dir():
        raise UsageError(f"figure={printable(figure)} is a folder; name a file in it")
    return path


def save_network_diagram(
    subject: DescribedNetwork, layers: list[LayerSummary], place: Path
) -> None:
    """The volumes as SVG and PNG. Raises Unwritable."""
    drawn = tables.build_diagram_volumes(layers, subject.shape)
    write_text(place.with_name(f"{place.name}.svg"), render_network_svg(drawn, subject.title))
    save_png(place.with_name(f"{place.name}.png"), draw_network_diagram(drawn, subject.title))
