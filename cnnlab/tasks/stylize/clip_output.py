"""The stylized clip: its file, its record, and what is printed about it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from cnnlab.core.clip_file import Clip
from cnnlab.core.clip_formats import ClipContent, find_clip_writer
from cnnlab.core.errors import CnnlabError, Stopped, format_error
from cnnlab.core.files import write_atomically, write_unique
from cnnlab.core.progress import format_duration
from cnnlab.core.quoting import printable, quote_argument
from cnnlab.tasks.stylize.clip_frames import FrameResult, FrameStylist
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.output import describe_losses, format_loss
from cnnlab.tasks.stylize.provenance import make_transfer_record

CLIP_KEYS = ("frame_steps", "temporal_weight")  # recorded of a clip besides an image's


@dataclass
class ClipOutput:
    """The frames so far. `error`: what ended the clip early; `path`: of the written file."""

    results: list[FrameResult] = field(default_factory=list)
    durations_ms: list[float] = field(default_factory=list)
    error: Exception | None = None
    stop_signal: int | None = None
    path: Path | None = None
    record: dict[str, Any] = field(default_factory=dict)


def list_frame_losses(result: FrameResult, log: TransferLog) -> dict[str, Any]:
    """Return a frame's losses by name."""
    return log.job.setup.spec.losses_by_name(result.terms)


def save_clip(
    stylist: FrameStylist, clip: Clip, out: Path, output: ClipOutput, log: TransferLog
) -> None:
    """Write the frames so far, and the record of how they were made."""
    settings = stylist.setup.settings
    steps = [result.steps for result in output.results]
    record = make_transfer_record(log.job, steps, output.results[-1].terms)
    record["settings"] |= {
        key: value for key, value in asdict(settings).items() if key in CLIP_KEYS
    }
    record["losses"] = average_losses([list_frame_losses(r, log) for r in output.results])
    record |= {
        "frames": len(output.results),
        "scenes": 1 + sum(result.is_cut for result in output.results),
        "flicker": stylist.flicker.mean,
        "complete": output.error is None and len(output.results) == clip.num_frames,
    }
    frames = [result.pixels for result in output.results]
    content = ClipContent(frames, output.durations_ms, clip.plays, record)
    write_format = find_clip_writer(out)
    if settings.overwrite:
        write_atomically(out, lambda part: write_format(part, content))
        output.path = out
    else:
        output.path = write_unique(out, lambda part: write_format(part, content))
    output.record = record
    log.write_result(output.path, record)


def average_losses(losses: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the means of the frames' losses, None where one is not finite."""
    return {
        name: None if None in values else float(np.mean(values))
        for name in ("loss", "content", "style")
        for values in [[frame[name] for frame in losses]]
    }


def print_clip_result(
    stylist: FrameStylist, clip: Clip, output: ClipOutput, log: TransferLog
) -> None:
    """Print the numbers and the path of a clip, if any frame was saved."""
    record, settings = output.record, stylist.setup.settings
    if output.path is None:
        return
    seconds = monotonic() - log.started_at
    if settings.json:
        names = ("frames", "scenes", "losses", "flicker", "steps")
        numbers = {"clip": str(output.path)} | {name: record[name] for name in names}
        print(json.dumps(numbers | {"seconds": seconds, "log": str(log.folder)}), flush=True)
        return
    meanings = describe_losses(settings)
    print()
    for name, meaning in zip(("content", "style"), meanings, strict=True):
        print(f"{name:<8} {format_loss(record['losses'][name]):<11} {meaning}")
    if record["flicker"] is not None:
        print(
            f"flicker  {format_loss(record['flicker']):<11} "
            "(mean change, in 0..1, where the content is unchanged)"
        )
    frames, scenes = (
        f"{record[name]} {name if record[name] != 1 else name[:-1]}"
        for name in ("frames", "scenes")
    )
    print(f"{frames}, {scenes}, {format_duration(seconds)} in total")
    print(f"\n{printable(str(output.path))}")
    print(f"TensorBoard:\ntensorboard --logdir {quote_argument(str(log.folder))}", flush=True)


def check_clip_completed(clip: Clip, output: ClipOutput) -> None:
    """Raise the error or the signal that ended a clip early."""
    count = len(output.results)
    if output.error:
        saved = f"the {count} frames before are saved as {printable(str(output.path))}"
        raise CnnlabError(f"{format_error(output.error)}\n{saved}") from output.error
    if output.stop_signal and count < clip.num_frames:
        saved = (
            f"the clip so far is saved as {printable(str(output.path))}"
            if count
            else "no frame was finished"
        )
        message = f"stopped after {count} of {clip.num_frames} frames; {saved}"
        raise Stopped(message, output.stop_signal)
