"""`cnnlab stylize FOLDER STYLE...`: every photograph of a folder, the paintings being looked at once."""

import json
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import monotonic

from PIL import Image

from cnnlab.core.device import describe
from cnnlab.core.errors import CnnlabError, Stopped, Unwritable, reason, told
from cnnlab.core.files import exists
from cnnlab.core.image import formats
from cnnlab.core.progress import Progress, clock
from cnnlab.core.signals import Signals
from cnnlab.core.text import plain
from cnnlab.style.plan import Budget
from cnnlab.tasks import parts
from cnnlab.tasks.painter import SAVING_S, hashes, kept, paint
from cnnlab.tasks.painting import about, clipped, hashed, notes, original, place_for
from cnnlab.tasks.sketch import Sketchbook
from cnnlab.tasks.studio import Workshop, studio


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


def paint_folder(shop: Workshop, config: parts.Config, overrides: list[str]) -> None:
    """Paint a folder's photographs one after the other, but those whose pictures are there already. Raises CnnlabError,
    at the end, with those that could not be painted; Stopped where a signal asked for it, the picture at hand left
    out."""
    s = shop.settings
    source, stream = Path(str(s.content)), sys.stderr if s.json else sys.stdout
    folder = Path(s.out).expanduser() if s.out else beside(source, shop)
    places = placed(source, folder)
    make(folder)
    styles = ", ".join(plain(one.path.name) for one in shop.styles)
    lines = [f"cnnlab stylize: {len(places)} photographs in the style of {styles}", *notes(*shop.styles)]
    lines += [shop.chosen.why] if shop.chosen.why else []
    print("\n".join([*lines, f"{shop.chosen.name}, device {describe(shop.device)}"]), file=stream, flush=True)
    failures, painted, wide = list[str](), 0, min(30, max(len(plain(one.name)) for one in places))
    for number, (photograph, out) in enumerate(places.items(), 1):
        before = f"{number}/{len(places)}  {plain(photograph.name):<{wide}}  "
        try:
            came = "there already"
            if not done(out, photograph, shop):
                came = one(shop, photograph, out, config, overrides, Live(before))
                painted += 1
        except (Unwritable, Stopped):
            raise
        except (CnnlabError, MemoryError, RuntimeError) as error:
            came = "failed"
            failures.append(told(error))
        print(before + came, file=stream, flush=True)
    there = len(places) - painted - len(failures)
    print(f"\n{plain(str(folder))}: {painted} painted, {there} there already, {len(failures)} failed", file=stream)
    if failures:
        raise CnnlabError("\n".join([f"{len(failures)} of {len(places)} could not be painted", *failures]))


def beside(source: Path, shop: Workshop) -> Path:
    """The folder beside the photographs' own that is named after both."""
    here = source if source.name not in ("", "..") else source.resolve()
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
        raise CnnlabError(f"there are no pictures in {plain(str(source))}")
    twice = Counter(one.stem.lower() for one in found)
    names = [one.stem if twice[one.stem.lower()] == 1 else one.name for one in found]
    return {one: folder / f"{name}.png" for one, name in zip(found, names, strict=True)}


def make(folder: Path) -> None:
    """Raises Unwritable where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(folder, error) from error


def done(out: Path, photograph: Path, shop: Workshop) -> bool:
    """Whether a photograph's picture is there, made of the same pictures with the same weights and settings."""
    if not exists(out):
        return False
    with suppress(CnnlabError):
        return about(str(out))["sha256"] == hashes(shop, hashed(str(photograph)))
    return False


def one(
    shop: Workshop, photograph: Path, out: Path, config: parts.Config, overrides: list[str], progress: Progress
) -> str:
    """Paint one photograph; what came of it, in words."""
    s, began = shop.settings, monotonic()
    made = studio(shop, original(str(photograph), s.max_pixels))
    place_for(str(out), photograph, [one.path for one in made.styles], None, made.sizes[-1], overwrite=s.overwrite)
    book = Sketchbook(s, made, config, overrides, began)
    try:
        with Signals() as signals:
            budget = Budget(made.sizes, made.steps(s), s.seconds, began, SAVING_S)
            outcome = paint(s, made, budget, book, progress, lambda: signals.asked)
            if outcome.failure:
                raise outcome.failure
            if signals.asked:
                raise Stopped(f"stopped at {plain(photograph.name)}; run again, it goes on with it", signals.asked)
            path, said = kept(s, made, outcome.state, budget, out)
        book.conclude(path, said)
    finally:
        progress.end()
        book.close()
    losses, seconds = said["losses"], monotonic() - began
    if s.json:
        print(json.dumps({"picture": str(path), "losses": losses, "seconds": seconds, "log": str(book.folder)}))
    height, width = made.sizes[-1]
    return f"{width}x{height}  content {losses['content']:.3g}  style {losses['style']:.3g}  {clock(seconds)}"
