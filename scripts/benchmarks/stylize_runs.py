"""The runs of `bench stylize`: an image by each program in a process of its own, judged."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

from benchmarks.harness import collect_record
from benchmarks.judge import judge_file, load_judges
from benchmarks.peer_style_transfer import INITIAL_ITERATIONS, ITERATIONS, scale_iterations
from benchmarks.stylize_tables import PEER, Row

PEER_SCRIPT = Path(__file__).with_name("peer_style_transfer.py")
CALIBRATION_ITERATIONS = 8  # at each scale
MAX_ATTEMPTS = 3  # of a run of the peer to take the seconds that it should


@dataclass(frozen=True)
class Task:
    """An image to make. `seconds`: of the process, or `default`; `value`: cnnlab's strength or the
    peer's content weight."""

    program: str
    content: str
    style: str
    size: int
    seconds: float | str
    value: float
    is_default: bool

    @property
    def pair(self) -> tuple[str, str, int]:
        return self.content, self.style, self.size

    @property
    def image_name(self) -> str:
        """Return the same name for each program's default, so that images can be paired."""
        budget = self.seconds if isinstance(self.seconds, str) else f"{self.seconds:g}s"
        value = "" if self.is_default else f"__{self.value:g}"
        return f"{self.content}__{self.style}__{self.size}px__{budget}{value}.png"


class Runner:
    """Makes images, judges them and appends rows to results.jsonl."""

    def __init__(self, options: argparse.Namespace, rows: list[Row]) -> None:
        self.options, self.rows = options, rows
        self.lock, self.pair_locks = Lock(), defaultdict[Any, Lock](Lock)
        self.judges = load_judges(options.weights)
        self.commit = collect_record()["commit"]

    def run(self, task: Task) -> Row:
        """Make and judge an image; return its row."""
        image = self.options.out / task.program / task.image_name
        image.parent.mkdir(parents=True, exist_ok=True)
        if task.program == PEER:
            result = self.run_peer(task, image)
        else:
            result = self.run_cnnlab(task, image)
        sources = (self.options.images / f"{name}.jpg" for name in (task.content, task.style))
        scores = judge_file(self.judges, image, *sources)
        path = str(image.relative_to(self.options.out))
        return self.append(asdict(task) | {"image": path, "scores": scores} | result)

    def run_cnnlab(self, task: Task, image: Path) -> Row:
        """Make an image by `cnnlab stylize`; return seconds of the process and steps."""
        options = self.options
        with tempfile.TemporaryDirectory() as logs:
            words = [
                *(f"size={task.size}", f"features.weights='{options.weights / options.network}'"),
                *(f"style.strength={task.value}", f"threads={options.threads or 'null'}"),
                *(f"device={options.device}", f"out='{image}'", f"outputs='{logs}'", *options.set),
            ]
            if task.seconds != "default":
                words.append(f"time={task.seconds:g}s")
            command = [sys.executable, "-m", "cnnlab", "stylize", *self.source_paths(task)]
            out, process_s = run_process([*command, *words, "--overwrite", "--json"], options)
        return {"process_s": process_s, "steps": out["steps"], "set": options.set}

    def run_peer(self, task: Task, image: Path) -> Row:
        """Make an image by the peer; return seconds of the process, iterations and times.

        A run that took another time than the task's seconds is repeated by its own times; the
        nearest is kept.
        """
        if isinstance(task.seconds, str):
            return self.call_peer(task, image, INITIAL_ITERATIONS, ITERATIONS)
        with self.pair_locks[task.pair]:
            row = self.find_timing(task) or self.calibrate(task)
        attempt, rows = image.with_stem(f"{image.stem}__attempt"), list[Row]()
        for _ in range(MAX_ATTEMPTS):
            overhead_s = row["process_s"] - row["timing"]["seconds"]
            iterations = scale_iterations(row["timing"], overhead_s, task.seconds)
            row = self.call_peer(task, attempt, *iterations)
            rows.append(row | {"error": row["process_s"] / task.seconds - 1})
            nearest = min(rows, key=lambda row: abs(row["error"]))
            if rows[-1] is nearest:
                attempt.replace(image)
            error = nearest["error"]
            if abs(error) <= self.options.tolerance or (error > 0 and max(iterations) == 1):
                break
        attempt.unlink(missing_ok=True)
        return nearest

    def call_peer(self, task: Task, image: Path, initial_iterations: int, iterations: int) -> Row:
        options = self.options
        words = {
            "peer": options.peer,
            "weights": options.weights / options.network,
            "out": image,
            "size": task.size,
            "initial-iterations": initial_iterations,
            "iterations": iterations,
            "content-weight": task.value,
            "device": options.device,
        } | ({"threads": options.threads} if options.threads else {})
        arguments = [word for key, value in words.items() for word in (f"--{key}", str(value))]
        command = [sys.executable, str(PEER_SCRIPT), *self.source_paths(task), *arguments]
        timing, process_s = run_process(command, options)
        steps = [scale["iterations"] for scale in timing["scales"]]
        return {"process_s": process_s, "steps": steps, "timing": timing}

    def find_timing(self, task: Task) -> Row | None:
        """Return the last row of the peer on the task's pair, on the same device and threads, with
        enough iterations to tell their time."""
        machine = {key: getattr(self.options, key) for key in ("threads", "device", "jobs")}
        for row in reversed(self.rows):
            is_same_pair = (row["content"], row["style"], row["size"]) == task.pair
            if "timing" not in row or min(row["steps"]) < CALIBRATION_ITERATIONS:
                continue
            if is_same_pair and machine.items() <= row.items():
                return row
        return None

    def calibrate(self, task: Task) -> Row:
        """Run the peer for a few iterations at each scale; return the row."""
        with tempfile.TemporaryDirectory() as folder:
            counts = (CALIBRATION_ITERATIONS,) * 2
            result = self.call_peer(task, Path(folder) / "out.png", *counts)
        return self.append(asdict(task) | {"seconds": "calibration"} | result)

    def source_paths(self, task: Task) -> list[str]:
        return [str(self.options.images / f"{name}.jpg") for name in (task.content, task.style)]

    def append(self, row: Row) -> Row:
        """Add a row, with the machine's settings, to the rows and to results.jsonl."""
        row |= {key: getattr(self.options, key) for key in ("threads", "device", "jobs", "network")}
        row |= {"commit": self.commit}
        with self.lock:
            self.rows.append(row)
            with (self.options.out / "results.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
        return row


def run_process(command: list[str], options: argparse.Namespace) -> tuple[Any, float]:
    """Run a program; return the JSON of its last line and the seconds of its process."""
    environment = os.environ | (
        {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    )
    start = perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1]), seconds
