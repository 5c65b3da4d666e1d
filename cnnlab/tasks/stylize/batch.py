"""`cnnlab stylize FOLDER STYLE...`: every photograph of a folder, the paintings being looked at once."""

import json
import sys
from collections import Counter
from contextlib import suppress
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from time import monotonic
from typing import Any

from PIL import Image

from cnnlab.core.device import describe_device
from cnnlab.core.errors import (
    CnnlabError,
    Stopped,
    UsageError,
    WriteFailed,
    format_error,
    summarize_error,
)
from cnnlab.core.files import path_exists, truncate_to_bytes
from cnnlab.core.image import list_available_formats
from cnnlab.core.image_formats import FORMAT_BY_SUFFIX
from cnnlab.core.progress import Progress, format_duration
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config
from cnnlab.core.signals import SignalRecorder
from cnnlab.style.source_image import collect_image_notes, hash_image_file, read_source_image
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.optimize import make_transfer_budget, optimize_image
from cnnlab.tasks.stylize.output import (
    format_loss,
    list_job_notes,
    list_time_limits,
    resolve_output_path,
    save_result,
)
from cnnlab.tasks.stylize.provenance import hash_inputs, read_transfer_record
from cnnlab.tasks.stylize.setup import StyleSetup, prepare_job

MIN_ENLARGEMENT = 1.1  # than a picture that memory made smaller must another be to be worth while


class BatchProgress(Progress):
    """A line that says which photograph it is of, and leaves nothing behind; in a pipe there is none."""

    def __init__(self, prefix: str) -> None:
        super().__init__(sys.stderr)
        self.prefix = prefix

    def show(self, line: str, *, keep: bool) -> None:
        super().show(self.prefix + line, keep=False)

    def end(self) -> None:
        if self.has_live_line:
            self.stream.write("\r\x1b[2K")
            self.has_live_line = False


def stylize_folder(shop: StyleSetup, config: Config, overrides: list[str]) -> None:
    """Paint a folder's photographs one after the other, but those whose pictures are there already. Raises CnnlabError,
    at the end, with those that could not be painted; Stopped where a signal asked for it, the picture at hand left
    out."""
    s = shop.settings
    source, stream = Path(str(s.content)), sys.stderr if s.json else sys.stdout
    folder = Path(s.out).expanduser() if s.out else default_output_folder(source, shop)
    places = plan_output_paths(source, folder)
    if s.out and folder.suffix.lower() in FORMAT_BY_SUFFIX:
        raise UsageError(
            f"{printable(str(source))} is a folder: so must out= be, not {printable(folder.name)}"
        )
    make_output_folder(folder, source)
    styles = ", ".join(printable(one.path.name) for one in shop.styles)
    lines = [
        f"cnnlab stylize: {len(places)} photographs in the style of {styles}",
        *collect_image_notes(*shop.styles),
        *shop.encoder_notes,
    ]
    print(
        "\n".join([*lines, f"{shop.loaded_encoder.name}, device {describe_device(shop.device)}"]),
        file=stream,
        flush=True,
    )
    failures, painted, wide = (
        list[str](),
        0,
        min(30, max(len(printable(one.name)) for one in places)),
    )
    for at, (photograph, out) in enumerate(places.items(), 1):
        before = (
            f"{at:>{len(str(len(places)))}}/{len(places)}  {printable(photograph.name):<{wide}}  "
        )
        try:
            came = stylize_folder_image(
                shop, photograph, out, config, overrides, BatchProgress(before)
            )
            if came:
                painted += 1
            elif s.json:
                print(
                    json.dumps({"photograph": str(photograph), "picture": str(out), "there": True}),
                    flush=True,
                )
        except (WriteFailed, Stopped):
            raise
        except Exception as error:  # whatever it is, the others are painted
            failures.append(printable(photograph.name))
            came = [f"failed: {format_error(error)}"]
            if s.json:
                print(
                    json.dumps({"photograph": str(photograph), "error": format_error(error)}),
                    flush=True,
                )
        print(before + "\n".join(came or ["there already"]), file=stream, flush=True)
    there = len(places) - painted - len(failures)
    counts = f"{painted} painted, {there} there already, {len(failures)} failed"
    print(f"\n{printable(str(folder))}: {counts}", file=stream, flush=True)
    if failures:
        raise CnnlabError(
            f"{len(failures)} of {len(places)} could not be painted: {', '.join(failures)}"
        )


def default_output_folder(source: Path, shop: StyleSetup) -> Path:
    """The folder beside the photographs' own that is named after both."""
    here = source if source.name not in ("", "..") else source.resolve()
    if not here.name:
        raise UsageError(
            f"{printable(str(source))} has no name to call a folder by: out=DIR names one"
        )
    return here.with_name(
        truncate_to_bytes("_".join([here.name, *(one.path.stem for one in shop.styles)]), 200)
    )


def plan_output_paths(source: Path, folder: Path) -> dict[Path, Path]:
    """A folder's picture files, by name, and where each one's picture goes: a PNG of its name in `folder`, with its
    ending in front where two have one name. Raises CnnlabError where there are none."""
    Image.init()
    endings = {
        ending for ending, kind in Image.EXTENSION.items() if kind in list_available_formats()
    }
    try:
        found = sorted(
            one for one in source.iterdir() if one.suffix.lower() in endings and one.is_file()
        )
    except OSError as error:
        raise CnnlabError(
            f"{printable(str(source))} cannot be read: {summarize_error(error)}"
        ) from error
    found = [one for one in found if not one.name.startswith(".")]
    if not found:
        raise CnnlabError(
            f"there are no pictures in {printable(str(source))} itself: folders in it are not looked into"
        )
    return {
        photo: folder / f"{name}.png"
        for photo, name in zip(found, make_unique_stems(found), strict=True)
    }


def make_unique_stems(found: list[Path]) -> list[str]:
    """A name for each file's picture that no other has, in capitals or not: its own without its ending, with it where
    two are alike, and with a number where they still are."""
    names = [one.stem for one in found]
    for _ in range(2):  # a name with its ending may be another's without
        twice = {name for name, count in Counter(map(str.lower, names)).items() if count > 1}
        names = [
            photo.name if name.lower() in twice else name
            for photo, name in zip(found, names, strict=True)
        ]
    taken = set[str]()
    for at, name in enumerate(names):
        numbered = chain([name], (f"{name}_{number}" for number in count_from(2)))
        names[at] = next(one for one in numbered if one.lower() not in taken)
        taken.add(names[at].lower())
    return names


def make_output_folder(folder: Path, source: Path) -> None:
    """Raises UsageError where it would be the photographs' own folder, where results would be photographs the next
    time; Unwritable where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.samefile(source):
            raise UsageError(
                f"out={printable(str(folder))} is where the photographs are: name another folder"
            )
    except OSError as error:
        raise WriteFailed(folder, error) from error


def read_finished_record(out: Path, photograph: Path, shop: StyleSetup) -> dict[str, Any] | None:
    """What a photograph's picture says of itself that is there whole, made of the same pictures with the same weights
    and settings."""
    if path_exists(out):
        with suppress(CnnlabError):
            said = read_transfer_record(str(out))
            if said.get("complete") and said["sha256"] == hash_inputs(
                shop, hash_image_file(str(photograph))
            ):
                return said
    return None


def stylize_folder_image(
    shop: StyleSetup,
    photograph: Path,
    out: Path,
    config: Config,
    overrides: list[str],
    progress: Progress,
) -> list[str]:
    """Paint one photograph; what came of it, in words, and none where its picture is there, as large as it would be.
    Raises CnnlabError where it cannot be begun, Unwritable where its picture cannot be written."""
    s, began, there = shop.settings, monotonic(), read_finished_record(out, photograph, shop)
    if there and not there.get("shrunk"):
        return []
    if path_exists(out) and not there and not s.overwrite:
        raise UsageError(
            f"{printable(out.name)} is there, made otherwise: --overwrite replaces it, out=DIR leaves it"
        )
    made = prepare_job(shop, read_source_image(str(photograph), s.max_pixels))
    if there and max(made.sizes[-1]) < MIN_ENLARGEMENT * there["settings"]["size"]:
        return []
    if there and not s.overwrite:
        raise UsageError(
            f"{printable(out.name)} is there, smaller than memory holds now: --overwrite replaces it"
        )
    try:
        resolve_output_path(
            out,
            photograph,
            [style.path for style in made.styles],
            None,
            made.sizes[-1],
            overwrite=s.overwrite,
        )
    except WriteFailed as error:  # as for too long a name
        raise CnnlabError(str(error)) from error
    book = TransferLog(s, made, config, overrides, began)
    try:
        with SignalRecorder() as signals:
            budget = make_transfer_budget(s, made, made.steps_per_scale(s), out, began)
            outcome = optimize_image(s, made, budget, book, progress, lambda: signals.received)
            if outcome.error:
                raise outcome.error
            if outcome.is_complete:
                path, said = save_result(s, made, outcome, budget, out)
                book.write_result(path, said)
        if signals.received:
            far = "painted" if outcome.is_complete else "left out"
            raise Stopped(
                f"stopped, {printable(photograph.name)} {far}; run again, it goes on",
                signals.received,
            )
    finally:
        progress.end()
        book.close()
    losses, seconds = said["losses"], monotonic() - began
    if s.json:
        paths = {"photograph": photograph, "picture": path, "log": book.folder}
        numbers = {"losses": losses, "steps": budget.steps_taken, "seconds": seconds}
        print(json.dumps({key: str(value) for key, value in paths.items()} | numbers), flush=True)
    (height, width), (content, style) = (
        made.sizes[-1],
        (format_loss(losses[key]) for key in ("content", "style")),
    )
    came = f"{width}x{height}  content {content}  style {style}  {format_duration(seconds)}"
    return [
        came,
        *(
            f"  {line}"
            for line in [*list_job_notes(s, made, out), *list_time_limits(s, made, outcome.state)]
        ),
    ]
