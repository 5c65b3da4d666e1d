"""Which pictures lie below a folder, and of which class and split each is. Nothing is decoded here."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.quoting import plain

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


@dataclass(frozen=True)
class Found:
    """Pictures by (split, class's number, path below `root`), in order."""

    root: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, int, str], ...]

    def of(self, split: str) -> list[tuple[str, int]]:
        """(path below the root, class's number) of a split's pictures."""
        return [(path, label) for kind, label, path in self.rows if kind == split]

    def whole_paths(self) -> list[str]:
        return [os.path.join(self.root, path) for _, _, path in self.rows]  # noqa: PTH118

    def stamp(self, *more: object) -> str:
        """A digest that changes with any file's name, size or date."""
        digest = hashlib.sha256(repr(more).encode())
        for path in self.whole_paths():
            digest.update(f"{path!a} {about(path)}\n".encode())
        return digest.hexdigest()

    def without(self, wrong: dict[int, str], *, skip: bool) -> "Found":
        """The pictures that are not in `wrong`. Raises CnnlabError with every one that is, unless `skip`."""
        if not wrong:
            return self
        if not skip:
            lines = [plain(wrong[index]) for index in sorted(wrong)]
            raise CnnlabError(
                "\n".join([*lines, f"{told(len(lines))} broken; dataset.skip_broken=true goes on without"])
            )
        print(f"{told(len(wrong))} broken and left out, of {len(self.rows):,}", flush=True)
        kept = tuple(row for index, row in enumerate(self.rows) if index not in wrong)
        return complete(Found(self.root, self.classes, kept))


def about(path: str) -> tuple[int, int]:
    """A file's size in bytes and when it was changed; (-1, -1) where it cannot be asked, as behind a broken link."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def length(path: str) -> int:
    return about(path)[0]


def told(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count:,} pictures are"


def listing(root: str | None, most: int) -> Found:
    """`root/class/...` or `root/{train,val,test}/class/...` -> what is there: pictures by their names' endings, at any
    depth below their class; hidden files and folders are passed over, and so is what is no picture.

    Classes are the folders' names, sorted. Raises UsageError where there is nothing of that shape, a class has
    no pictures to train on, or there are more than `most` pictures."""
    if not root:
        raise UsageError("dataset.root is missing: the folder that holds a folder of pictures for each class")
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UsageError(f"dataset.root {plain(root)} is not a folder")
    names = folders(top)
    places = {name: SPLITS[name] for name in names} if names and set(names) <= SPLITS.keys() else {"": "train"}
    if "train" not in places.values() or len(set(places.values())) < len(places):
        raise UsageError(f"{plain(root)} holds {', '.join(names)}; it needs train, and val and test once at most")
    classes = tuple(sorted({name for place in places for name in folders(top / place)}))
    if not classes:
        raise UsageError(f"{plain(root)} holds no folders of pictures, one for each class")
    number, rows = {name: n for n, name in enumerate(classes)}, list[tuple[str, int, str]]()
    for place, split in places.items():
        for name in folders(top / place):
            for path in pictures(top / place / name):
                rows.append((split, number[name], os.path.relpath(path, top)))
                if len(rows) > most:
                    raise UsageError(f"{plain(root)} holds more than dataset.max_pictures={most:,} pictures")
    return complete(Found(str(top), classes, tuple(rows)))


def complete(found: Found) -> Found:
    """The same, if every class has pictures to train on. Raises UsageError naming those that have none."""
    there = {label for split, label, _ in found.rows if split == "train"}
    if empty := [plain(name) for label, name in enumerate(found.classes) if label not in there]:
        raise UsageError(f"no pictures to train on below {plain(found.root)} of class {', '.join(empty[:5])}")
    return found


def folders(place: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    return sorted(one.name for one in place.iterdir() if one.is_dir() and not one.name.startswith("."))


def pictures(place: Path) -> Iterator[str]:
    """Every picture file at any depth below a folder, sorted; a link that leads back where one came from is not
    followed."""
    seen = set[str]()
    for at, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(at)
        below[:] = [] if real in seen else sorted(name for name in below if not name.startswith("."))
        if real not in seen:
            yield from (
                os.path.join(at, name)  # noqa: PTH118
                for name in sorted(files)
                if name.lower().endswith(SUFFIXES) and not name.startswith(".")
            )
        seen.add(real)
