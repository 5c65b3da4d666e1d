"""Compare two folders of images blindly: draw sheets, and count the answers of whoever saw them.

    python scripts/bench blind A B --sheets FOLDER --key FILE
    python scripts/bench blind --key FILE --answers FILE

Images of the same name in A and B are compared. Their names begin with those of content and style
image, as `bench stylize --out` writes them: CONTENT__STYLE__KIND.png; what follows is the kind of
comparison. Each sheet shows the content and the style image, and below them one image as A and one
as B, in random order; sheets are numbered in random order too. The key says which is which. It may
not lie in the folder of the sheets: give whoever judges that folder only.

An answer is a line: the sheet's number and A, B or =. Several answers to a sheet all count. The
preferred share is that of the first folder, without ties, with its 95 % Wilson interval.
"""

import argparse
import json
import random
import secrets
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image, ImageDraw

from benchmarks.harness import Table
from benchmarks.judge import add_folder_option

GAP, SOURCE_HEIGHT, LABEL_HEIGHT = 16, 176, 28  # pixels
BACKGROUND, INK = (255, 255, 255), (0, 0, 0)
Answers = list[tuple[str, str]]  # sheet, and A, B or =


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="the two folders")
    parser.add_argument("--sheets", type=Path, help="a new folder for the sheets")
    parser.add_argument("--key", type=Path, required=True, help="what the judge does not see")
    parser.add_argument("--answers", type=Path, help="a file of answers to count")
    parser.add_argument("--names", nargs="*", help="of the images; default: all in both folders")
    parser.add_argument("--seed", type=int, help="of the order; default: a random one")
    add_folder_option(parser, "images", "CNNLAB_PICTURES")


def assign_sheets(names: list[str], seed: int) -> list[dict[str, Any]]:
    """Return the sheets in random order: number, name and kind of the images, and the place, A or
    B, of the first folder's."""
    rng, names = random.Random(seed), sorted(names)
    rng.shuffle(names)
    return [
        {
            "sheet": f"{number:03d}",
            "name": name,
            "kind": ", ".join(Path(name).stem.split("__")[2:]),
            "first_is": rng.choice("AB"),
        }
        for number, name in enumerate(names, 1)
    ]


def draw_sheet(sources: list[Image.Image], outputs: list[Image.Image]) -> Image.Image:
    """Return a sheet: the sources, small, and below them the outputs A and B side by side."""
    small = [
        image.resize(
            (round(image.width * SOURCE_HEIGHT / image.height), SOURCE_HEIGHT),
            Image.Resampling.LANCZOS,
        )
        for image in sources
    ]
    rows = [(small, ("content", "style")), (outputs, ("A", "B"))]
    widths = [sum(image.width for image in images) + GAP for images, _ in rows]
    heights = [max(image.height for image in images) + LABEL_HEIGHT for images, _ in rows]
    size = (max(widths) + 2 * GAP, sum(heights) + 3 * GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw, top = ImageDraw.Draw(sheet), GAP
    for (images, labels), width, height in zip(rows, widths, heights, strict=True):
        left = (size[0] - width) // 2
        for image, label in zip(images, labels, strict=True):
            draw.text((left, top), label, fill=INK, font_size=20)
            sheet.paste(image, (left, top + LABEL_HEIGHT))
            left += image.width + GAP
        top += height + GAP
    return sheet


def write_sheets(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Draw the sheets and write the key; return its sheets."""
    first, second = options.folders
    common = {path.name for path in first.glob("*.png")} & {p.name for p in second.glob("*.png")}
    names = sorted(common & set(options.names) if options.names else common)
    if not names:
        stop(f"{first} and {second} have no PNG of the same name")
    seed = secrets.randbits(32) if options.seed is None else options.seed
    sheets = assign_sheets(names, seed)
    options.sheets.mkdir(parents=True)
    for entry in sheets:
        content, style, *_ = entry["name"].split("__")
        sources = [Image.open(options.images / f"{name}.jpg") for name in (content, style)]
        folders = (first, second) if entry["first_is"] == "A" else (second, first)
        outputs = [Image.open(folder / entry["name"]) for folder in folders]
        images = [[image.convert("RGB") for image in pair] for pair in (sources, outputs)]
        draw_sheet(*images).save(options.sheets / f"{entry['sheet']}.png")
    key = {"folders": [str(first), str(second)], "seed": seed, "sheets": sheets}
    options.key.write_text(json.dumps(key, indent=1) + "\n")
    print(f"{len(sheets)} sheets\n{options.sheets}\n\nkey, not for the judge\n{options.key}")
    return sheets


def read_answers(path: Path) -> Answers:
    """Return the answers of a file; `#` starts a comment. Exit for a line that is none."""
    answers = []
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].replace(":", " ").replace(",", " ").upper().split()
        if words and (len(words) != 2 or words[1] not in ("A", "B", "=")):
            stop(f"{path.name}: {line.strip()!r} is not a sheet's number and A, B or =")
        if words:
            answers.append((words[0].zfill(3), words[1]))
    return answers


def count_answers(
    sheets: list[dict[str, Any]], answers: Answers
) -> dict[str, tuple[int, int, int]]:
    """Return, for each kind and for all, how often the first folder's image was preferred, the
    second's, and neither. Raises KeyError for a sheet that is not in the key."""
    by_number = {entry["sheet"]: entry for entry in sheets}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for number, answer in answers:
        entry = by_number[number]
        place = 2 if answer == "=" else int(answer != entry["first_is"])
        for kind in (entry["kind"], "all"):
            counts[kind][place] += 1
    kinds = [*sorted(counts.keys() - {"all"}), "all"]
    return {kind: (counts[kind][0], counts[kind][1], counts[kind][2]) for kind in kinds}


def print_answers(key: dict[str, Any], answers: Answers) -> list[dict[str, Any]]:
    """Print the preferred share per kind of comparison; return the table's rows."""
    from cnnlab.engine.metrics import wilson_interval

    numbers = {entry["sheet"] for entry in key["sheets"]}
    if unknown := [number for number, _ in answers if number not in numbers]:
        stop(f"no sheet {unknown[0]!r} in the key")
    print(f"first: {key['folders'][0]}\nsecond: {key['folders'][1]}")
    print(f"{len({number for number, _ in answers})} of {len(numbers)} sheets answered")
    table = Table("kind", "first", "second", "ties", "first preferred", "95 % interval")
    rows = []
    for kind, (first, second, ties) in count_answers(key["sheets"], answers).items():
        row = {"kind": kind, "first": first, "second": second, "ties": ties}
        cells = ["", ""]
        if decided := first + second:
            low, high = wilson_interval(first, decided)
            row |= {"share": first / decided, "interval_95": [low, high]}
            cells = [f"{first / decided:.0%}", f"{low:.0%} to {high:.0%}"]
        rows.append(row)
        table.add(kind, first, second, ties, *cells)
    return rows


def stop(message: str) -> NoReturn:
    """Exit as for wrong usage."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    if options.answers:
        return print_answers(json.loads(options.key.read_text()), read_answers(options.answers))
    if len(options.folders) != 2 or not options.sheets:
        stop("two folders and --sheets are needed, or --answers")
    if options.key.resolve().is_relative_to(options.sheets.resolve()):
        stop(f"{options.key} lies in the folder of the sheets\ngive the key another place")
    if options.sheets.exists() or options.key.exists():
        stop("the sheets or the key exist already\ngive other names")
    return write_sheets(options)
