"""The input and output paths of `cnnlab stylize FOLDER STYLE...`."""

from collections import Counter
from itertools import chain, count
from pathlib import Path

from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed, summarize_error
from cnnlab.core.files import truncate_to_bytes
from cnnlab.core.image_formats import IMAGE_SUFFIXES
from cnnlab.core.lock import FolderLock
from cnnlab.core.quoting import printable


def default_output_folder(source: Path, style_stems: list[str]) -> Path:
    """Return the folder beside the content images' own, named after both."""
    folder = source if source.name not in ("", "..") else source.resolve()
    if not folder.name:
        raise UsageError(
            f"{printable(str(source))} has no name to derive a folder's from: use out=DIR"
        )
    return folder.with_name(truncate_to_bytes("_".join([folder.name, *style_stems]), 200))


def plan_output_paths(source: Path, folder: Path) -> dict[Path, Path]:
    """Return each image file of a folder, by name, and its output: a PNG in `folder`.

    Raises CnnlabError if there are none.
    """
    try:
        paths = sorted(
            path
            for path in source.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise CnnlabError(
            f"{printable(str(source))} cannot be read: {summarize_error(error)}"
        ) from error
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise CnnlabError(f"no images in {printable(str(source))} (subfolders are not searched)")
    return {
        path: folder / f"{stem}.png"
        for path, stem in zip(paths, make_unique_stems(paths), strict=True)
    }


def make_unique_stems(paths: list[Path]) -> list[str]:
    """Return a name for each file's output, unique whatever the case.

    The stem; with the suffix where two are equal; with a number where they still are.
    """
    names = [path.stem for path in paths]
    for _ in range(2):  # a name with its suffix may be another's stem
        repeated = {name for name, uses in Counter(map(str.lower, names)).items() if uses > 1}
        names = [
            path.name if name.lower() in repeated else name
            for path, name in zip(paths, names, strict=True)
        ]
    used_names = set[str]()
    for i, name in enumerate(names):
        candidates = chain([name], (f"{name}_{number}" for number in count(2)))
        names[i] = next(name for name in candidates if name.lower() not in used_names)
        used_names.add(names[i].lower())
    return names


def make_output_folder(folder: Path, source: Path) -> None:
    """Make the folder of outputs.

    Raises UsageError for the content images' own folder, where outputs would be inputs the next
    time, WriteFailed where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.samefile(source):
            raise UsageError(
                f"out={printable(str(folder))} contains the content images: use another folder"
            )
    except OSError as error:
        raise WriteFailed(folder, error) from error


def lock_output_folder(folder: Path) -> FolderLock:
    """Return the held lock on a folder of outputs: two processes would stylize the same images.

    Raises UsageError if another process holds it.
    """
    lock = FolderLock(folder)
    if not lock.acquire(blocking=False):
        raise UsageError(
            f"another process is stylizing images into {printable(str(folder))}\n"
            "wait until it has ended, or use another folder: out=DIR"
        )
    return lock
