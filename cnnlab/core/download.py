"""Download files: pooch fetches and verifies them, a lock on the folder admits one process."""

import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import torch

from cnnlab.core.errors import CnnlabError, WriteFailed, summarize_error
from cnnlab.core.files import get_cache_folder, open_regular_file
from cnnlab.core.lock import FolderLock
from cnnlab.core.progress import Progress
from cnnlab.core.signals import cleaning_up

TIMEOUT_S = 20.0  # without a byte from the server
RESPONSE_TIMEOUT_S = 60.0  # until the header is complete: single bytes could go on for ever
MAX_ATTEMPTS = 4  # of one address whose connection breaks
CHUNK_BYTES = 1 << 16
SCRATCH_NAME = ".download"  # a folder; the name stays out of a listing


class CorruptDownload(Exception):
    """A downloaded file is not the published one."""


class TransferMonitor:
    """Show a download's progress and enforce its size limit. It has the interface of pooch's
    `progressbar`, and raises ValueError where more than `max_bytes` are announced or arrive."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.received, self.expected = max_bytes, 0, 0
        self.has_response = self.is_abandoned = False
        self.start, self.line = monotonic(), Progress(sys.stderr)

    @property
    def total(self) -> int:
        """Bytes that the server announces; 0 where it does not."""
        return self.expected

    @total.setter
    def total(self, expected: int) -> None:
        self.has_response = True  # pooch sets it once it has the header
        self.check_not_abandoned()
        if expected > self.max_bytes:
            raise ValueError(f"{expected:,} bytes, where at most {self.max_bytes:,} are expected")
        self.expected = expected

    def update(self, count: int) -> None:
        """Count a chunk of at most `count` bytes: pooch reports the last one as a whole one."""
        self.check_not_abandoned()
        self.received += count
        if self.received - count > self.max_bytes:
            raise ValueError(f"more than {self.max_bytes:,} bytes")
        self.line.show(self.format_progress(), keep=False)

    def check_not_abandoned(self) -> None:
        """Raise ValueError in the downloading thread if nobody waits for it any more."""
        if self.is_abandoned:
            raise ValueError("the download was abandoned")

    def format_progress(self) -> str:
        """Return the share, size and speed as one line."""
        received = min(self.received, self.expected or self.received)
        speed = f"{received / max(monotonic() - self.start, 1e-3) / 1e6:.1f} MB/s"
        if not self.expected:
            return f"{received / 1e6:.1f} MB, {speed}"
        return f"{received / self.expected:4.0%} of {self.expected / 1e6:.1f} MB, {speed}"

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        self.line.end()


def fetch(
    name: str,
    addresses: Sequence[str],
    folder: Path,
    file_names: Sequence[str],
    unpack: Callable[[Path], object],
    *,
    max_bytes: int,
    known_hash: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Create the files `file_names` in `folder` from the file `name`, which is searched below
    CNNLAB_MIRROR, if set, and then below each of `addresses`. One of several processes downloads;
    the others wait.

    `unpack` receives the downloaded file and writes these files, or raises CorruptDownload.
    `max_bytes`: size limit of the download. `known_hash`: `md5:...` or `sha256:...`, if published.
    Raises CnnlabError with the error of each address, or WriteFailed if the disk refuses."""
    if has_files(folder, file_names):
        return
    if os.environ.get("CNNLAB_OFFLINE"):
        raise CnnlabError("CNNLAB_OFFLINE is set")
    mirror = os.environ.get("CNNLAB_MIRROR")
    urls = [f"{base.rstrip('/')}/{name}" for base in [mirror, *addresses] if base]
    scratch = folder / SCRATCH_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_download_folder(folder):
            if has_files(folder, file_names):
                return
            with cleaning_up(lambda: remove_scratch(scratch)):
                try_addresses(
                    urls,
                    lambda url: unpack(download(url, scratch, known_hash, max_bytes, timeout_s)),
                )
    except OSError as error:
        raise WriteFailed(folder, error) from error


def has_files(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).exists() for name in names)


def remove_scratch(scratch: Path) -> None:
    """Remove the scratch folder; of a link in its place, the link."""
    if scratch.is_symlink():
        scratch.unlink()
    shutil.rmtree(scratch, ignore_errors=True)


def lock_download_folder(folder: Path) -> FolderLock:
    """Return the folder's acquired lock, after waiting for the process that holds it."""
    lock = FolderLock(folder)
    if not lock.acquire(blocking=False):
        message = f"another process downloads into {folder}; waiting for it"
        print(message, file=sys.stderr, flush=True)
        lock.acquire(blocking=True)
    return lock


def try_addresses(urls: Sequence[str], use: Callable[[str], object]) -> None:
    """Call `use` with each address until one succeeds. Raises CnnlabError with all errors."""
    from requests import RequestException

    errors = []
    for url in urls:
        try:
            use(url)
            return
        except (RequestException, ValueError, CorruptDownload) as error:
            errors.append(f"{urlsplit(url).hostname or url}: {format_download_error(error)}")
    raise CnnlabError("; ".join(errors))


def download(
    url: str, scratch: Path, known_hash: str | None, max_bytes: int, timeout_s: float
) -> Path:
    """Return the verified download of `url` in `scratch`; a broken connection is tried again.
    Raises requests' errors, ValueError for a wrong size or checksum, or OSError."""
    import pooch
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    print(f"downloading {url} to {scratch.parent}", file=sys.stderr, flush=True)
    remove_scratch(scratch)  # of another address, or of a killed process: pooch would take it
    scratch.mkdir()
    pooch.get_logger().setLevel("WARNING")
    headers = {"User-Agent": "cnnlab", "Accept-Encoding": "identity"}
    for attempt in range(1, MAX_ATTEMPTS + 1):
        monitor = TransferMonitor(max_bytes)
        downloader = pooch.HTTPDownloader(
            progressbar=monitor, chunk_size=CHUNK_BYTES, timeout=timeout_s, headers=headers
        )
        retrieve = partial(pooch.retrieve, url, known_hash, "file", scratch, downloader=downloader)
        try:
            return Path(str(await_response(retrieve, monitor)))
        except (ChunkedEncodingError, ConnectionError, Timeout):
            if attempt == MAX_ATTEMPTS:
                raise
        finally:
            monitor.close()
    raise AssertionError("unreachable")


def await_response(retrieve: Callable[[], Any], monitor: TransferMonitor) -> Any:
    """Return what `retrieve`, called in a thread, does. Raises its errors, or ValueError where the
    server has not answered in time; only a thread can be left waiting for it."""
    outcome = Future[Any]()

    def work() -> None:
        try:
            outcome.set_result(retrieve())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        wait([outcome], RESPONSE_TIMEOUT_S)
        if not outcome.done() and not monitor.has_response:
            raise ValueError(f"no complete response in {RESPONSE_TIMEOUT_S:g} seconds")
        return outcome.result()
    finally:
        monitor.is_abandoned = True


def format_download_error(error: BaseException) -> str:
    """Return an error in one line; requests wraps the system's error, which says more."""
    if isinstance(error, OSError):
        while error.__context__ is not None:
            error = error.__context__
    return summarize_error(error)


def torch_hub_folder() -> Path:
    """Return the folder in which torch keeps downloaded weights."""
    folder = Path(torch.hub.get_dir())
    if folder.parts[0] == "~":  # torch leaves it so where the home folder is unknown
        folder = get_cache_folder() / "torch"
    return folder / "checkpoints"


def has_valid_checksum(path: Path, file: str) -> bool:
    """Return whether a file's SHA-256 begins with the digits at the end of its published name."""
    with open_regular_file(path) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return digest.startswith(Path(file).stem.rpartition("-")[2])
