"""Find the image files below a folder, and count the files that are not read, by reason."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.image_formats import IMAGE_SUFFIXES
from cnnlab.core.quoting import printable

# Folders that systems make: of archives, network drives and disks.
SYSTEM_FOLDERS = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
MAX_LISTED = 5  # names in a message
Folder = tuple[str, ...]  # the names of the folders from the top to it


@dataclass
class ImageTree:
    """Image files by folder, in order; a folder's own files come before those of its subfolders.

    `skipped`: {(folder, reason): number of entries that are not read}. `real_paths`: where every
    folder with images lies when links are resolved. `empty`: folders without images at any depth.
    """

    top: Path
    images: dict[Folder, list[str]] = field(default_factory=dict)
    subfolders: dict[Folder, list[str]] = field(default_factory=dict)
    skipped: Counter[tuple[Folder, str]] = field(default_factory=Counter)
    real_paths: dict[Folder, str] = field(default_factory=dict)
    empty: list[Folder] = field(default_factory=list)

    @property
    def shown_top(self) -> str:
        """The top as printed: relative to the current folder where it is below it."""
        here = Path.cwd()
        is_below = self.top.is_relative_to(here)
        return printable(str(self.top.relative_to(here) if is_below else self.top))

    def list_subfolders(self, *folder: str) -> list[str]:
        """Return the names of the folders in a folder that hold images at any depth, sorted."""
        return self.subfolders.get(folder, [])

    def count_images(self, *folder: str) -> int:
        """Return the number of images at any depth below a folder."""
        depth = len(folder)
        return sum(len(names) for path, names in self.images.items() if path[:depth] == folder)

    def count_skipped(self, *folder: str) -> Counter[str]:
        """Return {reason: number of entries that are not read} at any depth below a folder."""
        counts = Counter[str]()
        for (path, reason), count in self.skipped.items():
            if path[: len(folder)] == folder:
                counts[reason] += count
        return counts


def scan_images(top: Path, max_images: int | None = None) -> ImageTree:
    """Return every image file below a folder, at any depth, recognized by its name.

    Links are followed, but those to a folder above them. Raises UsageError where there are more
    than `max_images` images, and CnnlabError for a folder that cannot be listed.
    """
    tree, visited, num_images = ImageTree(top), set[tuple[Folder, str]](), 0
    pending: list[tuple[Folder, frozenset[str]]] = [((), frozenset())]
    while pending:
        folder, ancestors = pending.pop()
        path = os.path.join(top, *folder)  # noqa: PTH118  (faster)
        real_path = os.path.realpath(path)
        if real_path in ancestors:
            tree.subfolders[folder[:-1]].remove(folder[-1])
            reason = f"link to a folder above it ({printable(folder[-1])})"
            tree.skipped[folder[:-1], reason] += 1
            continue
        # Two folders may link to a third, but many links must not multiply.
        if (folder[:2], real_path) in visited:
            continue
        visited.add((folder[:2], real_path))
        names, subfolders = list_folder(path, folder, tree)
        if names:
            tree.images[folder], tree.real_paths[folder] = names, real_path
        num_images += len(names)
        if max_images is not None and num_images > max_images:
            raise UsageError(
                f"{printable(str(top))} holds more than dataset.max_images={max_images:,} images"
            )
        pending += [((*folder, name), ancestors | {real_path}) for name in reversed(subfolders)]
        tree.subfolders[folder] = subfolders
    drop_empty_folders(tree)
    return tree


def list_folder(path: str, folder: Folder, tree: ImageTree) -> tuple[list[str], list[str]]:
    """Return the sorted names of a folder's image files and of its folders; count all others."""
    names, subfolders = [], []
    try:
        entries = list(os.scandir(path))
    except OSError as error:
        reason = summarize_error(error)
        raise CnnlabError(f"{printable(path)} cannot be listed: {reason}") from error
    for entry in entries:
        if entry.name.startswith("."):
            tree.skipped[folder, "hidden"] += 1
        elif entry.is_dir():
            if entry.name.lower() in SYSTEM_FOLDERS:
                tree.skipped[folder, f"system folder {printable(entry.name)}"] += 1
            else:
                subfolders.append(entry.name)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            names.append(entry.name)
        else:
            tree.skipped[folder, describe_suffix(entry.name)] += 1
    return sorted(names), sorted(subfolders)


def describe_suffix(name: str) -> str:
    """Return why a file of this name is not read: it has no image format's suffix."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return f"of unknown suffix ({printable(suffix[:12])})" if suffix else "without suffix"


def drop_empty_folders(tree: ImageTree) -> None:
    """Move the folders without images at any depth from `tree.subfolders` to `tree.empty`."""
    filled = {folder[:depth] for folder in tree.images for depth in range(len(folder) + 1)}
    for folder, names in tree.subfolders.items():
        tree.empty += [(*folder, name) for name in names if (*folder, name) not in filled]
        tree.subfolders[folder] = [name for name in names if (*folder, name) in filled]


def iterate_image_files(folder: Path) -> Iterator[str]:
    """Yield the path of every image file at any depth below a folder, sorted within each."""
    for path, names in scan_images(folder).images.items():
        for name in names:
            yield os.path.join(folder, *path, name)  # noqa: PTH118


def join_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(map(printable, names[:MAX_LISTED])) + more
