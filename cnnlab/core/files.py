"""Write files atomically, without losing what they replace."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed
from cnnlab.core.quoting import printable
from cnnlab.core.signals import cleaning_up


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, and rename it. Raises
    WriteFailed if the system refuses; the previous file stays."""
    with temporary_file(path, write) as part:
        part.replace(path)
        fsync_path(path.parent)


def write_unique(path: Path, write: Callable[[Path], object]) -> Path:
    """Write like `write_atomically` without replacing a file: if `path` exists, _2, _3, ... is
    appended to the name. Returns the path."""
    with temporary_file(path, write) as part:
        for unique in chain([path], (path.with_stem(f"{path.stem}_{n}") for n in count(2))):
            with suppress(FileExistsError):
                unique.touch(exist_ok=False)  # reserves the name
                part.replace(unique)
                fsync_path(unique.parent)
                return unique
    raise AssertionError("unreachable")


def temporary_path(path: Path) -> Path:
    """Return the temporary path beside a file under which this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def temporary_file(path: Path, write: Callable[[Path], object]) -> Iterator[Path]:
    """Yield the flushed temporary file that `write` filled, to be renamed in the context. Raises
    WriteFailed if the system refuses either."""
    part = temporary_path(path)
    with cleaning_up(lambda: remove_file(part)):
        try:
            write(part)
            mask = os.umask(0)
            os.umask(mask)
            part.chmod(0o666 & ~mask)  # some writers create files that only their owner can read
            fsync_path(part)
            yield part
        except Exception as error:
            if not isinstance(error, (OSError, *foreign_write_errors())):
                raise
            raise WriteFailed(path, error) from error


def remove_file(path: Path) -> None:
    """Remove a file if it exists and the system permits."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def foreign_write_errors() -> tuple[type[BaseException], ...]:
    """Return the errors that safetensors, once imported, raises where Python raises OSError."""
    safetensors = sys.modules.get("safetensors")
    return (safetensors.SafetensorError,) if safetensors else ()


def remove_temporary_files(folder: Path) -> None:
    """Remove temporary files of a killed process. No other process may use the folder."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` atomically. Raises WriteFailed."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by a value as JSON. Raises ValueError for a value that JSON cannot
    represent."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def path_exists(path: Path) -> bool:
    """Return whether a file or folder exists; False for a name that is too long."""
    try:
        return path.exists()
    except OSError:
        return False


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, or None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with a JSON object a line; damaged and other lines are
    skipped."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def check_folder_name(name: str) -> None:
    """Raises ValueError for a name that a folder cannot have."""
    if "/" in name or not name.strip(".") or not name.isprintable() or len(name) > 100:
        raise ValueError(f"name must be a valid folder name, not {name!r}")


def make_run_folder(parent: Path, name: str) -> Path:
    """Create and return `parent`/<date>_<time>_<name>; no two runs can share one."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        folder = parent / "_".join([stamp, name] + ([str(attempt)] if attempt > 1 else []))
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise CnnlabError(
                    f"cannot create a run folder in {parent}: it is not a folder"
                ) from None
            continue
        except OSError as error:
            raise CnnlabError(
                f"cannot create a run folder in {parent}: {error.strerror}"
            ) from error
        return folder
    raise CnnlabError(f"no free name in {parent}: a thousand runs named {name} in this second")


def expand_home(path: str | Path) -> Path:
    """Return a path in which `~` is a home folder. Raises UsageError where there is none such."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{printable(str(path))}: the home folder is unknown; give the whole path, or set HOME"
        ) from None


def get_cache_folder() -> Path:
    """Return cnnlab's folder in the user's cache, which need not exist.

    A user without a home folder, as some containers have, has it in the folder of temporary files.
    """
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return expand_home(folder) / "cnnlab"
    try:
        return Path.home() / ".cache" / "cnnlab"
    except RuntimeError:
        return Path(gettempdir()) / f"cnnlab-{os.getuid()}"


def resolve_outputs_folder(outputs: str) -> Path:
    """Return the folder of runs; `~` is the user's home folder."""
    return expand_home(outputs)


def truncate_to_bytes(text: str, max_bytes: int) -> str:
    """Return a text shortened to so many bytes; file systems limit bytes."""
    return text.encode(errors="surrogateescape")[:max_bytes].decode(errors="ignore")
