"""`cnnlab embed`: map the features that a network has learned, drawn with the images."""

import sys

import torch

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import resolve_outputs_folder, write_json
from cnnlab.core.hooks import disable_inplace
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked, check_keywords
from cnnlab.data.image_tree import iterate_image_files
from cnnlab.data.settings import MovedDataSettings
from cnnlab.models.pretrained import load_pretrained
from cnnlab.projection.registry import PROJECTIONS
from cnnlab.tasks.embed.features import (
    FeatureSet,
    check_features,
    extract_features,
    layer_extractor,
    pixel_extractor,
)
from cnnlab.tasks.embed.images import DATASET_SPLITS, ImageSelection, select_images
from cnnlab.tasks.embed.near_duplicates import NearDuplicate, find_near_duplicates
from cnnlab.tasks.embed.outputs import write_map_outputs
from cnnlab.tasks.embed.project import EmbeddingMap, Projection, project_all
from cnnlab.tasks.embed.settings import EmbedSettings
from cnnlab.tasks.embed.summary import print_map_summary
from cnnlab.tasks.trained_run import TrainedRun, load_comparison_run, load_run


def run(config: Config, overrides: list[str]) -> None:
    """Write the map, its figures, page and scores to RUN/embed/<date>_<time>_<name>/; print scores.

    A command that is refused writes nothing.
    """
    settings = call_checked(EmbedSettings, config, "")
    call_checked(MovedDataSettings, settings.dataset, "dataset")
    for name, builder in PROJECTIONS.items():
        check_keywords(builder, getattr(settings, name), name)
    device = pick_device(settings.device)
    trained = load_embed_run(settings, device)
    selection = select_images(
        settings.split, settings.n, settings.seed, trained, settings.batch_size, device
    )
    if not settings.json:
        network = f"step {trained.step:,}" if trained else str(settings.features)
        print(f"cnnlab embed: {printable(network)}, device {describe_device(device)}", flush=True)
        if trained:
            print(trained.folder, flush=True)
    options = getattr(settings, settings.projection)
    projection = Projection(settings.projection, options, settings.seed, is_quiet=settings.json)
    projection, change = projection.fit_to(count_images(selection))
    if change:
        print(f"cnnlab embed: {change}", file=sys.stderr)
    networks = extract_networks(settings, trained, selection, device)
    if not settings.json:
        print_features(networks)
    maps = project_all(networks, projection, settings.neighbors, settings.seeds)
    near_duplicates = find_near_duplicates(selection, trained, settings.near_duplicates)
    figure_log = write_results(settings, trained, selection, maps, near_duplicates, device)
    print_map_summary(figure_log, maps, near_duplicates, as_json=settings.json)
    selection.unreadable.raise_if_any()


def count_images(selection: ImageSelection) -> int:
    """Return the number of images to be mapped, the folder's among them."""
    files = iterate_image_files(selection.folder) if selection.folder else ()
    return len(selection.indices) + sum(1 for _ in files)


def print_features(networks: dict[str, tuple[FeatureSet, str]]) -> None:
    """Print the number of images and the features of each network."""
    for features, source in networks.values():
        dimensions = features.features.shape[1]
        print(f"{len(features):,} images, {dimensions:,}-dimensional {source}", flush=True)


def write_results(
    settings: EmbedSettings,
    trained: TrainedRun | None,
    selection: ImageSelection,
    maps: list[EmbeddingMap],
    near_duplicates: list[NearDuplicate],
    device: torch.device,
) -> FigureLog:
    """Write all outputs and return the log with their folder."""
    parent = (
        trained.choose_result_parent("embed", settings.outputs)
        if trained
        else resolve_outputs_folder(settings.outputs) / "embed"
    )
    parts = [settings.projection, settings.features, settings.layer]
    name = "_".join(part for part in parts if part)
    figure_log = FigureLog(parent, name, trained.step if trained else 0)
    try:
        write_map_outputs(figure_log, maps, selection.classes, near_duplicates, settings.grid)
        environment = collect_environment(device)
        environment |= {"seed": settings.seed, "step": figure_log.step}
        write_json(figure_log.folder / "environment.json", environment)
    finally:
        figure_log.close()
    return figure_log


def load_embed_run(settings: EmbedSettings, device: torch.device) -> TrainedRun | None:
    """Return the run; None where another network is applied to the user's images only."""
    if settings.run is None and settings.features and settings.split not in DATASET_SPLITS:
        return None
    trained = load_run(
        settings.run or "last",
        checkpoint=settings.checkpoint,
        device=device,
        outputs=settings.outputs,
        dataset=settings.dataset,
    )
    disable_inplace(trained.model)
    return trained


def extract_networks(
    settings: EmbedSettings,
    trained: TrainedRun | None,
    selection: ImageSelection,
    device: torch.device,
) -> dict[str, tuple[FeatureSet, str]]:
    """Return the features of each network by name, and which features they are, in words."""
    if trained is None or settings.features:
        name = str(settings.features)
        return {name: extract_pretrained(name, settings.layer, selection, device)}
    runs = [trained]
    if settings.against is not None:
        runs.append(
            load_comparison_run(trained, settings.against, "against", device, settings.outputs)
        )
    networks: dict[str, tuple[FeatureSet, str]] = {}
    for each in runs:
        name = each.name if each.name not in networks else printable(str(each.folder))
        networks[name] = extract_run(each, settings.layer, selection, device)
    return networks


def extract_pretrained(
    name: str, layer: str | None, selection: ImageSelection, device: torch.device
) -> tuple[FeatureSet, str]:
    """Return the features of a torchvision network."""
    model, prepare = load_pretrained(name)
    model = disable_inplace(model).to(device)
    extract, source = layer_extractor(model, prepare, layer, has_class_logits=False)
    features = extract_features(selection.iterate_batches(), extract, device)
    return check_features(features, source), source


def extract_run(
    trained: TrainedRun, layer: str | None, selection: ImageSelection, device: torch.device
) -> tuple[FeatureSet, str]:
    """Return the features of a run's network, or its pixels."""
    if layer == "pixels":
        extract, source = pixel_extractor(trained)
    else:
        extract, source = layer_extractor(
            trained.model, trained.prepare_input, layer, has_class_logits=True
        )
    with use_threads(trained.config.get("threads")), trained.use_precision():
        features = extract_features(selection.iterate_batches(), extract, device)
        return check_features(features, source), source
