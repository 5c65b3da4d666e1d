"""`cnnlab embed`: a map of what a network has learned, drawn with the pictures themselves."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from cnnlab.core.device import describe, pick_device, threads
from cnnlab.core.figure_log import Album
from cnnlab.core.files import outputs_folder, write_json
from cnnlab.core.hooks import out_of_place
from cnnlab.core.provenance import environment
from cnnlab.core.quoting import plain
from cnnlab.core.schema import Config, call, check
from cnnlab.models.pretrained import pretrained
from cnnlab.projection import PROJECTIONS
from cnnlab.tasks.embed.features import Embedded, embedded, of_layer, of_pixels, usable
from cnnlab.tasks.embed.images import SPLITS, Scene, scene
from cnnlab.tasks.embed.near_duplicates import doubles
from cnnlab.tasks.embed.outputs import leaves
from cnnlab.tasks.embed.project import Projector, drawn
from cnnlab.tasks.embed.summary import told
from cnnlab.tasks.trained_run import Trained, load_rival, load_run


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/embed.yaml's keys and their types; a projection's own are checked by its signature."""

    projection: Literal["tsne", "pca"]
    run: str | None
    against: str | None
    checkpoint: str | int
    split: str
    n: int | None
    layer: str | None
    features: str | None
    seed: int
    neighbours: int
    seeds: int
    twins: float | None
    grid: int
    device: str
    batch_size: int | None
    json: bool
    outputs: str
    tsne: dict[str, Any]
    pca: dict[str, Any]

    def __post_init__(self) -> None:
        least = {"n": (self.n, 5), "batch_size": (self.batch_size, 1), "neighbours": (self.neighbours, 1),
                 "seeds": (self.seeds, 0), "grid": (self.grid, 2)}  # fmt: skip
        for key, (value, low) in least.items():
            if value is not None and value < low:
                raise ValueError(f"{key} must be at least {low}, not {value}")
        if self.grid > 64:
            raise ValueError(f"grid must be at most 64, not {self.grid}: places for more take too long to find")
        if self.twins is not None and not 0 <= self.twins <= 1:
            raise ValueError(f"twins must be between 0 and 1, not {self.twins}")
        if self.layer == "pixels" and self.against:
            raise ValueError("pixels are the same for every network: layer=pixels and against= do not go together")
        if self.features and (self.against or self.layer == "pixels"):
            raise ValueError("features= is another network's: against= and layer=pixels do not go with it")


def run(config: Config, overrides: list[str]) -> None:
    """Make the map, its figures, its page and its numbers in RUN/embed/<date>_<time>_<what>/, and print what they say.
    Nothing is left of a command that is refused."""
    s = call(Settings, config, "")
    for name, builder in PROJECTIONS.items():
        check(builder, getattr(s, name), name)
    device = pick_device(s.device)
    trained = first_run(s, device)
    shown = scene(s.split, s.n, s.seed, trained, s.batch_size, device)
    if not s.json:
        about = f"{trained.folder}, step {trained.step:,}" if trained else plain(str(s.features))
        print(f"cnnlab embed: {about}, device {describe(device)}", flush=True)
    seen = networks(s, trained, shown, device)
    if not s.json:
        for one, where in seen.values():
            print(f"{len(one):,} pictures, {one.x.shape[1]:,} numbers of each: {where}", flush=True)
    maps = drawn(seen, Projector(s.projection, getattr(s, s.projection), s.seed, quiet=s.json), s.neighbours, s.seeds)
    same = doubles(shown, trained, s.twins)
    place = trained.folder if trained else outputs_folder(s.outputs)
    name = "_".join([s.projection, *(part for part in (s.features, s.layer) if part)])
    album = Album(place / "embed", name, trained.step if trained else 0)
    try:
        leaves(album, shown, maps, same, s.grid)
        write_json(album.folder / "environment.json", environment(device) | {"seed": s.seed, "step": album.step})
    finally:
        album.close()
    told(album, maps, same, as_json=s.json)


def first_run(s: Settings, device: torch.device) -> Trained | None:
    """The run that is looked at; none where another network looks at the user's pictures alone."""
    if s.run is None and s.features and s.split not in SPLITS:
        return None
    trained = load_run(s.run or "last", checkpoint=s.checkpoint, device=device, outputs=s.outputs)
    out_of_place(trained.model)
    return trained


def networks(
    s: Settings, trained: Trained | None, shown: Scene, device: torch.device
) -> dict[str, tuple[Embedded, str]]:
    """By name, what each network that is asked for makes of the pictures, and where in it, in words."""
    if trained is None or s.features:
        model, prepare = pretrained(str(s.features))
        extract, where = of_layer(out_of_place(model).to(device), prepare, s.layer, answers=False)
        return {str(s.features): (usable(embedded(shown.batches(), extract, device), where), where)}
    several = [trained]
    if s.against is not None:
        several.append(load_rival(trained, s.against, "against", device, s.outputs))
    found: dict[str, tuple[Embedded, str]] = {}
    for one in several:
        pixels = s.layer == "pixels"
        extract, where = of_pixels(one) if pixels else of_layer(one.model, one.given, s.layer, answers=True)
        name = one.name if one.name not in found else plain(str(one.folder))
        with threads(one.config.get("threads")):
            found[name] = usable(embedded(shown.batches(), extract, device), where), where
    return found
