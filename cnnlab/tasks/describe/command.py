"""`cnnlab describe`: a network's layers and their costs, without training, data or weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError, format_unknown_choice
from cnnlab.core.files import expand_home, resolve_outputs_folder, write_text
from cnnlab.core.image import save_png
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked
from cnnlab.models import conv_arithmetic
from cnnlab.models.summary import LayerSummary, summarize_layers
from cnnlab.tasks.describe import tables
from cnnlab.tasks.describe.growth import write_growth
from cnnlab.tasks.describe.network import (
    DescribedNetwork,
    build_described_network,
    load_described_network,
)
from cnnlab.tasks.describe.settings import DescribeSettings, GrowthSettings
from cnnlab.tasks.train.settings import TrainSettings
from cnnlab.viz.network_diagram import draw_network_diagram, render_network_svg


def run(config: Config, overrides: list[str]) -> None:
    """Print the description; write files only for `figure` and growth."""
    own_keys = DescribeSettings.__annotations__
    own = {key: config.pop(key) for key in own_keys if key in config}
    settings = call_checked(DescribeSettings, own, "")
    if settings.what in conv_arithmetic.LAYER_FORMULAS:
        describe_layer_shape(settings)
    elif settings.what == "growth":
        growth = call_checked(GrowthSettings, settings.growth, "growth")
        outputs = resolve_outputs_folder(config["outputs"])
        write_growth(growth, outputs, resolve_figure_stem(settings.figure), as_json=settings.json)
    else:
        describe_network(settings, config, overrides)


def describe_layer_shape(settings: DescribeSettings) -> None:
    """Print the formulas of one convolution or pooling. Raises UsageError."""
    if settings.figure is not None:
        raise UsageError(f"figure= draws a network or growth; {settings.what} is one layer")
    formulas = conv_arithmetic.LAYER_FORMULAS[settings.what]
    result = call_checked(formulas, settings.shape, settings.what)
    lines = wrap_lines(result.lines)
    print(json.dumps(result.values, indent=1) if settings.json else "\n".join(lines))


def describe_network(settings: DescribeSettings, config: Config, overrides: list[str]) -> None:
    """Print a network's layers, of a run or a configuration, and draw them for `figure`."""
    stem = resolve_figure_stem(settings.figure)
    if settings.run:
        network = load_described_network(settings.run, config, overrides)
    else:
        network = build_described_network(call_checked(TrainSettings, config, ""))
    layers = list_layers(network, settings.layer)
    if settings.json:
        print(json.dumps(network_to_dict(network, layers), indent=1))
    else:
        is_one = settings.layer is not None
        report = (
            format_formulas(layers) if is_one else format_network_report(network, layers, settings)
        )
        print("\n".join(report), flush=True)
    if stem:
        save_network_diagram(network, layers, stem)
        if not settings.json:
            print(f"figure: {stem}.svg, {stem}.png")


def list_layers(network: DescribedNetwork, name: str | None) -> list[LayerSummary]:
    """Return all layers, or only the named one. Raises CnnlabError for an input shape that the
    network does not take, UsageError with the layers' names."""
    try:
        layers = summarize_layers(network.model, network.shape)
    except RuntimeError as error:
        shape = tables.format_volume(network.shape)
        raise CnnlabError(f"{network.name} does not take {shape}: {error}") from error
    return layers if name is None else [find_layer_summary(layers, name)]


def find_layer_summary(layers: list[LayerSummary], name: str) -> LayerSummary:
    """Return the layer of that name. Raises UsageError with the known names."""
    for layer in layers:
        if layer.name == name:
            return layer
    known = [layer.name for layer in layers]
    raise UsageError(format_unknown_choice("layer", printable(name), known))


def format_network_report(
    network: DescribedNetwork, layers: list[LayerSummary], settings: DescribeSettings
) -> Iterator[str]:
    """Yield the tables and sums of a network, line by line."""
    totals = tables.compute_totals(
        layers, network.shape, network.batch_size, network.optimizer_copies
    )
    yield from wrap(network.title, 80, subsequent_indent="  ")
    yield "volumes are width x height x depth; receptive fields include padding"
    yield ""
    yield from tables.format_shape_table(layers)
    yield ""
    yield from tables.format_cost_table(layers, network.batch_size)
    yield ""
    yield from tables.format_totals(totals)
    yield from tables.format_largest_layers(layers)
    if network.name.startswith("vgg"):
        yield ""
        yield from tables.format_vgg_claim(totals)
    if settings.formulas:
        yield ""
        yield from format_formulas(
            [layer for layer in layers if layer.kernel_size or layer.kind == "fully connected"]
        )


def format_formulas(layers: list[LayerSummary]) -> Iterator[str]:
    for layer in layers:
        head, *rest = conv_arithmetic.explain_layer(layer)
        yield from wrap_lines([f"{printable(layer.name)}, {head}", *rest])


def wrap_lines(lines: list[str]) -> Iterator[str]:
    """Yield lines of at most 80 columns."""
    for line in lines:
        yield from wrap(line, 80, subsequent_indent=" " * 6, drop_whitespace=True) or [""]


def network_to_dict(network: DescribedNetwork, layers: list[LayerSummary]) -> dict[str, Any]:
    """Return the report's numbers for JSON."""
    return {
        "title": network.title,
        "input": list(network.shape),
        "layers": [tables.layer_to_dict(layer, network.batch_size) for layer in layers],
        "totals": tables.compute_totals(
            layers, network.shape, network.batch_size, network.optimizer_copies
        ),
    }


def resolve_figure_stem(figure: str | None) -> Path | None:
    """Return the path of the figure's files without suffix. Raises UsageError for a folder."""
    if not figure:
        return None
    path = expand_home(figure)
    path = path.with_suffix("") if path.suffix in (".svg", ".png", ".json") else path
    if not path.name or path.is_dir():
        raise UsageError(f"figure={printable(figure)} is a folder; name a file in it")
    return path


def save_network_diagram(network: DescribedNetwork, layers: list[LayerSummary], stem: Path) -> None:
    """Write the volumes as SVG and PNG. Raises WriteFailed."""
    volumes = tables.build_diagram_volumes(layers, network.shape)
    svg, png = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png"))
    write_text(svg, render_network_svg(volumes, network.title))
    save_png(png, draw_network_diagram(volumes, network.title))
