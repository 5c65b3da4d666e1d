"""Decode the images of a folder once: find those that are broken, and files with equal content.

The result is cached until a file or anything else that it depends on changes.
"""

import errno
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from cnnlab import __version__
from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import get_cache_folder, read_bytes, read_json, write_json
from cnnlab.core.image_file import MAX_FILE_BYTES, identify_reader, translate_read_errors
from cnnlab.core.progress import Progress
from cnnlab.core.quoting import printable
from cnnlab.data.decode import IMAGES_PER_TASK, PREFETCH_BATCHES, ImageDecoder, map_ahead
from cnnlab.data.folder_index import FolderIndex

# The errors of a link to nothing, and of what `read_bytes` refuses (folders, pipes, large files),
# which belong to the file as damage does. Others (permissions, a network drive, too little memory)
# may be gone the next time.
LASTING_ERRNOS = (None, errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.EFBIG)


@dataclass
class ContentCheck:
    """`errors`: {path: error} of images that cannot be decoded; `copies`: lists of paths of files
    with equal content."""

    errors: dict[str, str] = field(default_factory=dict)
    copies: list[list[str]] = field(default_factory=list)


@dataclass
class CheckedFiles:
    """What was found in some files: errors by path, of their content and of access to them, and
    digests by path of those that may be copies."""

    errors: dict[str, str] = field(default_factory=dict)
    inaccessible: dict[str, str] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)


def check_images(index: FolderIndex, decoder: ImageDecoder, workers: int) -> ContentCheck:
    """Return which images are broken and which may be copies, from the cache if it is known.

    Raises CnnlabError that lists the files that could not be opened: nothing is known of these.
    """
    stats = [get_file_stats(path) for path in index.full_paths]
    cache = get_cache_folder() / "checked"
    cache_file = cache / f"{hash_check(index, stats, decoder)}.json"
    cached = parse_check(read_json(cache_file))
    if cached is not None:
        return cached
    check = decode_all(index, [size for size, _, _ in stats], decoder, workers)
    with suppress(CnnlabError, OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_json(cache_file, asdict(check))
    return check


def get_file_stats(path: str) -> tuple[int, int, int]:
    """Return a file's size in bytes, and the times in ns when its content and its status were
    changed; (-1, -1, -1) where it has none, as for a broken link."""
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1, -1, -1
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def hash_check(
    index: FolderIndex, stats: Sequence[tuple[int, int, int]], decoder: ImageDecoder
) -> str:
    """Return a digest of all that a check depends on: files, decoder and versions."""
    reader = __version__, identify_reader(), decoder
    digest = hashlib.sha256(repr(reader).encode())
    for path, stat in zip(index.full_paths, stats, strict=True):
        digest.update(f"{path!a} {stat}\n".encode())
    return digest.hexdigest()


def parse_check(cached: Any) -> ContentCheck | None:
    """Return a check from the cache; None if there is none or it is damaged."""
    try:
        errors = {str(path): str(error) for path, error in cached["errors"].items()}
        return ContentCheck(errors, [[str(path) for path in group] for group in cached["copies"]])
    except (AttributeError, KeyError, TypeError):
        return None


def decode_all(
    index: FolderIndex, sizes: Sequence[int], decoder: ImageDecoder, workers: int
) -> ContentCheck:
    """Decode every image once, showing progress. Raises CnnlabError for those not accessible."""
    paths, total, progress = index.full_paths, CheckedFiles(), Progress(sys.stderr)
    frequency = Counter(sizes)
    may_be_copy = [frequency[size] > 1 for size in sizes]
    with closing(check_in_tasks(paths, may_be_copy, decoder, num_threads=workers)) as results:
        for num_checked, checked in results:
            total.errors |= checked.errors
            total.inaccessible |= checked.inaccessible
            total.digests |= checked.digests
            share = f"{num_checked / len(paths):.0%}"
            progress.show(f"checking images in {printable(index.root)}: {share}", keep=False)
    progress.end()
    if total.inaccessible:
        lines = [printable(error) for error in total.inaccessible.values()]
        count = "1 image" if len(lines) == 1 else f"{len(lines):,} images"
        lines.append(f"{count} could not be opened: make them readable, or move them away")
        raise CnnlabError("\n".join(lines))
    return ContentCheck(total.errors, group_copies(total.digests))


def group_copies(digests: dict[str, bytes]) -> list[list[str]]:
    """Return the lists of at least two paths that have the same digest."""
    groups: dict[bytes, list[str]] = {}
    for path, digest in digests.items():
        groups.setdefault(digest, []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def check_in_tasks(
    paths: Sequence[str], may_be_copy: Sequence[bool], decoder: ImageDecoder, *, num_threads: int
) -> Generator[tuple[int, CheckedFiles], None, None]:
    """Decode all files; yield, every few, how many are done and what was found in the new ones."""

    def check_files(indices: range) -> tuple[int, CheckedFiles]:
        checked = CheckedFiles()
        for path, needs_digest in zip(
            paths[indices.start : indices.stop],
            may_be_copy[indices.start : indices.stop],
            strict=True,
        ):
            try:
                decoder(path)
                if needs_digest:
                    checked.digests[path] = hash_file(path)
            except CnnlabError as error:
                is_broken = is_about_content(error.__context__)
                (checked.errors if is_broken else checked.inaccessible)[path] = str(error)
        return indices.stop, checked

    starts = range(0, len(paths), IMAGES_PER_TASK)
    tasks = (range(start, min(start + IMAGES_PER_TASK, len(paths))) for start in starts)
    ahead = PREFETCH_BATCHES * num_threads
    return map_ahead(check_files, tasks, num_threads=num_threads, ahead=ahead)


def is_about_content(cause: BaseException | None) -> bool:
    """Return whether an error is about a file's content, and lasts as long as it stays the same."""
    if isinstance(cause, OSError):  # Pillow's own have no number
        return cause.errno in LASTING_ERRNOS
    return not isinstance(cause, MemoryError)


def hash_file(path: str) -> bytes:
    """Return a digest of a file's bytes. Raises CnnlabError, naming the file."""
    with translate_read_errors(path):
        return hashlib.blake2b(read_bytes(path, MAX_FILE_BYTES), digest_size=16).digest()
