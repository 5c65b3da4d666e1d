"""`cnnlab stylize`: a content image in the style of another (Gatys, Ecker & Bethge 2015)."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

from cnnlab.core.device import (
    describe_device,
    disable_tf32,
    pick_device,
    use_deterministic_algorithms,
    use_threads,
)
from cnnlab.core.errors import CnnlabError, Stopped, UsageError, format_error
from cnnlab.core.files import expand_home, path_exists
from cnnlab.core.progress import COMMAND_START, Progress, format_duration
from cnnlab.core.quoting import printable, quote_argument
from cnnlab.core.schema import Config, call_checked
from cnnlab.style.source_image import collect_image_notes, read_source_image
from cnnlab.tasks.stylize.batch import stylize_folder
from cnnlab.tasks.stylize.clip import open_clip, stylize_clip
from cnnlab.tasks.stylize.explore import explore_values
from cnnlab.tasks.stylize.log import TransferLog
from cnnlab.tasks.stylize.network import stylize_by_network
from cnnlab.tasks.stylize.optimize import StylizedImage, stylize_job
from cnnlab.tasks.stylize.output import (
    describe_losses,
    format_loss,
    list_job_notes,
    list_time_limits,
    resolve_output_path,
)
from cnnlab.tasks.stylize.provenance import SavedTransfer, read_saved_transfer
from cnnlab.tasks.stylize.score import score_image
from cnnlab.tasks.stylize.settings import StylizeSettings
from cnnlab.tasks.stylize.setup import TransferJob, prepare_job, prepare_styles

LAYERS_PER_LINE = 4


def run(config: Config, overrides: list[str]) -> None:
    """Stylize one image, a clip or a folder, or score an image.

    Raises UsageError, before anything is written, for impossible settings; Stopped, after the image
    is saved, for a signal.
    """
    started_at = COMMAND_START.get(monotonic())
    settings = call_checked(StylizeSettings, config, "")
    if settings.network is not None:
        device = pick_device(settings.device)
        with use_threads(settings.threads), use_deterministic_algorithms(device), disable_tf32():
            stylize_by_network(settings, overrides, device, started_at)
        return
    check_inputs(settings, overrides)
    saved = read_saved_transfer(settings, overrides) if settings.reproduce else None
    settings = saved.settings if saved else settings
    device = pick_device(settings.device)
    allow_download = settings.download or names_features(settings, overrides)
    with use_threads(settings.threads), use_deterministic_algorithms(device), disable_tf32():
        if settings.score:
            score_image(settings, device, allow_download=allow_download)
            return
        if settings.explore:
            explore_values(settings, device, config, overrides, allow_download=allow_download)
            return
        path, clip = Path(str(settings.content)), open_clip(settings)
        is_still = not clip and not path.is_dir()
        content = read_source_image(str(path), settings.max_pixels) if is_still else None
        setup = prepare_styles(
            settings,
            device,
            allow_download=allow_download,
            saved_sha256=saved.settings_sha256 if saved else None,
        )
        if clip:
            stylize_clip(setup, clip, config, overrides, started_at)
        elif content is None:
            stylize_folder(setup, config, overrides)
        else:
            job = prepare_job(setup, content)
            job = replace(job, channels=saved.channels) if saved else job
            stylize_image(job, saved, config, overrides, started_at)


def check_inputs(settings: StylizeSettings, overrides: list[str]) -> None:
    """Raise UsageError for missing images, or modes and keys that exclude each other."""
    if settings.reproduce and settings.score:
        raise UsageError("--reproduce and --score cannot be given together")
    if settings.explore and (settings.reproduce or settings.score):
        raise UsageError("--explore cannot be given with --reproduce or --score")
    if settings.content is None or not settings.styles:
        raise UsageError(
            "stylize needs a content image and a style image\n"
            "cnnlab stylize CONTENT STYLE... (-h shows more)"
        )
    if Path(settings.content).is_dir() and (
        settings.reproduce or settings.score or settings.explore
    ):
        flags = "--explore takes" if settings.explore else "--reproduce and --score take"
        raise UsageError(f"{printable(settings.content)} is a folder: {flags} one image")
    keys = {word.lstrip("+").partition("=")[0] for word in overrides}
    if settings.wrap and "margin" in keys and settings.margin:
        raise UsageError(
            f"wrap=true has no margin: the opposite side is beside each\n"
            f"leave out margin={settings.margin}, or wrap=true"
        )
    if "content_map_weight" in keys and not settings.content_map and not settings.reproduce:
        raise UsageError(
            "content_map_weight is of the white in content_map, which is not given\n"
            "add content_map=FILE"
        )
    for path in (*settings.mask_paths, *filter(None, [settings.content_map])):
        if not path_exists(Path(path)):
            raise CnnlabError(f"no file {printable(path)}")


def names_features(settings: StylizeSettings, overrides: list[str]) -> bool:
    """Return whether a network was requested by name, whose weights may then be downloaded."""
    return settings.features.get("name") != "auto" and any(
        word.startswith("features.name=") for word in overrides
    )


def stylize_image(
    job: TransferJob,
    saved: SavedTransfer | None,
    config: Config,
    overrides: list[str],
    started_at: float,
) -> None:
    """Stylize one image, or reproduce a saved one.

    Raises errors and Stopped after the image so far is saved.
    """
    settings = job.setup.settings
    out = resolve_output_path(
        job,
        expand_home(settings.out) if settings.out else None,
        Path(settings.reproduce) if settings.reproduce else None,
    )
    if saved:
        saved.check_matches(job)
    stream = sys.stderr if settings.json else sys.stdout
    print("\n".join(format_stylize_header(job, out)), file=stream, flush=True)
    steps = saved.steps if saved else job.steps_per_scale
    log = TransferLog(job, config, overrides, started_at)
    result = stylize_job(job, steps, out, log, Progress(stream), save_incomplete=True)
    if settings.json:
        print_json_result(result, log)
    else:
        print_stylize_result(job, result, log)
    check_completed(job, result)


def check_completed(job: TransferJob, result: StylizedImage) -> None:
    """Raise the error or the signal that ended an optimization early."""
    height, width = result.state.size
    path = printable(str(result.path))
    saved = f"the image so far is saved as {path}"
    if job.is_enlarged(result.state.size):
        saved += f", optimized at {width}x{height} and enlarged"
    if result.error:
        raise CnnlabError(f"{format_error(result.error)}; {saved}") from result.error
    if result.stop_signal and not result.is_complete:
        raise Stopped(f"stopped at step {result.state.total_steps}; {saved}", result.stop_signal)


def format_stylize_header(job: TransferJob, out: Path) -> list[str]:
    """Return the lines printed before an image is optimized."""
    setup = job.setup
    styles = ", ".join(printable(style.path.name) for style in setup.styles)
    height, width = job.size
    return [
        f"cnnlab stylize: {printable(job.content.path.name)} in the style of {styles}",
        *collect_image_notes(*setup.styles),
        *setup.encoder_notes,
        *list_job_notes(job, out),
        f"{setup.loaded_encoder.name}, {width}x{height} pixels, "
        f"device {describe_device(setup.device)}",
    ]


def print_json_result(result: StylizedImage, log: TransferLog) -> None:
    """Print a result as JSON."""
    numbers = {
        "image": str(result.path),
        "losses": result.record["losses"],
        "steps": result.steps,
        "seconds": monotonic() - log.started_at,
        "log": str(log.folder),
    }
    print(json.dumps(numbers), flush=True)


def print_stylize_result(job: TransferJob, result: StylizedImage, log: TransferLog) -> None:
    """Print losses, steps and paths of a result."""
    state, losses = result.state, result.record["losses"]
    meaning = describe_losses(job.setup.settings)
    print(f"\ncontent  {format_loss(losses['content']):<11} {meaning[0]}")
    print(f"style    {format_loss(losses['style']):<11} {meaning[1]}")
    cells = [f"{name} {format_loss(value):<10}" for name, value in losses["layers"].items()]
    for i in range(0, len(cells), LAYERS_PER_LINE):
        print("  " + " ".join(cells[i : i + LAYERS_PER_LINE]).rstrip())
    plural = "s" * (state.total_steps != 1)
    duration = format_duration(monotonic() - log.started_at)
    print(f"{state.total_steps} step{plural}, {duration} in total")
    for line in list_time_limits(job, state):
        print(line)
    print(f"\n{printable(str(result.path))}")
    print(f"TensorBoard:\ntensorboard --logdir {quote_argument(str(log.folder))}", flush=True)
