"""Compare `cnnlab stylize` with Crowson's style-transfer-pytorch: same network, images, seconds.

Each image is made by a process of its own and judged from its file by networks that neither
program uses (see `bench judge`). `--seconds` are of the whole process: cnnlab gets `time=`, the
peer the iterations that take as long, all scales by one factor, by the times of an earlier run on
the pair; a run that takes another time, by more than `--tolerance`, is repeated. `default` is each
program's own number of steps. Each program runs with its default strength, and with those of
`--strengths` (cnnlab's style.strength) and `--content-weights` (the peer's). From these, style left
is interpolated, on a logarithmic scale, at the content distance of the other program's default.

Rows are appended to results.jsonl in `--out`, and what is there is not run again: a comparison can
be run in parts. `--set` changes cnnlab's settings, `--name` names its rows then. `--read` prints
the tables of what is there. With `--jobs 2 --threads 1` two processes run at once.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Table, print_machine
from benchmarks.judge import add_folder_option, format_scores
from benchmarks.peer_style_transfer import CONTENT_WEIGHT, check_peer
from benchmarks.stylize_runs import Runner, Task
from benchmarks.stylize_tables import PEER, Row, format_budget, print_tables

PAIRS = [
    (384, "tubingen", "starry_night"),
    (384, "golden_gate", "great_wave"),
    (384, "tubingen", "the_scream"),
    (384, "golden_gate", "composition_vii"),
    (384, "tubingen", "great_wave"),
    (384, "golden_gate", "starry_night"),
    (768, "tubingen", "composition_vii"),
    (768, "golden_gate", "the_scream"),
]
HEADERS = (
    "content, style, pixels",
    "program",
    "seconds",
    "strength or weight",
    "s of the process",
    "steps",
)


def parse_budget(text: str) -> float | str:
    return text if text == "default" else float(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_folder_option(parser, "weights", "CNNLAB_WEIGHTS")
    add_folder_option(parser, "images", "CNNLAB_PICTURES")
    parser.add_argument("--peer", type=Path, help="a checkout of style-transfer-pytorch")
    parser.add_argument("--network", default="vgg19_quarter.safetensors", help="in --weights")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_stylize"))
    parser.add_argument(
        "--pairs", type=int, nargs="*", default=range(len(PAIRS)), help="which, from 0; all"
    )
    parser.add_argument("--size", type=int, help="pixels, instead of the pairs' own")
    parser.add_argument(
        "--seconds",
        type=parse_budget,
        nargs="*",
        default=[15.0, 60.0, 180.0, "default"],
        help="seconds, and `default`; 15 60 180 default",
    )
    parser.add_argument("--programs", nargs="*", default=["cnnlab", PEER], help="cnnlab, peer")
    parser.add_argument(
        "--strengths", type=float, nargs="*", default=[], help="besides the default"
    )
    parser.add_argument(
        "--content-weights", type=float, nargs="*", default=[], help="besides the default, 0.015"
    )
    parser.add_argument("--set", nargs="*", default=[], help="overrides of cnnlab's settings")
    parser.add_argument("--name", default="cnnlab", help="of cnnlab's rows")
    parser.add_argument(
        "--tolerance", type=float, default=0.05, help="of the peer's seconds, relative"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--threads", type=int, help="of each process; default: all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--read", action="store_true", help="print the tables of --out")


def list_tasks(options: argparse.Namespace, default_strength: float) -> list[Task]:
    """Return the images to make, the programs in alternation."""
    values = {
        "cnnlab": [default_strength, *options.strengths],
        PEER: [CONTENT_WEIGHT, *options.content_weights],
    }
    tasks = {
        Task(
            options.name if program == "cnnlab" else program,
            *(content, style, options.size or size, seconds),
            *(values[program][i], i == 0 or values[program][i] == values[program][0]),
        ): None
        for size, content, style in (PAIRS[i] for i in options.pairs)
        for seconds in options.seconds
        for i in range(max(map(len, values.values())))
        for program in options.programs
        if i < len(values[program])
    }
    return list(tasks)


def read_rows(out: Path) -> list[Row]:
    """Return the rows of results.jsonl."""
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_done(task: Task, rows: list[Row]) -> bool:
    return any(asdict(task).items() <= row.items() for row in rows)


def run_tasks(tasks: list[Task], rows: list[Row], options: argparse.Namespace) -> None:
    """Run tasks, `jobs` at once; print a row for each."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    runner = Runner(options, rows)
    judges = [f"{key} by {name}" for name in runner.judges for key in ("style", "content")]
    table = Table(*HEADERS, *judges)
    with ThreadPoolExecutor(options.jobs) as executor:
        futures = [executor.submit(runner.run, task) for task in tasks]
        try:
            for future in as_completed(futures):
                table.add(*format_row(future.result()))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def format_row(row: Row) -> list[str]:
    pair = f"{row['content']}, {row['style']}, {row['size']}"
    scores = [cell for values in row["scores"].values() for cell in format_scores(values)]
    steps = " + ".join(map(str, row["steps"]))
    cells = [row["program"], format_budget(row["seconds"]), f"{row['value']:g}"]
    return [pair, *cells, f"{row['process_s']:.1f}", steps, *scores]


def run(options: argparse.Namespace) -> list[Row]:
    rows = read_rows(options.out)
    if not options.read:
        from cnnlab.config import compose

        default_strength = compose("stylize", options.set)["style"]["strength"]
        tasks = [t for t in list_tasks(options, default_strength) if not is_done(t, rows)]
        if PEER in options.programs:
            check_peer(options.peer)
        details = f"{options.jobs} at once, threads={options.threads or 'all'}"
        number = f"{len(tasks)} images to make"
        print_machine(options.network, number, details, device_name=options.device)
        options.out.mkdir(parents=True, exist_ok=True)
        run_tasks(tasks, rows, options)
    print_tables(rows)
    return rows
