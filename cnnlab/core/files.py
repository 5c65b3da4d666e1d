"""Files appear whole or not at all, and nothing that was there is lost on the way."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from cnnlab.core.errors import CnnlabError, WriteFailed


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, and rename it into place. Raises
    Unwritable where the system refuses, and leaves what was there."""
    with temporary_file(path, write) as part:
        part.replace(path)
        fsync_path(path.parent)


def write_unique(path: Path, write: Callable[[Path], object]) -> Path:
    """The same, but nothing is replaced: where `path` is taken, _2, _3, ... comes behind the name. Returns which it
    is."""
    with temporary_file(path, write) as part:
        for free in chain([path], (path.with_stem(f"{path.stem}_{n}") for n in count(2))):
            with suppress(FileExistsError):
                free.touch(exist_ok=False)  # nobody else has the name now
                part.replace(free)
                fsync_path(free.parent)
                return free
    raise AssertionError("names do not run out")


def temporary_path(path: Path) -> Path:
    """The temporary name beside a file that this process writes it under."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def temporary_file(path: Path, write: Callable[[Path], object]) -> Iterator[Path]:
    """What `write` made, flushed, under its temporary name: to be renamed within. Raises Unwritable where the system
    refuses either."""
    part = temporary_path(path)
    try:
        write(part)
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)  # some writers make files that only their owner can read
        fsync_path(part)
        yield part
    except Exception as error:
        if not isinstance(error, (OSError, *foreign_write_errors())):
            raise
        raise WriteFailed(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def foreign_write_errors() -> tuple[type[BaseException], ...]:
    """What a writer that is not Python raises where Python raises OSError; known once it is imported."""
    safetensors = sys.modules.get("safetensors")
    return (safetensors.SafetensorError,) if safetensors else ()


def remove_temporary_files(folder: Path) -> None:
    """Remove what a process that was killed had begun to write there. The folder must be the caller's alone."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Wait until the disk has a file, or a folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, whole."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by plain numbers, texts, lists and mappings; raises ValueError for what JSON has no word for."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def path_exists(path: Path) -> bool:
    """Whether a file or folder is there; a name too long to be one is not."""
    try:
        return path.exists()
    except OSError:
        return False


def read_json(path: Path) -> Any:
    """What `write_json` wrote, or None where there is nothing that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON objects; one cut short by a crash, or that is something else, is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def check_folder_name(name: str) -> None:
    """Raises ValueError for what cannot stand in a folder's name."""
    if "/" in name or not name.strip(".") or not name.isprintable() or len(name) > 100:
        raise ValueError(f"name must be usable in a folder's name, not {name!r}")


def make_run_folder(parent: Path, name: str) -> Path:
    """`parent`/<date>_<time>_<name>, made so that no two runs can share one."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        folder = parent / "_".join([stamp, name] + ([str(attempt)] if attempt > 1 else []))
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise CnnlabError(
                    f"cannot make a run's folder in {parent}: it is not a folder"
                ) from None
            continue
        except OSError as error:
            raise CnnlabError(
                f"cannot make a run's folder in {parent}: {error.strerror}"
            ) from error
        return folder
    raise CnnlabError(
        f"a thousand runs named {name} began in this second; there is no free name in {parent}"
    )


def resolve_outputs_folder(outputs: str) -> Path:
    """Where runs go; `~` is the user's own folder."""
    return Path(outputs).expanduser()


def truncate_to_bytes(text: str, max_bytes: int) -> str:
    """A text of at most so many bytes, which is what file systems count."""
    return text.encode(errors="surrogateescape")[:max_bytes].decode(errors="ignore")
