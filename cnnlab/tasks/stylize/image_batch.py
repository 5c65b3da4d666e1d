"""The loop over a folder's content images, whatever stylizes each of them."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cnnlab.core.errors import CnnlabError, Stopped, UsageError, WriteFailed, format_error
from cnnlab.core.files import expand_home
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.output import erase_live_line
from cnnlab.core.progress import Progress
from cnnlab.core.quoting import printable
from cnnlab.tasks.stylize.batch_paths import (
    default_output_folder,
    lock_output_folder,
    make_output_folder,
    plan_output_paths,
)
from cnnlab.tasks.stylize.settings import StylizeSettings

MAX_NAME_COLUMNS = 30


class BatchProgress(Progress):
    """A live line that starts with an image's name and disappears at the end."""

    def __init__(self, prefix: str) -> None:
        super().__init__(sys.stderr)
        self.prefix = prefix

    def show(self, line: str, *, keep: bool) -> None:
        super().show(self.prefix + line, keep=False)

    def end(self) -> None:
        erase_live_line()


@dataclass(frozen=True)
class BatchResult:
    """The lines printed for a stylized image of a folder, and what `--json` prints of it."""

    lines: list[str]
    numbers: dict[str, Any]


# content, output, progress -> the result, or None if the output exists already
StylizeOne = Callable[[Path, Path, Progress], BatchResult | None]


@dataclass(frozen=True)
class ImageBatch:
    """A folder's content images by name with their output paths, all in `folder`."""

    folder: Path
    outputs: dict[Path, Path]
    as_json: bool

    def prefix(self, number: int, content: Path) -> str:
        """Return the start of an image's line: its number, from 1, and its name."""
        width = min(MAX_NAME_COLUMNS, max(len(printable(path.name)) for path in self.outputs))
        total = len(self.outputs)
        return f"{number:>{len(str(total))}}/{total}  {printable(content.name):<{width}}  "

    @property
    def stream(self) -> TextIO:
        """Return where text is printed: stdout is reserved for JSON, if requested."""
        return sys.stderr if self.as_json else sys.stdout

    def print_text(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def print_json(self, record: dict[str, Any]) -> None:
        """Print a line of JSON, if requested."""
        if self.as_json:
            print(json.dumps(record), flush=True)


@contextmanager
def open_image_batch(settings: StylizeSettings, style_stems: list[str]) -> Iterator[ImageBatch]:
    """Yield the images of the content folder, their output folder created and locked.

    Raises UsageError for an output folder that is a file's name, holds the content images, or is
    used by another process; CnnlabError for a folder without images.
    """
    source = Path(str(settings.content))
    default = default_output_folder(source, style_stems)
    folder = expand_home(settings.out) if settings.out else default
    outputs = plan_output_paths(source, folder)
    if settings.out and folder.suffix.lower() in FORMAT_BY_SUFFIX:
        raise UsageError(
            f"{printable(str(source))} is a folder: out= must be a folder too, "
            f"not {printable(folder.name)}"
        )
    make_output_folder(folder, source)
    with lock_output_folder(folder):
        yield ImageBatch(folder, outputs, settings.json)


def stylize_batch(batch: ImageBatch, stylize_one: StylizeOne) -> None:
    """Stylize the images of a batch in turn, whatever makes some of them fail.

    Raises CnnlabError, at the end, with those that failed; at once WriteFailed and Stopped.
    """
    failed, num_stylized = list[str](), 0
    for number, (content, out) in enumerate(batch.outputs.items(), 1):
        prefix = batch.prefix(number, content)
        try:
            result = stylize_one(content, out, BatchProgress(prefix))
        except (WriteFailed, Stopped):
            raise
        except Exception as error:  # the other images are stylized whatever it is
            message = format_error(error)
            failed.append(printable(content.name))
            batch.print_text(f"{prefix}failed: {message}")
            batch.print_json({"content": str(content), "error": message})
            continue
        num_stylized += result is not None
        batch.print_text(prefix + "\n".join(result.lines if result else ["already exists"]))
        numbers = result.numbers if result else {"already_exists": True}
        batch.print_json({"content": str(content), "image": str(out)} | numbers)
    num_existing = len(batch.outputs) - num_stylized - len(failed)
    counts = f"{num_stylized} stylized, {num_existing} already existed, {len(failed)} failed"
    batch.print_text(f"\n{printable(str(batch.folder))}: {counts}")
    if failed:
        count = f"{len(failed)} of {len(batch.outputs)}"
        raise CnnlabError(f"{count} images failed: {', '.join(failed)}")
