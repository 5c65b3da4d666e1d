"""Index the images below a folder by split and class, without decoding them."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.image_formats import IMAGE_SUFFIXES
from cnnlab.core.quoting import printable

SPLIT_FOLDER_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class FolderIndex:
    """Images as (split, class index, path below `root`), in order."""

    root: str
    classes: tuple[str, ...]
    entries: tuple[tuple[str, int, str], ...]

    def list_split(self, split: str) -> list[tuple[str, int]]:
        """Return the (path below the root, class index) of a split's images."""
        return [(path, label) for name, label, path in self.entries if name == split]

    def list_full_paths(self) -> list[str]:
        return [os.path.join(self.root, path) for _, _, path in self.entries]  # noqa: PTH118

    def hash_file_stats(self, *more: object) -> str:
        """Return a digest that changes with `more` and any file's name, size or date."""
        digest = hashlib.sha256(repr(more).encode())
        for path in self.list_full_paths():
            digest.update(f"{path!a} {get_size_and_mtime(path)}\n".encode())
        return digest.hexdigest()

    def drop_broken(self, errors: dict[int, str], *, skip_broken: bool) -> "FolderIndex":
        """Return the index without the images in `errors`, {entry: error}.

        Raises CnnlabError that lists all errors, unless `skip_broken`.
        """
        if not errors:
            return self
        count = format_image_count(len(errors))
        if not skip_broken:
            lines = [printable(errors[entry]) for entry in sorted(errors)]
            lines.append(f"{count} broken; dataset.skip_broken=true skips them")
            raise CnnlabError("\n".join(lines))
        print(f"{count} broken and skipped, of {len(self.entries):,}", flush=True)
        entries = tuple(row for entry, row in enumerate(self.entries) if entry not in errors)
        return require_training_images(FolderIndex(self.root, self.classes, entries))


def get_size_and_mtime(path: str) -> tuple[int, int]:
    """Return a file's size in bytes and modification time in ns; (-1, -1) where it has none, as for
    a broken link."""
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def get_file_size(path: str) -> int:
    return get_size_and_mtime(path)[0]


def format_image_count(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def index_folder(root: str | None, max_images: int) -> FolderIndex:
    """Return the images in `root/class/...`, or in `root/{train,val,test}/class/...`.

    Images are recognized by their file extension, at any depth below their class; hidden files and
    folders and other files are ignored. Classes are the folders' names, sorted. Raises UsageError
    if there are no such folders, a class has no training images, or there are more than
    `max_images` images.
    """
    if not root:
        raise UsageError(
            "dataset.root is missing: the folder that holds a folder of images for each class"
        )
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UsageError(f"dataset.root {printable(root)} is not a folder")
    splits = find_split_folders(top, root)
    classes = tuple(sorted({name for folder in splits for name in list_subfolders(top / folder)}))
    if not classes:
        raise UsageError(f"{printable(root)} holds no folders of images, one for each class")
    entries = []
    for entry in iterate_entries(top, splits, classes):
        entries.append(entry)
        if len(entries) > max_images:
            raise UsageError(
                f"{printable(root)} holds more than dataset.max_images={max_images:,} images"
            )
    return require_training_images(FolderIndex(str(top), classes, tuple(entries)))


def find_split_folders(top: Path, root: str) -> dict[str, str]:
    """Return {folder below `top`: split}; {"": "train"} where the folders are classes.

    Raises UsageError if there is no training folder, or two folders of one split.
    """
    names = list_subfolders(top)
    if not names or not set(names) <= SPLIT_FOLDER_NAMES.keys():
        return {"": "train"}
    splits = {name: SPLIT_FOLDER_NAMES[name] for name in names}
    if "train" not in splits.values() or len(set(splits.values())) < len(splits):
        raise UsageError(
            f"{printable(root)} holds {', '.join(names)}; "
            f"it needs train, and at most one folder each for val and test"
        )
    return splits


def iterate_entries(
    top: Path, splits: dict[str, str], classes: tuple[str, ...]
) -> Iterator[tuple[str, int, str]]:
    """Yield (split, class index, path below `top`) of every image."""
    class_indices = {name: index for index, name in enumerate(classes)}
    for folder, split in splits.items():
        for name in list_subfolders(top / folder):
            for path in iterate_image_files(top / folder / name):
                yield split, class_indices[name], os.path.relpath(path, top)


def require_training_images(index: FolderIndex) -> FolderIndex:
    """Return the same index. Raises UsageError that names classes without training images."""
    labels = {label for split, label, _ in index.entries if split == "train"}
    empty = [printable(name) for label, name in enumerate(index.classes) if label not in labels]
    if empty:
        raise UsageError(
            f"no images to train on below {printable(index.root)} of class {', '.join(empty[:5])}"
        )
    return index


def list_subfolders(folder: Path) -> list[str]:
    """Return the names of the visible folders in a folder, sorted."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def iterate_image_files(folder: Path) -> Iterator[str]:
    """Yield every image file at any depth below a folder, sorted within each.

    Links are followed, but no folder is visited twice: a link to a parent folder does not loop.
    """
    visited = set[str]()
    for parent, subfolders, files in os.walk(folder, followlinks=True):
        real_path = os.path.realpath(parent)
        if real_path in visited:
            subfolders.clear()
            continue
        visited.add(real_path)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)  # noqa: PTH118
