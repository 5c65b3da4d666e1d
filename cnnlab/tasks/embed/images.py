"""Which pictures are on a map: those of a run's data set, and a user's own among them or alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cnnlab.core.errors import CnnlabError, UsageError, format_unknown_choice
from cnnlab.core.image import read_image
from cnnlab.core.quoting import printable
from cnnlab.data.adapt import adapt_image
from cnnlab.data.build import parse_data_settings
from cnnlab.data.dataset import ImageSet
from cnnlab.data.folder_index import iterate_image_files as files_below
from cnnlab.tasks.trained_run import TrainedRun, load_split

DATASET_SPLITS = ("test", "validation", "train", "trainval")
STANDALONE_SHAPE = (3, 256, 256)  # pictures that no run has a size for


@dataclass(frozen=True)
class ImageBatch:
    """(N, C, H, W) uint8 pictures; (N,) their classes' numbers, -1 where nobody knows; their names; (N,) the numbers
    that they have in their split, -1 for a user's own."""

    pixels: Tensor
    labels: Tensor
    names: list[str]
    indices: Tensor


@dataclass(frozen=True)
class ImageSelection:
    """Pictures of a split, those at `index`, and those below a folder; of `shape` (depth, height, width) all."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    batch_size: int
    split: str
    images: ImageSet | None
    indices: Tensor
    folder: Path | None
    light_on_dark: bool

    def iterate_batches(self) -> Iterator[ImageBatch]:
        """All of them, the user's own last. Raises CnnlabError naming all files that cannot be read."""
        if self.images is not None:
            yield from iterate_split(self.images, self.indices, self.split, self.batch_size)
        if self.folder is not None:
            yield from iterate_folder(self, self.folder)


def select_images(
    split: str,
    max_images: int | None,
    seed: int,
    trained: TrainedRun | None,
    batch_size: int | None,
    device: torch.device,
) -> ImageSelection:
    """What `split` means: a split's pictures, at most so many, drawn by the seed; or a folder's, with the test set's;
    without a run the folder's alone. Raises UsageError for what is neither."""
    folder = None if split in DATASET_SPLITS else Path(split).expanduser()
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"no folder {printable(split)}, and {format_unknown_choice('split', printable(split), DATASET_SPLITS)}"
        )
    if trained is None:
        return ImageSelection(
            STANDALONE_SHAPE,
            find_class_names(folder),
            batch_size or 64,
            "",
            None,
            torch.empty(0),
            folder,
            False,
        )
    pictures = load_split(trained, split := split if folder is None else "test").to(device)
    index = torch.arange(len(pictures))
    if max_images is not None and len(pictures) > max_images:
        index = (
            torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[
                :max_images
            ]
            .sort()
            .values
        )
    dark = parse_data_settings(trained.config["dataset"]).light_on_dark
    batch_size = batch_size or int(trained.config["eval_batch_size"])
    return ImageSelection(
        trained.shape, trained.classes, batch_size, split, pictures, index, folder, dark
    )


def find_class_names(folder: Path | None) -> tuple[str, ...]:
    """The names of the folders that pictures below a folder are in, where there are several."""
    names = sorted({Path(file).parent.name for file in files_below(folder)} if folder else ())
    return tuple(names) if len(names) > 1 else ()


def iterate_split(
    pictures: ImageSet, index: Tensor, split: str, at_once: int
) -> Iterator[ImageBatch]:
    """The pictures at `index` of a data set's split."""
    batches = index.to(pictures.labels.device).split(at_once)
    for rows, (pixels, labels) in zip(batches, pictures.iterate_batches(batches), strict=True):
        yield ImageBatch(pixels, labels.cpu(), [f"{split} #{i}" for i in rows.tolist()], rows.cpu())


def iterate_folder(scene: ImageSelection, folder: Path) -> Iterator[ImageBatch]:
    """Every picture below a folder, made to fit as `predict` does; what is in a folder that is named as a class is of
    that class."""
    files, wrong = list(files_below(folder)), list[str]()
    if not files:
        raise UsageError(f"split={printable(str(folder))} holds no pictures")
    for start in range(0, len(files), scene.batch_size):
        pixels, labels, names = [], [], []
        for file in map(Path, files[start : start + scene.batch_size]):
            try:
                pixels.append(
                    adapt_image(read_image(file), scene.shape, light_on_dark=scene.light_on_dark)[0]
                )
            except CnnlabError as error:
                wrong.append(str(error))
                continue
            labels.append(
                scene.classes.index(file.parent.name) if file.parent.name in scene.classes else -1
            )
            names.append(printable(str(file.relative_to(folder))))
        if not wrong:
            yield ImageBatch(
                torch.stack(pixels), torch.tensor(labels), names, torch.full((len(names),), -1)
            )
    if wrong:
        raise CnnlabError("\ncnnlab: ".join(wrong))
