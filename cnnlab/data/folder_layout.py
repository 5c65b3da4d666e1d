"""Decide what the folders below a root mean: classes, or splits that hold the classes.

Where both are possible, neither is assumed: the error names both and what to type for each.
"""

import unicodedata
from pathlib import Path
from typing import Literal

from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import as_override, printable
from cnnlab.data.image_tree import MAX_LISTED, Folder, ImageTree, join_names

Layout = Literal["auto", "classes", "splits", "flat"]
SPLIT_FOLDER_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def find_split(name: str) -> str | None:
    """Return the split that a folder's name means, in any case; None for other names."""
    return SPLIT_FOLDER_NAMES.get(name.casefold())


def find_split_folders(tree: ImageTree, layout: Layout) -> dict[str, str]:
    """Return {folder below the root: split}; empty where the root's folders are the classes.

    A folder is a split if it is named as one and holds folders of images. Raises UsageError for
    folders that can be read in two ways, and for splits without training images.
    """
    names = tree.list_subfolders()
    splits = {
        name: split for name in names if (split := find_split(name)) and tree.list_subfolders(name)
    }
    if layout == "classes":
        return {}
    if layout == "auto":
        check_readings(tree, names, list(splits))
        if not splits:
            return {}
    if "train" not in splits.values() or len(set(splits.values())) < len(splits):
        listed = join_names(list(splits) or names) or "no folders of images"
        raise UsageError(
            f"{tree.shown_top} holds {listed}\n"
            f"it needs train, and at most one folder each for val and test"
        )
    return splits


def check_readings(tree: ImageTree, names: list[str], splits: list[str]) -> None:
    """Raise UsageError if a root's folders may be classes as well as splits."""
    others = [name for name in names if name not in splits]
    if splits and others:
        without_classes = [name for name in others if not tree.list_subfolders(name)]
        held = f" (images in no class folder: {join_names(without_classes)})"
        raise UsageError(
            f"{tree.shown_top} holds {join_names(splits)}, and also {join_names(others)}"
            f"{held * bool(without_classes)}\n"
            f"as splits, without {join_names(others)}: dataset.layout=splits\n"
            f"as {len(names)} classes: dataset.layout=classes"
        )
    if not splits and names and all(map(find_split, names)):
        raise UsageError(
            f"{join_names(names)} in {tree.shown_top} hold images, and no class folders\n"
            f"a folder for each class in each of them makes them splits\n"
            f"as {len(names)} classes: dataset.layout=classes"
        )
    for name in splits:
        inner = [inside for inside in tree.list_subfolders(name) if find_split(inside)]
        if any(tree.list_subfolders(name, inside) for inside in inner):
            raise UsageError(
                f"{tree.shown_top}/{printable(name)} holds splits itself: {join_names(inner)}\n"
                f"as splits: {as_override('dataset.root', str(Path(tree.shown_top, name)))}\n"
                f"as classes: dataset.layout=splits"
            )
    if not splits:
        check_shared_subfolders(tree, names)


def check_shared_subfolders(tree: ImageTree, names: list[str]) -> None:
    """Raise UsageError if all folders hold the same folders and no images of their own: either
    may be the classes."""
    if len(names) < 2 or any((name,) in tree.images for name in names):
        return
    shared = set.intersection(*(set(tree.list_subfolders(name)) for name in names))
    if len(shared) > 1:
        inner = join_names(sorted(shared))
        fix = (
            "put the classes into them: train/CLASS, val/CLASS, test/CLASS"
            if all(map(find_split, shared))
            else "name the folders around them train, val and test"
        )
        raise UsageError(
            f"{join_names(names)} in {tree.shown_top} all hold {inner}\n"
            f"as {len(names)} classes, {join_names(names)}: dataset.layout=classes\n"
            f"{'splits' if all(map(find_split, shared)) else 'classes'} are {inner}: {fix}"
        )


def locate_classes(tree: ImageTree, splits: dict[str, str]) -> dict[Folder, tuple[str, str]]:
    """Return {class folder: (split, class)}, in the images' order."""
    if not splits:
        return {(name,): ("train", normalize_name(name)) for name in tree.list_subfolders()}
    return {
        (folder, name): (split, normalize_name(name))
        for folder, split in splits.items()
        for name in tree.list_subfolders(folder)
    }


def normalize_name(name: str) -> str:
    """Return a class's name in Unicode's composed form: macOS writes `é` as two characters."""
    return unicodedata.normalize("NFC", name)


def check_classes(
    tree: ImageTree, located: dict[Folder, tuple[str, str]], layout: Layout
) -> tuple[str, ...]:
    """Return the sorted names of the classes.

    Raises UsageError for fewer than two, for empty class folders, for classes without training
    images, and for names and folders that may mean one class or two.
    """
    classes = sorted({name for _, name in located.values()})
    check_empty_class_folders(tree, located)
    if len(classes) < 2:
        raise UsageError(describe_single_class(tree, list(located), classes))
    trained = {name for split, name in located.values() if split == "train"}
    if absent := [name for name in classes if name not in trained]:
        raise UsageError(
            f"no images to train on of class {join_names(absent)} below {tree.shown_top}:\n"
            f"it is only in val or test; the training classes are {join_names(sorted(trained))}"
        )
    if layout == "auto":
        is_split = any(len(folder) == 2 for folder in located)
        check_case_twins(classes, f"dataset.layout={'splits' if is_split else 'classes'}")
    check_nested_classes(tree, located, layout)
    check_linked_folders(tree, located)
    return tuple(classes)


def describe_single_class(tree: ImageTree, folders: list[Folder], classes: list[str]) -> str:
    """Return that a root holds no two classes, and a root below it that does."""
    if not classes:
        num_images = tree.count_images()
        loose = f"{num_images:,} images, but " if num_images else ""
        skipped = format_skipped(tree)
        return f"{tree.shown_top} holds {loose}no folders of images, one for each class{skipped}"
    problem = f"{tree.shown_top} holds one class, {printable(classes[0])}; a classifier needs two"
    folder, inner = folders[0], tree.list_subfolders(*folders[0])
    while len(inner) == 1:
        folder, inner = (*folder, inner[0]), tree.list_subfolders(*folder, inner[0])
    if len(folders) > 1 or not inner:
        return f"{problem}\nput a folder beside it for each other class"
    below = as_override("dataset.root", str(Path(tree.shown_top, *folder)))
    return f"{problem}\nwith {join_names(inner)} as classes: {below}"


def check_empty_class_folders(tree: ImageTree, located: dict[Folder, tuple[str, str]]) -> None:
    """Raise UsageError for folders beside training classes that hold no images."""
    parents = {folder[:-1] for folder, (split, _) in located.items() if split == "train"}
    empty = [folder for folder in tree.empty if folder[:-1] in parents]
    if empty:
        names = join_names([folder[-1] for folder in empty])
        raise UsageError(
            f"no images to train on of class {names} below {tree.shown_top}"
            f"{format_skipped(tree, *empty[0])}\nput images into it, or remove it"
        )


def check_case_twins(classes: list[str], override: str) -> None:
    """Raise UsageError for classes whose names differ in upper and lower case only."""
    by_name: dict[str, str] = {}
    for name in classes:
        twin = by_name.setdefault(name.casefold(), name)
        if twin != name:
            raise UsageError(
                f"{printable(twin)} and {printable(name)} differ in upper and lower case only\n"
                f"as one class: move the images of both into one folder\n"
                f"as two classes: {override}"
            )


def check_nested_classes(
    tree: ImageTree, located: dict[Folder, tuple[str, str]], layout: Layout
) -> None:
    """Raise UsageError for a folder inside a class that has another class's name."""
    if layout != "auto":
        return
    depth = len(next(iter(located)))
    classes = {name for _, name in located.values()}
    for folder in tree.images:
        own = located.get(folder[:depth])
        for name in folder[depth:] if own else ():
            if normalize_name(name) in classes - {own[1] if own else ""}:
                path = printable("/".join(folder))
                raise UsageError(
                    f"{path} in {tree.shown_top}: of which class are the images?\n"
                    f"of {printable(own[1] if own else '')}: rename the inner folder\n"
                    f"of {printable(name)}: move it out"
                )


def check_linked_folders(tree: ImageTree, located: dict[Folder, tuple[str, str]]) -> None:
    """Raise UsageError if a folder belongs to two classes by a link."""
    depth, first = len(next(iter(located))), dict[str, Folder]()
    for folder, real_path in tree.real_paths.items():
        if folder[:depth] in located:
            other = first.setdefault(real_path, folder)
            if located[other[:depth]][1] != located[folder[:depth]][1]:
                pair = " and ".join(printable("/".join(path)) for path in (other, folder))
                raise UsageError(
                    f"{pair} in {tree.shown_top} are one folder, by a link:\n"
                    f"its images would be of two classes; remove the link"
                )


def format_skipped(tree: ImageTree, *folder: str) -> str:
    """Return the reasons why files of a folder were skipped, on lines of their own."""
    return "".join(
        f"\n{count:,} skipped: {reason}"
        for reason, count in tree.count_skipped(*folder).most_common(MAX_LISTED)
    )
