"""`cnnlab embed`: a map of what a network has learned, drawn with the pictures themselves."""

import torch

from cnnlab.core.device import describe_device, pick_device, use_threads
from cnnlab.core.figure_log import FigureLog
from cnnlab.core.files import resolve_outputs_folder, write_json
from cnnlab.core.hooks import disable_inplace
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked, check_keywords
from cnnlab.models.pretrained import load_pretrained
from cnnlab.projection import PROJECTIONS
from cnnlab.tasks.embed.features import (
    FeatureSet,
    check_features,
    extract_features,
    layer_extractor,
    pixel_extractor,
)
from cnnlab.tasks.embed.images import DATASET_SPLITS, ImageSelection, select_images
from cnnlab.tasks.embed.near_duplicates import find_near_duplicates
from cnnlab.tasks.embed.outputs import write_map_outputs
from cnnlab.tasks.embed.project import Projection, project_all
from cnnlab.tasks.embed.settings import EmbedSettings
from cnnlab.tasks.embed.summary import print_map_summary
from cnnlab.tasks.trained_run import TrainedRun, load_comparison_run, load_run


def run(config: Config, overrides: list[str]) -> None:
    """Make the map, its figures, its page and its numbers in RUN/embed/<date>_<time>_<what>/, and print what they say.
    Nothing is left of a command that is refused."""
    s = call_checked(EmbedSettings, config, "")
    for name, builder in PROJECTIONS.items():
        check_keywords(builder, getattr(s, name), name)
    device = pick_device(s.device)
    trained = load_embed_run(s, device)
    shown = select_images(s.split, s.n, s.seed, trained, s.batch_size, device)
    if not s.json:
        about = (
            f"{trained.folder}, step {trained.step:,}" if trained else printable(str(s.features))
        )
        print(f"cnnlab embed: {about}, device {describe_device(device)}", flush=True)
    seen = extract_networks(s, trained, shown, device)
    if not s.json:
        for one, where in seen.values():
            print(
                f"{len(one):,} pictures, {one.features.shape[1]:,} numbers of each: {where}",
                flush=True,
            )
    maps = project_all(
        seen,
        Projection(s.projection, getattr(s, s.projection), s.seed, is_quiet=s.json),
        s.neighbors,
        s.seeds,
    )
    same = find_near_duplicates(shown, trained, s.near_duplicates)
    place = trained.folder if trained else resolve_outputs_folder(s.outputs)
    name = "_".join([s.projection, *(part for part in (s.features, s.layer) if part)])
    album = FigureLog(place / "embed", name, trained.step if trained else 0)
    try:
        write_map_outputs(album, shown, maps, same, s.grid)
        write_json(
            album.folder / "environment.json",
            collect_environment(device) | {"seed": s.seed, "step": album.step},
        )
    finally:
        album.close()
    print_map_summary(album, maps, same, as_json=s.json)


def load_embed_run(s: EmbedSettings, device: torch.device) -> TrainedRun | None:
    """The run that is looked at; none where another network looks at the user's pictures alone."""
    if s.run is None and s.features and s.split not in DATASET_SPLITS:
        return None
    trained = load_run(s.run or "last", checkpoint=s.checkpoint, device=device, outputs=s.outputs)
    disable_inplace(trained.model)
    return trained


def extract_networks(
    s: EmbedSettings, trained: TrainedRun | None, shown: ImageSelection, device: torch.device
) -> dict[str, tuple[FeatureSet, str]]:
    """By name, what each network that is asked for makes of the pictures, and where in it, in words."""
    if trained is None or s.features:
        model, prepare = load_pretrained(str(s.features))
        extract, where = layer_extractor(
            disable_inplace(model).to(device), prepare, s.layer, has_class_logits=False
        )
        return {
            str(s.features): (
                check_features(extract_features(shown.iterate_batches(), extract, device), where),
                where,
            )
        }
    several = [trained]
    if s.against is not None:
        several.append(load_comparison_run(trained, s.against, "against", device, s.outputs))
    found: dict[str, tuple[FeatureSet, str]] = {}
    for one in several:
        pixels = s.layer == "pixels"
        extract, where = (
            pixel_extractor(one)
            if pixels
            else layer_extractor(one.model, one.prepare_input, s.layer, has_class_logits=True)
        )
        name = one.name if one.name not in found else printable(str(one.folder))
        with use_threads(one.config.get("threads")):
            found[name] = (
                check_features(extract_features(shown.iterate_batches(), extract, device), where),
                where,
            )
    return found
