"""Files from the network: under a temporary name, gone on with where they broke off, checked, then moved into place."""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from cnnlab.core.errors import CnnlabError, WriteFailed, summarize_error
from cnnlab.core.lock import FolderLock
from cnnlab.core.progress import Progress

TIMEOUT_S = 20.0  # without an answer, or with less than SLOWEST bytes a second


MIN_BYTES_PER_S = 1000


MAX_FAILED_ATTEMPTS = 4  # of one address, in a row, that bring less than STRIDE bytes


MIN_ATTEMPT_BYTES = 1_000_000


class CorruptDownload(Exception):
    """What was fetched is not what was published."""


def fetch(
    name: str, addresses: Sequence[str], folder: Path, wanted: Sequence[str], unpack: Callable[[Path], object], *,
    max_bytes: int, timeout_s: float = TIMEOUT_S,
) -> None:  # fmt: skip
    """Make the files `wanted` in `folder` from the file `name`, which is looked for below each address in turn,
    CNNLAB_MIRROR first where it is set. `unpack` is given the fetched file, of at most so many bytes, and puts what is
    wanted in its place, or raises Damaged where it is not the published one. Of several processes that want the same,
    one works and the others wait. Raises CnnlabError with what each address said, Unwritable where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(folder, error) from error
    with lock_download_folder(folder):
        if all((folder / one).exists() for one in wanted):
            return
        if os.environ.get("CNNLAB_OFFLINE"):
            raise CnnlabError("CNNLAB_OFFLINE is set")
        said, mirror = [], os.environ.get("CNNLAB_MIRROR")
        for base in [mirror, *addresses] if mirror else addresses:
            address = f"{base.rstrip('/')}/{name}"
            try:
                download_and_unpack(address, folder / f".{name}.part", unpack, max_bytes, timeout_s)
                return
            except (OSError, HTTPException, ValueError, CorruptDownload) as error:
                said.append(
                    f"{urlsplit(address).hostname or address}: {format_network_error(error)}"
                )
        raise CnnlabError("; ".join(said))


def format_network_error(error: Exception) -> str:
    """An error of the network's; urllib hides the system's within its own."""
    inner = getattr(error, "reason", None)
    return summarize_error(inner) if isinstance(inner, Exception) else summarize_error(error)


def lock_download_folder(folder: Path) -> FolderLock:
    """The lock on a folder, waited for."""
    lock = FolderLock(folder)
    if not lock.acquire(blocking=False):
        print(
            f"another process downloads into {folder}; waiting for it", file=sys.stderr, flush=True
        )
        lock.acquire(blocking=True)
    return lock


def download_and_unpack(
    address: str, part: Path, unpack: Callable[[Path], object], most: int, timeout_s: float
) -> None:
    """Fetch and unpack. A file that was put together from several requests, and is damaged, is begun again once."""
    for last in (False, True):
        whole = download_with_retries(address, part, most, timeout_s)
        try:
            unpack(part)
        except CorruptDownload:
            part.unlink()
            if whole or last:
                raise
        else:
            part.unlink()
            return


def download_with_retries(address: str, part: Path, most: int, timeout_s: float) -> bool:
    """Bring `part` to its full length, from where it is, by as many requests as it takes; whether one did it all."""
    progress, failed, whole = Progress(sys.stderr), 0, not part.exists()
    print(f"downloading {address} to {part.parent}", file=sys.stderr, flush=True)
    try:
        while True:
            before = file_size(part)
            try:
                if download_once(address, part, most, timeout_s, progress):
                    return whole
                error: Exception = ConnectionError("the connection broke off")
            except HTTPError as refused:
                refused.close()
                if refused.code != 416 or not before:
                    raise
                error = refused
                part.unlink()  # it is longer than the whole
            except (OSError, HTTPException) as broken:
                error = broken
            whole = whole and not file_size(part)
            failed = 0 if file_size(part) - before >= MIN_ATTEMPT_BYTES else failed + 1
            if failed == MAX_FAILED_ATTEMPTS:
                raise error
    finally:
        progress.end()


def download_once(
    address: str, part: Path, most: int, timeout_s: float, progress: Progress
) -> bool:
    """One request, which goes on at the end of `part` where the server can; whether all has come."""
    have = file_size(part)
    headers = {"User-Agent": "cnnlab", "Accept-Encoding": "identity"}
    request = Request(address, headers=headers | ({"Range": f"bytes={have}-"} if have else {}))
    with urlopen(request, timeout=timeout_s) as answer:
        start = have if getattr(answer, "status", None) == 206 else 0
        stated = answer.headers.get("Content-Length")
        total = start + int(stated) if stated else None
        if (total or 0) > most:
            raise ValueError(f"{total:,} bytes, where at most {most:,} can be right")
        try:
            with part.open("r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                copy_response(
                    answer,
                    file,
                    most,
                    timeout_s,
                    lambda now, speed: progress.show(
                        format_download_progress(now, total, speed), keep=False
                    ),
                )
        except PermissionError as error:
            raise WriteFailed(part, error) from error
    return total is None or file_size(part) == total


def copy_response(
    answer: HTTPResponse,
    file: BinaryIO,
    most: int,
    timeout_s: float,
    tell: Callable[[int, float], object],
) -> None:
    """The answer's bytes into a file; raises TimeoutError where they only trickle, and Unwritable for a full disk."""
    began = mark = monotonic()
    first = seen = file.tell()
    while blob := answer.read1(1 << 16):
        try:
            file.write(blob)
        except OSError as error:
            raise WriteFailed(Path(file.name), error) from error
        now, at = monotonic(), file.tell()
        if at > most:
            raise ValueError(f"more than {most:,} bytes, and no end")
        if now - mark > timeout_s:
            if at - seen < MIN_BYTES_PER_S * timeout_s:
                raise TimeoutError(f"only {at - seen:,} bytes in {timeout_s:g} s")
            mark, seen = now, at
        tell(at, (at - first) / max(now - began, 1e-3))


def format_download_progress(now: int, total: int | None, speed: float) -> str:
    of = f"{now / total:4.0%} of {total / 1e6:.1f} MB" if total else f"{now / 1e6:.1f} MB"
    return f"{of}, {speed / 1e6:.1f} MB/s"


def file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def torch_hub_folder() -> Path:
    """Where torch keeps the weights that it fetches."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def has_valid_checksum(path: Path, file: str) -> bool:
    """Whether a file's SHA-256 begins as the end of its published name says."""
    with path.open("rb") as opened:
        return (
            hashlib.file_digest(opened, "sha256")
            .hexdigest()
            .startswith(Path(file).stem.rpartition("-")[2])
        )
