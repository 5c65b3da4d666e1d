"""Read regular files of bounded size, and write files atomically, never through links.

Everything that a run folder holds may come from somebody else. Data are therefore opened by
`open_regular_file` alone, and files are created here and appended to in link_safety.py alone.
"""

import errno
import json
import math
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BufferedReader
from itertools import chain, count
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed
from cnnlab.core.quoting import printable
from cnnlab.core.signals import cleaning_up

MAX_TEXT_BYTES = 256 << 20  # metrics of a million rows
MAX_JSON_BYTES = 16 << 20
MAX_HEADER_BYTES = 8 << 20  # of safetensors: names and shapes of all tensors, and a record


def open_regular_file(path: str | Path) -> BufferedReader:
    """Return a file opened to be read. Raises OSError for what is not a regular file, such as a
    pipe, which would wait for a writer, or a device, which need not end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_is_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def check_regular_file(path: str | Path) -> None:
    """Raise OSError for what is not a regular file, before a library opens it by its path."""
    check_is_regular(Path(path).stat().st_mode, path)


def check_is_regular(mode: int, path: str | Path) -> None:
    """Raise OSError unless `mode`, of `stat`, is that of a regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def check_safetensors_header(path: Path) -> None:
    """Raise OSError for what is no regular file, has a header that takes minutes to read, or is too
    large for this machine. To be called before every reader of safetensors."""
    with open_regular_file(path) as file:
        size, header_bytes = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if header_bytes > MAX_HEADER_BYTES:
        raise OSError(errno.EFBIG, f"its header has {header_bytes:,} bytes")
    if size > memory_bytes:
        raise OSError(errno.EFBIG, f"its {size:,} bytes are more than this machine's memory")


def read_bytes(path: str | Path, max_bytes: int) -> bytes:
    """Return the content of a regular file. Raises OSError if it cannot be read or is larger than
    `max_bytes`."""
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            reason = f"it has {size:,} bytes; the limit is {max_bytes:,}"
            raise OSError(errno.EFBIG, reason, str(path))
        return file.read(size)


def read_text(path: str | Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file. Raises OSError as `read_bytes` does, or ValueError."""
    return read_bytes(path, max_bytes).decode("utf-8")


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
    """Return a new temporary path beside a file, which nobody can foresee and so put a link at."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextmanager
def temporary_file(path: Path, write: Callable[[Path], object]) -> Iterator[Path]:
    """Yield the flushed temporary file that `write` filled, to be renamed in the context. Raises
    WriteFailed if the system refuses either."""
    part = temporary_path(path)
    with cleaning_up(lambda: remove_file(part)):
        try:
            part.touch(exist_ok=False)
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
        if part.is_file() and not part.is_symlink():
            part.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
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


def parse_json(text: str, *, allow_nan: bool = False) -> Any:
    """Return the value of a JSON text. Raises ValueError for one that is damaged, nested too
    deeply, or has numbers that are not finite (unless `allow_nan`) or beyond 64 bits."""
    try:
        return json.loads(
            text,
            parse_int=parse_int64,
            parse_float=None if allow_nan else parse_finite,
            parse_constant=None if allow_nan else parse_finite,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_int64(digits: str) -> int:
    """Return an integer of JSON. Raises ValueError beyond 64 bits: floats cannot hold any size."""
    value = int(digits) if len(digits) < 20 else 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{digits[:20]} is beyond 64 bits")
    return value


def parse_finite(text: str) -> float:
    """Return a number of JSON. Raises ValueError if it is not finite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, or None if it is missing or damaged."""
    try:
        return parse_json(read_text(path, MAX_JSON_BYTES))
    except (OSError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with a JSON object a line; damaged and other lines are
    skipped."""
    rows = []
    with suppress(OSError):
        for line in read_bytes(path, MAX_TEXT_BYTES).decode(errors="replace").splitlines():
            with suppress(ValueError):
                rows.append(parse_json(line, allow_nan=True))
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
