"""Compare `cnnlab stylize` with two plain programs: same network, loss, images and seconds.

`gatys` is L-BFGS at one scale from the content image, `adam` is Adam at one scale. Each output
image is evaluated from its saved file, by the loss itself. Each program runs once for each pair of
images, in a process of its own, one at a time, and saves what it has after 1/12, 1/3 and all of
`--seconds`. Its clock starts after the imports, before the images are read; what is saved is what
the step then under way ends with. The plain programs use this project's encoder and loss, so that
a step costs them the same: only the optimization differs. Pixels are unconstrained in `gatys`, as
in the paper, and clipped when they are saved; `adam` clips them to 0..1 after each step.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks.harness import Table, print_machine, run_child

PAIRS = [
    (256, "tubingen", "starry_night"),
    (256, "golden_gate", "great_wave"),
    (256, "tubingen", "the_scream"),
    (256, "golden_gate", "composition_vii"),
    (512, "tubingen", "starry_night"),
    (512, "golden_gate", "the_scream"),
]
MARKS = (1 / 12, 1 / 3, 1.0)  # of the seconds: 15, 60 and 180 of 180
PROGRAMS = ("cnnlab", "gatys", "adam")
PLAIN = ("margin=0", "style.color_weight=0")  # of the plain programs, and of what evaluates all
Save = Callable[[Any], bool]  # an image so far -> whether time is up


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of the JPEGs")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument(
        "--pairs", type=int, nargs="*", default=range(len(PAIRS)), help="which, from 0; all"
    )
    parser.add_argument("--programs", nargs="*", default=PROGRAMS)
    parser.add_argument("--lr", type=float, default=0.02, help="of the plain Adam")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", type=Path, help="a folder for the output images")


def prepare(case: dict[str, Any], *overrides: str) -> Any:
    """Return settings and job of a case."""
    from benchmarks.transfer_job import prepare_transfer

    words = [f"size={case['size']}", f"features.weights='{case['weights']}'", *overrides]
    paths = [Path(case["images"]) / f"{case[key]}.jpg" for key in ("content", "style")]
    return prepare_transfer(*paths, words, case["device"])


def run_cnnlab(case: dict[str, Any], save: Save, started_at: float) -> None:
    from benchmarks.transfer_job import make_budget, run_lbfgs
    from cnnlab.style.transfer import upsample_bicubic

    settings, job = prepare(case)
    limits = {"time_limit_s": case["seconds"], "started_at": started_at}
    budget = make_budget(settings, job, **limits)
    for state in run_lbfgs(settings, job, budget):
        if save(upsample_bicubic(state.image, job.sizes[-1])):
            return
    sleep(max(0.0, started_at + case["seconds"] - monotonic()))  # the last step ended early
    save(upsample_bicubic(state.image, job.sizes[-1]))


def make_loss_and_image(job: Any) -> tuple[Any, Any]:
    """Return the loss at the full size, and the content image as what is optimized."""
    size, transfer_loss = job.sizes[-1], job.transfer_loss
    loss = transfer_loss.make_loss_function(transfer_loss.make_objective(size))
    return loss, transfer_loss.content(size).contiguous().requires_grad_()


def run_gatys(case: dict[str, Any], save: Save, started_at: float) -> None:
    import torch

    loss, x = make_loss_and_image(prepare(case, *PLAIN)[1])
    optimizer = torch.optim.LBFGS(
        [x], lr=1, max_iter=1, history_size=100, tolerance_grad=0, tolerance_change=0
    )

    def closure() -> Any:
        terms, gradient = loss(x)
        x.grad = gradient.contiguous()
        return terms[0]

    while not save(x.detach()):
        optimizer.step(closure)


def run_adam(case: dict[str, Any], save: Save, started_at: float) -> None:
    import torch

    loss, x = make_loss_and_image(prepare(case, *PLAIN)[1])
    optimizer = torch.optim.Adam([x], lr=case["lr"])
    while not save(x.detach()):
        x.grad = loss(x)[1].contiguous()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)


def measure_in_child(program: str, folder: str, case: dict[str, Any]) -> None:
    """Save SECONDS.png in the folder for each mark; print the steps taken until each."""
    import torch

    import benchmarks.transfer_job  # noqa: F401  imported before the clock starts
    from cnnlab.config import compose
    from cnnlab.style.source_image import tensor_to_image

    compose("stylize", [])
    torch.manual_seed(0)
    started_at, marks, num_images = monotonic(), [mark * case["seconds"] for mark in MARKS], 0

    def save(image: Any) -> bool:
        nonlocal num_images
        num_images += 1
        while marks and monotonic() - started_at >= marks[0] - 0.05:
            tensor_to_image(image).save(Path(folder) / f"{marks.pop(0):g}.png")
            print(num_images, flush=True)
        return not marks

    run_program = {"cnnlab": run_cnnlab, "gatys": run_gatys, "adam": run_adam}[program]
    run_program(case, save, started_at)


def evaluate_saved(case: dict[str, Any], folder: Path) -> list[dict[str, float]]:
    """Return the losses of the saved files, in the order of the marks."""
    import torch

    from cnnlab.core.device import disable_tf32
    from cnnlab.style.source_image import read_source_image

    _, job = prepare(case, "precision=float32", *PLAIN)
    size, results = job.sizes[-1], []
    for mark in MARKS:
        image = read_source_image(str(folder / f"{mark * case['seconds']:g}.png"), 10**9)
        x = image.as_image_at_size(torch.device(case["device"]))(size)
        with torch.no_grad(), disable_tf32():
            objective = job.transfer_loss.make_objective(size)
            terms = job.transfer_loss.evaluate_terms(objective, x).tolist()
        loss, content, *styles, _, _ = terms
        results.append({"loss": loss, "content": content, "style": sum(styles)})
    return results


def measure(program: str, case: dict[str, Any], keep: Path | None) -> dict[str, Any]:
    """Run a program on a pair of images and evaluate what it saved."""
    with tempfile.TemporaryDirectory() as temporary:
        name = f"{case['content']}_{case['style']}_{case['size']}_{program}"
        folder = keep / name if keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        out = run_child("stylize", program=program, folder=str(folder), case=case)
        scores = evaluate_saved(case, folder)
    images = {key: case[key] for key in ("size", "content", "style")}
    steps = [int(word) for word in out.split()]
    return {**images, "program": program, "steps": steps, "scores": scores}


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    marks = [f"{mark * options.seconds:g} s" for mark in MARKS]
    print_machine(
        options.weights.name, "loss of the saved file (steps)", device_name=options.device
    )
    table, rows = Table("content, style, pixels", "program", *marks), []
    common = {"weights": str(options.weights), "images": str(options.images)}
    common |= {key: getattr(options, key) for key in ("seconds", "lr", "device")}
    for size, content, style in (PAIRS[i] for i in options.pairs):
        case = common | {"size": size, "content": content, "style": style}
        for program in options.programs:
            row = measure(program, case, options.keep)
            rows.append(row)
            pairs = zip(row["scores"], row["steps"], strict=True)
            cells = [f"{score['loss']:.5f} ({steps:,})" for score, steps in pairs]
            table.add(f"{content}, {style}, {size}", program, *cells)
    return rows
