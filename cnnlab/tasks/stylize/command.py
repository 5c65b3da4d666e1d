"""`cnnlab stylize`: a photograph in the style of a painting (Gatys, Ecker & Bethge 2015)."""

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from cnnlab.core.device import (
    describe_device,
    disable_tf32,
    pick_device,
    use_deterministic_algorithms,
    use_threads,
)
from cnnlab.core.errors import CnnlabError, Stopped, UsageError
from cnnlab.core.errors import format_error as explained
from cnnlab.core.progress import COMMAND_START, Progress, format_duration
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked
from cnnlab.core.signals import SignalRecorder
from cnnlab.style.budget import TransferBudget
from cnnlab.style.source_image import collect_image_notes, read_source_image
from cnnlab.style.transfer import TransferState
from cnnlab.tasks.stylize.batch import stylize_folder
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.optimize import make_transfer_budget, optimize_image
from cnnlab.tasks.stylize.output import (
    format_loss,
    list_job_notes,
    list_time_limits,
    resolve_output_path,
    save_result,
)
from cnnlab.tasks.stylize.provenance import read_saved_transfer
from cnnlab.tasks.stylize.score import score_image
from cnnlab.tasks.stylize.settings import LOSS_MEANINGS, StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles


def run(config: Config, overrides: list[str]) -> None:
    """Paint, write the picture, and print where it is and how far it is from both. Raises UsageError, and leaves
    nothing, where something cannot be; Stopped, once the picture so far is written, where a signal asked for it."""
    began = COMMAND_START.get(monotonic())
    s = call_checked(StylizeSettings, config, "")
    if s.reproduce and s.score:
        raise UsageError("--reproduce paints and --score does not: one at a time")
    if s.content is None or not s.styles:
        raise UsageError(
            "a photograph and a painting are needed: cnnlab stylize CONTENT STYLE... (-h shows more)"
        )
    folder = Path(s.content).is_dir()
    if folder and (s.reproduce or s.score):
        raise UsageError(
            f"{printable(str(s.content))} is a folder: --reproduce and --score take one photograph"
        )
    before = read_saved_transfer(s, overrides) if s.reproduce else None
    s = before.settings if before else s
    device = pick_device(s.device)
    named = s.download or (
        s.features.get("name") != "auto" and any(w.startswith("features.name=") for w in overrides)
    )
    with use_threads(s.threads), use_deterministic_algorithms(device), disable_tf32():
        if s.score:
            score_image(s, device, allow_download=named)
            return
        if folder:
            stylize_folder(prepare_styles(s, device, allow_download=named), config, overrides)
            return
        content = read_source_image(str(s.content), s.max_pixels)
        made = prepare_job(
            prepare_styles(
                s,
                device,
                allow_download=named,
                settings_sha256=before.settings_sha256 if before else None,
            ),
            content,
        )
        usual = Path(s.reproduce) if s.reproduce else None
        styles = [one.path for one in made.styles]
        place = Path(s.out).expanduser() if s.out else None
        out = resolve_output_path(
            place, content.path, styles, usual, made.sizes[-1], overwrite=s.overwrite
        )
        if before:
            before.check_matches(made)
        steps = before.steps if before else made.steps_per_scale(s)
        stream = sys.stderr if s.json else sys.stdout
        print("\n".join(format_stylize_header(s, made, out, device)), file=stream, flush=True)
        budget, book = (
            make_transfer_budget(s, made, steps, out, began),
            TransferLog(s, made, config, overrides, began),
        )
        stylize_image(s, made, budget, out, book, Progress(stream))


def stylize_image(
    s: StylizeSettings,
    made: TransferJob,
    budget: TransferBudget,
    out: Path,
    book: TransferLog,
    progress: Progress,
) -> None:
    """Paint one picture. What was painted before something went wrong is written first, and then that is raised."""
    try:
        with SignalRecorder() as signals:
            outcome = optimize_image(s, made, budget, book, progress, lambda: signals.received)
            path, about = save_result(s, made, outcome, budget, out)
        print_stylize_result(s, made, outcome.state, path, about["losses"], budget, book.folder)
        book.write_result(path, about)
    finally:
        progress.end()
        book.close()
    state = outcome.state
    height, width = state.size
    far = f"{printable(str(path))} is as far as it came"
    far += "" if state.size == made.sizes[-1] else f", painted at {width}x{height} and enlarged"
    if outcome.error:
        raise CnnlabError(f"{explained(outcome.error)}; {far}") from outcome.error
    if signals.received and not outcome.is_complete:
        raise Stopped(f"stopped at step {state.total_steps}; {far}", signals.received)


def format_stylize_header(
    s: StylizeSettings, made: TransferJob, out: Path, device: torch.device
) -> list[str]:
    """What is about to happen."""
    styles = ", ".join(printable(one.path.name) for one in made.styles)
    lines = [
        f"cnnlab stylize: {printable(made.content.path.name)} in the style of {styles}",
        *collect_image_notes(*made.styles),
    ]
    lines += made.setup.encoder_notes + list_job_notes(s, made, out)
    height, width = made.sizes[-1]
    return [
        *lines,
        f"{made.loaded_encoder.name}, {width}x{height} pixels, device {describe_device(device)}",
    ]


def print_stylize_result(
    s: StylizeSettings,
    made: TransferJob,
    state: TransferState,
    path: Path,
    losses: dict[str, Any],
    budget: TransferBudget,
    folder: Path,
) -> None:
    """Print what came of it."""
    seconds = monotonic() - budget.started_at
    if s.json:
        print(json.dumps({"picture": str(path), "losses": losses, "steps": budget.steps_taken, "seconds": seconds,
                          "log": str(folder)}), flush=True)  # fmt: skip
        return
    meaning = LOSS_MEANINGS[s.style["name"]]
    print(f"\ncontent  {format_loss(losses['content']):<11} {meaning[0]}")
    print(f"style    {format_loss(losses['style']):<11} {meaning[1]}")
    cells = [f"{name} {format_loss(value):<10}" for name, value in losses["layers"].items()]
    for at in range(0, len(cells), 4):
        print("  " + " ".join(cells[at : at + 4]).rstrip())
    print(
        f"{state.total_steps} step{'s' * (state.total_steps != 1)}, {format_duration(seconds)} in all"
    )
    for line in list_time_limits(s, made, state):
        print(line)
    print(f"\n{printable(str(path))}")
    print(f"look at it grow  tensorboard --logdir {folder}", flush=True)
