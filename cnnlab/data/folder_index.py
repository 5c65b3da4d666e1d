"""Index the images below a folder by split and class, without decoding them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import expand_home
from cnnlab.core.quoting import printable
from cnnlab.data.folder_layout import (
    Layout,
    check_classes,
    find_split_folders,
    format_skipped,
    locate_classes,
)
from cnnlab.data.image_tree import ImageTree, join_names, scan_images

FLAT_CLASS = "images"  # of layout=flat


@dataclass(frozen=True)
class FolderIndex:
    """Images as (split, class index, path below `root`), in order.

    `skipped`: (reason, number of files) that are not among them; `ignored`: names of folders.
    """

    root: str
    classes: tuple[str, ...]
    entries: tuple[tuple[str, int, str], ...]
    skipped: tuple[tuple[str, int], ...] = ()
    ignored: tuple[str, ...] = ()

    def list_split(self, split: str) -> list[tuple[str, int]]:
        """Return the (path below the root, class index) of a split's images."""
        return [(path, label) for name, label, path in self.entries if name == split]

    @cached_property
    def full_paths(self) -> list[str]:
        """The full path of every image, in order."""
        prefix = os.path.join(self.root, "")  # noqa: PTH118
        return [prefix + path for _, _, path in self.entries]

    def drop_broken(self, errors: dict[str, str], *, skip_broken: bool) -> "FolderIndex":
        """Return the index without the images in `errors`, {full path: error}.

        Raises CnnlabError that lists all errors, unless `skip_broken`.
        """
        if not errors:
            return self
        if not skip_broken:
            lines = [printable(error) for error in errors.values()]
            count = "1 image is" if len(errors) == 1 else f"{len(errors):,} images are"
            lines.append(f"{count} broken; dataset.skip_broken=true skips them")
            raise CnnlabError("\n".join(lines))
        pairs = zip(self.entries, self.full_paths, strict=True)
        entries = tuple(entry for entry, path in pairs if path not in errors)
        skipped = (*self.skipped, ("broken", len(errors)))
        return require_training_images(replace(self, entries=entries, skipped=skipped))


def index_folder(root: str | None, max_images: int, layout: Layout) -> FolderIndex:
    """Return the images in `root/class/...`, or in `root/{train,val,test}/class/...`.

    With `layout` flat, all images below the root, whatever the folders, are of one class. Images
    are recognized by their file extension, at any depth below their class; hidden files and
    folders and other files are counted as skipped. Classes are the folders' names, sorted. Raises
    UsageError if there are no two such folders, they can be read in two ways and `layout` is auto,
    a class has no training images, or there are more than `max_images` images.
    """
    if not root:
        raise UsageError(
            "dataset.root is missing: the folder that holds a folder of images for each class"
        )
    top = expand_home(root)
    if not top.is_dir():
        raise UsageError(f"dataset.root {printable(root)} is not a folder")
    tree = scan_images(top, max_images)
    if layout == "flat":
        return index_all_images(tree)
    splits = find_split_folders(tree, layout)
    located = locate_classes(tree, splits)
    classes = check_classes(tree, located, layout)
    depth = 2 if splits else 1
    class_indices = {name: index for index, name in enumerate(classes)}
    skipped, entries = tree.count_skipped(), []
    for folder, names in iterate_distinct_folders(tree, depth):
        if folder[:depth] not in located:
            where = f"in {printable(folder[0])}" if folder and splits else "beside the folders"
            skipped[f"{where}, in no class folder"] += len(names)
            continue
        split, name = located[folder[:depth]]
        label, path = class_indices[name], "/".join(folder)
        entries += [(split, label, f"{path}/{name}") for name in names]
    ignored = [folder[0] for folder in tree.empty if len(folder) == 1]
    return require_training_images(
        FolderIndex(str(top), classes, tuple(entries), tuple(skipped.items()), tuple(ignored))
    )


def index_all_images(tree: ImageTree) -> FolderIndex:
    """Return all images of a tree as one class. Raises UsageError if there are none."""
    entries = tuple(
        ("train", 0, "/".join((*folder, name)))
        for folder, names in iterate_distinct_folders(tree, 0)
        for name in names
    )
    if not entries:
        raise UsageError(f"{tree.shown_top} holds no images{format_skipped(tree)}")
    skipped = tuple(tree.count_skipped().items())
    return FolderIndex(str(tree.top), (FLAT_CLASS,), entries, skipped)


def iterate_distinct_folders(
    tree: ImageTree, depth: int
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the folders with images and their names, a folder that links reach in several ways
    once for each class folder."""
    visited = set[tuple[tuple[str, ...], str]]()
    for folder, names in tree.images.items():
        key = folder[:depth], tree.real_paths[folder]
        if key not in visited:
            visited.add(key)
            yield folder, names


def require_training_images(index: FolderIndex) -> FolderIndex:
    """Return the same index. Raises UsageError that names classes without training images."""
    labels = {label for split, label, _ in index.entries if split == "train"}
    empty = [name for label, name in enumerate(index.classes) if label not in labels]
    if empty:
        raise UsageError(
            f"no images to train on below {printable(index.root)} of class {join_names(empty)}"
        )
    return index
