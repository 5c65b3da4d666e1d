"""Which images lie below a folder, and of which class and split each is. Nothing is decoded here."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.quoting import printable

SPLIT_FOLDER_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


@dataclass(frozen=True)
class FolderIndex:
    """Images by (split, class's number, path below `root`), in order."""

    root: str
    classes: tuple[str, ...]
    entries: tuple[tuple[str, int, str], ...]

    def list_split(self, split: str) -> list[tuple[str, int]]:
        """(path below the root, class's number) of a split's images."""
        return [(path, label) for kind, label, path in self.entries if kind == split]

    def list_full_paths(self) -> list[str]:
        return [os.path.join(self.root, path) for _, _, path in self.entries]  # noqa: PTH118

    def hash_file_stats(self, *more: object) -> str:
        """A digest that changes with any file's name, size or date."""
        digest = hashlib.sha256(repr(more).encode())
        for path in self.list_full_paths():
            digest.update(f"{path!a} {get_size_and_mtime(path)}\n".encode())
        return digest.hexdigest()

    def drop_broken(self, wrong: dict[int, str], *, skip_broken: bool) -> "FolderIndex":
        """The images that are not in `wrong`. Raises CnnlabError with every one that is, unless `skip`."""
        if not wrong:
            return self
        if not skip_broken:
            lines = [printable(wrong[index]) for index in sorted(wrong)]
            raise CnnlabError(
                "\n".join(
                    [
                        *lines,
                        f"{format_image_count(len(lines))} broken; dataset.skip_broken=true goes on without",
                    ]
                )
            )
        print(
            f"{format_image_count(len(wrong))} broken and left out, of {len(self.entries):,}",
            flush=True,
        )
        kept = tuple(row for index, row in enumerate(self.entries) if index not in wrong)
        return require_training_images(FolderIndex(self.root, self.classes, kept))


def get_size_and_mtime(path: str) -> tuple[int, int]:
    """A file's size in bytes and when it was changed; (-1, -1) where it cannot be asked, as behind a broken link."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def get_file_size(path: str) -> int:
    return get_size_and_mtime(path)[0]


def format_image_count(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def index_folder(root: str | None, most: int) -> FolderIndex:
    """`root/class/...` or `root/{train,val,test}/class/...` -> what is there: images by their names' endings, at any
    depth below their class; hidden files and folders are passed over, and so is what is no image.

    Classes are the folders' names, sorted. Raises UsageError where there is nothing of that shape, a class has
    no images to train on, or there are more than `most` images."""
    if not root:
        raise UsageError(
            "dataset.root is missing: the folder that holds a folder of images for each class"
        )
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UsageError(f"dataset.root {printable(root)} is not a folder")
    names = list_subfolders(top)
    places = (
        {name: SPLIT_FOLDER_NAMES[name] for name in names}
        if names and set(names) <= SPLIT_FOLDER_NAMES.keys()
        else {"": "train"}
    )
    if "train" not in places.values() or len(set(places.values())) < len(places):
        raise UsageError(
            f"{printable(root)} holds {', '.join(names)}; it needs train, and val and test once at most"
        )
    classes = tuple(sorted({name for place in places for name in list_subfolders(top / place)}))
    if not classes:
        raise UsageError(f"{printable(root)} holds no folders of images, one for each class")
    number, rows = {name: n for n, name in enumerate(classes)}, list[tuple[str, int, str]]()
    for place, split in places.items():
        for name in list_subfolders(top / place):
            for path in iterate_image_files(top / place / name):
                rows.append((split, number[name], os.path.relpath(path, top)))
                if len(rows) > most:
                    raise UsageError(
                        f"{printable(root)} holds more than dataset.max_images={most:,} images"
                    )
    return require_training_images(FolderIndex(str(top), classes, tuple(rows)))


def require_training_images(found: FolderIndex) -> FolderIndex:
    """The same, if every class has images to train on. Raises UsageError naming those that have none."""
    there = {label for split, label, _ in found.entries if split == "train"}
    if empty := [printable(name) for label, name in enumerate(found.classes) if label not in there]:
        raise UsageError(
            f"no images to train on below {printable(found.root)} of class {', '.join(empty[:5])}"
        )
    return found


def list_subfolders(place: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    return sorted(
        one.name for one in place.iterdir() if one.is_dir() and not one.name.startswith(".")
    )


def iterate_image_files(place: Path) -> Iterator[str]:
    """Every image file at any depth below a folder, sorted; a link that leads back where one came from is not
    followed."""
    seen = set[str]()
    for at, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(at)
        below[:] = (
            [] if real in seen else sorted(name for name in below if not name.startswith("."))
        )
        if real not in seen:
            yield from (
                os.path.join(at, name)  # noqa: PTH118
                for name in sorted(files)
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
            )
        seen.add(real)
