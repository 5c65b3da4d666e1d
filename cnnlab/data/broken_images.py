"""Find the images of a folder that cannot be decoded; results are cached by size and time."""

import sys
from collections.abc import Generator, Sequence
from contextlib import closing, suppress

from cnnlab.core.errors import CnnlabError
from cnnlab.core.files import get_cache_folder, read_json, write_json
from cnnlab.core.image_file import identify_reader
from cnnlab.core.progress import Progress
from cnnlab.core.quoting import printable
from cnnlab.data.decode import IMAGES_PER_TASK, PREFETCH_BATCHES, ImageDecoder, map_ahead
from cnnlab.data.folder_index import FolderIndex


def find_broken_images(index: FolderIndex, decoder: ImageDecoder, workers: int) -> dict[int, str]:
    """Return {entry of `index`: error} of the images that cannot be decoded.

    The result is cached in the user's cache folder until a file's name, size or date changes, or
    other formats can be read.
    """
    cache = get_cache_folder() / "checked"
    cache_file = cache / f"{index.hash_file_stats(decoder.max_pixels, *identify_reader())}.json"
    cached = read_json(cache_file)
    if isinstance(cached, dict) and all(
        key.isdecimal() and isinstance(message, str) for key, message in cached.items()
    ):
        return {int(key): message for key, message in cached.items()}
    errors = decode_all(index, decoder, workers)
    with suppress(CnnlabError, OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_json(cache_file, {str(entry): message for entry, message in errors.items()})
    return errors


def decode_all(index: FolderIndex, decoder: ImageDecoder, workers: int) -> dict[int, str]:
    """Decode every image once, showing progress; return {entry of `index`: error}."""
    paths, errors, progress = index.list_full_paths(), dict[int, str](), Progress(sys.stderr)
    with closing(find_decode_errors(paths, decoder, num_threads=workers)) as results:
        for num_checked, new_errors in results:
            errors |= new_errors
            checked = f"{num_checked / len(paths):.0%}"
            progress.show(f"checking images in {printable(index.root)}: {checked}", keep=False)
    progress.end()
    return errors


def find_decode_errors(
    paths: Sequence[str], decoder: ImageDecoder, *, num_threads: int
) -> Generator[tuple[int, dict[int, str]], None, None]:
    """Decode all files; yield, every few, how many are done and {index: error} of the new ones."""

    def check_files(indices: range) -> tuple[int, dict[int, str]]:
        errors = {}
        for index in indices:
            try:
                decoder(paths[index])
            except CnnlabError as error:
                errors[index] = str(error)
        return indices.stop, errors

    starts = range(0, len(paths), IMAGES_PER_TASK)
    tasks = (range(start, min(start + IMAGES_PER_TASK, len(paths))) for start in starts)
    ahead = PREFETCH_BATCHES * num_threads
    return map_ahead(check_files, tasks, num_threads=num_threads, ahead=ahead)
