"""Tables of what `bench stylize` measured: at equal seconds, and at equal content distance."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from math import exp, log
from statistics import mean
from typing import Any

from benchmarks.harness import Table

PEER = "peer"  # style-transfer-pytorch
Row = dict[str, Any]


def geometric_mean(values: Iterable[float]) -> float:
    return exp(mean(map(log, values)))


def interpolate_style_left(points: Sequence[tuple[float, float]], content: float) -> float | None:
    """Return the style left at a content distance, of (content, style left) points.

    Its logarithm is interpolated linearly; None outside the points.
    """
    for (low, before), (high, after) in pairwise(sorted(points)):
        if low <= content <= high:
            share = (content - low) / (high - low) if high > low else 0.5
            return exp((1 - share) * log(before) + share * log(after))
    return None


def format_budget(seconds: float | str) -> str:
    return seconds if isinstance(seconds, str) else f"{seconds:g} s"


def list_budgets(rows: list[Row]) -> list[float | str]:
    """Return the seconds of the rows in ascending order, `default` last."""
    budgets = {row["seconds"] for row in rows}
    return sorted(budgets, key=lambda seconds: float("inf") if seconds == "default" else seconds)


def list_pairs(rows: list[Row]) -> list[Row]:
    """Return content, style and size of the rows, without duplicates."""
    keys = ("content", "style", "size")
    pairs = dict.fromkeys(tuple(row[key] for key in keys) for row in rows)
    return [dict(zip(keys, pair, strict=True)) for pair in pairs]


def select(rows: list[Row], **values: Any) -> list[Row]:
    return [row for row in rows if values.items() <= row.items()]


def find_default(rows: list[Row], program: str) -> Row | None:
    """Return the last row of a program with its default strength."""
    defaults = select(rows, program=program, is_default=True)
    return defaults[-1] if defaults else None


def print_tables(rows: list[Row]) -> None:
    """Print the tables of every program of the rows against the peer."""
    rows = [row for row in rows if "scores" in row]
    programs = [name for name in dict.fromkeys(row["program"] for row in rows) if name != PEER]
    judges = list(rows[0]["scores"]) if rows else []
    for program in programs:
        print_equal_seconds(rows, program, judges)
        print_equal_content(rows, program, judges)


def print_equal_seconds(rows: list[Row], program: str, judges: list[str]) -> None:
    """Print a row per seconds: the program's style left relative to the peer's, both by default."""
    print(f"\nAt equal seconds: {program} and {PEER}, each by its default strength")
    columns = [f"{key} by {judge}" for judge in judges for key in ("ratio", "content")]
    table = Table("seconds", "s of the processes", *columns)
    for seconds in list_budgets(rows):
        if not (both := find_both(rows, program, seconds)):
            continue
        cells = [format_means(both, lambda row: float(row["process_s"]), ".0f")]
        for judge in judges:
            ratios = [get_score(a, judge) / get_score(b, judge) for a, b in both]
            get_content = partial(get_score, judge=judge, key="content")
            cells += [format_ratios(ratios), format_means(both, get_content, ".3f")]
        table.add(format_budget(seconds), *cells)


def find_both(rows: list[Row], program: str, seconds: float | str) -> list[tuple[Row, Row]]:
    """Return the program's and the peer's default for each pair of images that both have."""
    both = []
    for pair in list_pairs(rows):
        places = select(rows, seconds=seconds, **pair)
        own, other = (find_default(places, name) for name in (program, PEER))
        if own and other:
            both.append((own, other))
    return both


def print_equal_content(rows: list[Row], program: str, judges: list[str]) -> None:
    """Print the program's style left relative to the peer's, at the content distance of either's
    default."""
    if all(row["is_default"] for row in rows):
        return
    print(f"\nAt equal content distance: {program} and {PEER}")
    sides = (PEER, program)
    columns = [f"ratio by {judge}, at {side}'s content" for judge in judges for side in sides]
    table = Table("seconds", "content, style, pixels", *columns)
    for seconds in list_budgets(rows):
        all_ratios = []
        for own, other in find_both(rows, program, seconds):
            keys = ("content", "style", "size", "seconds")
            places = select(rows, **{key: own[key] for key in keys})
            ratios = [
                relate_at_content(places, own, other, judge, anchor)
                for judge in judges
                for anchor in (other, own)
            ]
            all_ratios.append(ratios)
            pair = f"{own['content']}, {own['style']}, {own['size']}"
            cells = [f"{ratio:.2f}" if ratio else "not reached" for ratio in ratios]
            table.add(format_budget(seconds), pair, *cells)
        if all_ratios:
            by_column = zip(*all_ratios, strict=True)
            means = [format_ratios([x for x in ratios if x]) for ratios in by_column]
            table.add(f"**{format_budget(seconds)}**", "**geometric mean**", *means)


def relate_at_content(
    rows: list[Row], own: Row, other: Row, judge: str, anchor: Row
) -> float | None:
    """Return own style left relative to the other's, at the anchor's content distance.

    `rows`: of one pair of images and seconds; `anchor`: own or other. None where the values of the
    program that is not the anchor do not include that content distance.
    """
    content, lefts = get_score(anchor, judge, "content"), []
    for row in (own, other):
        points = [
            (get_score(point, judge, "content"), get_score(point, judge))
            for point in select(rows, program=row["program"])
        ]
        left = get_score(row, judge) if row is anchor else interpolate_style_left(points, content)
        lefts.append(left)
    return lefts[0] / lefts[1] if lefts[0] and lefts[1] else None


def get_score(row: Row, judge: str, key: str = "style_left") -> float:
    return float(row["scores"][judge][key])


def format_ratios(ratios: list[float]) -> str:
    """Return the geometric mean, and how many are below 1."""
    if not ratios:
        return ""
    below = sum(ratio < 1 for ratio in ratios)
    return f"{geometric_mean(ratios):.2f} (below 1 in {below} of {len(ratios)})"


def format_means(both: list[tuple[Row, Row]], get_value: Callable[[Row], float], form: str) -> str:
    """Return the means of a value of each program."""
    return " and ".join(
        format(mean(map(get_value, side)), form) for side in zip(*both, strict=True)
    )
