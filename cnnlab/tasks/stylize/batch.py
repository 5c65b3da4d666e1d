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

from cnnlab.core.device import describe
from cnnlab.core.errors import CnnlabError, Stopped, Unwritable, UsageError, reason, told
from cnnlab.core.files import clipped, exists
from cnnlab.core.image import formats
from cnnlab.core.image_formats import ENDINGS
from cnnlab.core.progress import Progress, clock
from cnnlab.core.quoting import plain
from cnnlab.core.schema import Config
from cnnlab.core.signals import Signals
from cnnlab.style.source_image import hashed, notes, original
from cnnlab.tasks.stylize.log import Sketchbook
from cnnlab.tasks.stylize.optimize import budget_for, paint
from cnnlab.tasks.stylize.output import kept, number, place_for, remarks, unhurried
from cnnlab.tasks.stylize.provenance import about, hashes
from cnnlab.tasks.stylize.setup import Workshop, studio

LARGER = 1.1  # than a picture that memory made smaller must another be to be worth while


class Live(Progress):
    """A line that says which photograph it is of, and leaves nothing behind; in a pipe there is none."""

    def __init__(self, before: str) -> None:
        super().__init__(sys.stderr)
        self.before = before

    def show(self, line: str, *, keep: bool) -> None:
        super().show(self.before + line, keep=False)

    def end(self) -> None:
        if self.shown:
            self.stream.write("\r\x1b[2K")
            self.shown = False


def paint_folder(shop: Workshop, config: Config, overrides: list[str]) -> None:
    """Paint a folder's photographs one after the other, but those whose pictures are there already. Raises CnnlabError,
    at the end, with those that could not be painted; Stopped where a signal asked for it, the picture at hand left
    out."""
    s = shop.settings
    source, stream = Path(str(s.content)), sys.stderr if s.json else sys.stdout
    folder = Path(s.out).expanduser() if s.out else beside(source, shop)
    places = placed(source, folder)
    if s.out and folder.suffix.lower() in ENDINGS:
        raise UsageError(f"{plain(str(source))} is a folder: so must out= be, not {plain(folder.name)}")
    make(folder, source)
    styles = ", ".join(plain(one.path.name) for one in shop.styles)
    lines = [f"cnnlab stylize: {len(places)} photographs in the style of {styles}", *notes(*shop.styles), *shop.said]
    print("\n".join([*lines, f"{shop.chosen.name}, device {describe(shop.device)}"]), file=stream, flush=True)
    failures, painted, wide = list[str](), 0, min(30, max(len(plain(one.name)) for one in places))
    for at, (photograph, out) in enumerate(places.items(), 1):
        before = f"{at:>{len(str(len(places)))}}/{len(places)}  {plain(photograph.name):<{wide}}  "
        try:
            came = one(shop, photograph, out, config, overrides, Live(before))
            if came:
                painted += 1
            elif s.json:
                print(json.dumps({"photograph": str(photograph), "picture": str(out), "there": True}), flush=True)
        except (Unwritable, Stopped):
            raise
        except Exception as error:  # whatever it is, the others are painted
            failures.append(plain(photograph.name))
            came = [f"failed: {told(error)}"]
            if s.json:
                print(json.dumps({"photograph": str(photograph), "error": told(error)}), flush=True)
        print(before + "\n".join(came or ["there already"]), file=stream, flush=True)
    there = len(places) - painted - len(failures)
    counts = f"{painted} painted, {there} there already, {len(failures)} failed"
    print(f"\n{plain(str(folder))}: {counts}", file=stream, flush=True)
    if failures:
        raise CnnlabError(f"{len(failures)} of {len(places)} could not be painted: {', '.join(failures)}")


def beside(source: Path, shop: Workshop) -> Path:
    """The folder beside the photographs' own that is named after both."""
    here = source if source.name not in ("", "..") else source.resolve()
    if not here.name:
        raise UsageError(f"{plain(str(source))} has no name to call a folder by: out=DIR names one")
    return here.with_name(clipped("_".join([here.name, *(one.path.stem for one in shop.styles)]), 200))


def placed(source: Path, folder: Path) -> dict[Path, Path]:
    """A folder's picture files, by name, and where each one's picture goes: a PNG of its name in `folder`, with its
    ending in front where two have one name. Raises CnnlabError where there are none."""
    Image.init()
    endings = {ending for ending, kind in Image.EXTENSION.items() if kind in formats()}
    try:
        found = sorted(one for one in source.iterdir() if one.suffix.lower() in endings and one.is_file())
    except OSError as error:
        raise CnnlabError(f"{plain(str(source))} cannot be read: {reason(error)}") from error
    found = [one for one in found if not one.name.startswith(".")]
    if not found:
        raise CnnlabError(f"there are no pictures in {plain(str(source))} itself: folders in it are not looked into")
    return {photo: folder / f"{name}.png" for photo, name in zip(found, apart(found), strict=True)}


def apart(found: list[Path]) -> list[str]:
    """A name for each file's picture that no other has, in capitals or not: its own without its ending, with it where
    two are alike, and with a number where they still are."""
    names = [one.stem for one in found]
    for _ in range(2):  # a name with its ending may be another's without
        twice = {name for name, count in Counter(map(str.lower, names)).items() if count > 1}
        names = [photo.name if name.lower() in twice else name for photo, name in zip(found, names, strict=True)]
    taken = set[str]()
    for at, name in enumerate(names):
        numbered = chain([name], (f"{name}_{number}" for number in count_from(2)))
        names[at] = next(one for one in numbered if one.lower() not in taken)
        taken.add(names[at].lower())
    return names


def make(folder: Path, source: Path) -> None:
    """Raises UsageError where it would be the photographs' own folder, where results would be photographs the next
    time; Unwritable where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.samefile(source):
            raise UsageError(f"out={plain(str(folder))} is where the photographs are: name another folder")
    except OSError as error:
        raise Unwritable(folder, error) from error


def done(out: Path, photograph: Path, shop: Workshop) -> dict[str, Any] | None:
    """What a photograph's picture says of itself that is there whole, made of the same pictures with the same weights
    and settings."""
    if exists(out):
        with suppress(CnnlabError):
            said = about(str(out))
            if said.get("complete") and said["sha256"] == hashes(shop, hashed(str(photograph))):
                return said
    return None


def one(
    shop: Workshop, photograph: Path, out: Path, config: Config, overrides: list[str], progress: Progress
) -> list[str]:
    """Paint one photograph; what came of it, in words, and none where its picture is there, as large as it would be.
    Raises CnnlabError where it cannot be begun, Unwritable where its picture cannot be written."""
    s, began, there = shop.settings, monotonic(), done(out, photograph, shop)
    if there and not there.get("shrunk"):
        return []
    if exists(out) and not there and not s.overwrite:
        raise UsageError(f"{plain(out.name)} is there, made otherwise: --overwrite replaces it, out=DIR leaves it")
    made = studio(shop, original(str(photograph), s.max_pixels))
    if there and max(made.sizes[-1]) < LARGER * there["settings"]["size"]:
        return []
    if there and not s.overwrite:
        raise UsageError(f"{plain(out.name)} is there, smaller than memory holds now: --overwrite replaces it")
    try:
        place_for(out, photograph, [style.path for style in made.styles], None, made.sizes[-1], overwrite=s.overwrite)
    except Unwritable as error:  # as for too long a name
        raise CnnlabError(str(error)) from error
    book = Sketchbook(s, made, config, overrides, began)
    try:
        with Signals() as signals:
            budget = budget_for(s, made, made.steps(s), out, began)
            outcome = paint(s, made, budget, book, progress, lambda: signals.asked)
            if outcome.failure:
                raise outcome.failure
            if outcome.done:
                path, said = kept(s, made, outcome, budget, out)
                book.conclude(path, said)
        if signals.asked:
            far = "painted" if outcome.done else "left out"
            raise Stopped(f"stopped, {plain(photograph.name)} {far}; run again, it goes on", signals.asked)
    finally:
        progress.end()
        book.close()
    losses, seconds = said["losses"], monotonic() - began
    if s.json:
        paths = {"photograph": photograph, "picture": path, "log": book.folder}
        numbers = {"losses": losses, "steps": budget.taken, "seconds": seconds}
        print(json.dumps({key: str(value) for key, value in paths.items()} | numbers), flush=True)
    (height, width), (content, style) = made.sizes[-1], (number(losses[key]) for key in ("content", "style"))
    came = f"{width}x{height}  content {content}  style {style}  {clock(seconds)}"
    return [came, *(f"  {line}" for line in [*remarks(s, made, out), *unhurried(s, made, outcome.state)])]
