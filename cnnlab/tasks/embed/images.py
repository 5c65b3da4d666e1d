"""Which pictures are on a map: those of a run's data set, and a user's own among them or alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, not_one_of
from cnnlab.core.image import read_picture
from cnnlab.core.quoting import plain
from cnnlab.data.adapt import fitted
from cnnlab.data.build import data_settings
from cnnlab.data.dataset import PictureSet
from cnnlab.data.folder_index import pictures as files_below
from cnnlab.tasks.trained_run import Trained, split_of

SPLITS = ("test", "validation", "train", "trainval")
ALONE = (3, 256, 256)  # pictures that no run has a size for


@dataclass(frozen=True)
class Batch:
    """(N, C, H, W) uint8 pictures; (N,) their classes' numbers, -1 where nobody knows; their names; (N,) the numbers
    that they have in their split, -1 for a user's own."""

    pixels: Tensor
    labels: Tensor
    names: list[str]
    index: Tensor


@dataclass(frozen=True)
class Scene:
    """Pictures of a split, those at `index`, and those below a folder; of `shape` (depth, height, width) all."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    at_once: int
    split: str
    pictures: PictureSet | None
    index: Tensor
    folder: Path | None
    light_on_dark: bool

    def batches(self) -> Iterator[Batch]:
        """All of them, the user's own last. Raises CnnlabError naming all files that cannot be read."""
        if self.pictures is not None:
            yield from known(self.pictures, self.index, self.split, self.at_once)
        if self.folder is not None:
            yield from own(self, self.folder)


def scene(
    split: str, most: int | None, seed: int, trained: Trained | None, at_once: int | None, device: torch.device
) -> Scene:
    """What `split` means: a split's pictures, at most so many, drawn by the seed; or a folder's, with the test set's;
    without a run the folder's alone. Raises UsageError for what is neither."""
    folder = None if split in SPLITS else Path(split).expanduser()
    if folder is not None and not folder.is_dir():
        raise UsageError(f"no folder {plain(split)}, and {not_one_of('split', plain(split), SPLITS)}")
    if trained is None:
        return Scene(ALONE, classes_below(folder), at_once or 64, "", None, torch.empty(0), folder, False)
    pictures = split_of(trained, split := split if folder is None else "test").to(device)
    index = torch.arange(len(pictures))
    if most is not None and len(pictures) > most:
        index = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    dark = data_settings(trained.config["dataset"]).light_on_dark
    at_once = at_once or int(trained.config["eval_batch_size"])
    return Scene(trained.shape, trained.classes, at_once, split, pictures, index, folder, dark)


def classes_below(folder: Path | None) -> tuple[str, ...]:
    """The names of the folders that pictures below a folder are in, where there are several."""
    names = sorted({Path(file).parent.name for file in files_below(folder)} if folder else ())
    return tuple(names) if len(names) > 1 else ()


def known(pictures: PictureSet, index: Tensor, split: str, at_once: int) -> Iterator[Batch]:
    """The pictures at `index` of a data set's split."""
    batches = index.to(pictures.labels.device).split(at_once)
    for rows, (pixels, labels) in zip(batches, pictures.stream(batches), strict=True):
        yield Batch(pixels, labels.cpu(), [f"{split} #{i}" for i in rows.tolist()], rows.cpu())


def own(scene: Scene, folder: Path) -> Iterator[Batch]:
    """Every picture below a folder, made to fit as `predict` does; what is in a folder that is named as a class is of
    that class."""
    files, wrong = list(files_below(folder)), list[str]()
    if not files:
        raise UsageError(f"split={plain(str(folder))} holds no pictures")
    for start in range(0, len(files), scene.at_once):
        pixels, labels, names = [], [], []
        for file in map(Path, files[start : start + scene.at_once]):
            try:
                pixels.append(fitted(read_picture(file), scene.shape, light_on_dark=scene.light_on_dark)[0])
            except CnnlabError as error:
                wrong.append(str(error))
                continue
            labels.append(scene.classes.index(file.parent.name) if file.parent.name in scene.classes else -1)
            names.append(plain(str(file.relative_to(folder))))
        if not wrong:
            yield Batch(torch.stack(pixels), torch.tensor(labels), names, torch.full((len(names),), -1))
    if wrong:
        raise CnnlabError("\ncnnlab: ".join(wrong))
