"""`cnnlab train`: from a configuration to a scored run."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnlab.core import checkpoint
from cnnlab.core.device import describe, environment, pick_device
from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.files import write_json
from cnnlab.core.progress import Progress, clock
from cnnlab.core.run import Run, new_folder
from cnnlab.core.runs import find_run
from cnnlab.core.schema import build, call
from cnnlab.data.batches import TrainingBatches, in_order
from cnnlab.data.sources import Pictures, hold_out
from cnnlab.engine.evaluate import answers
from cnnlab.engine.fit import NotFinite, Report, fit
from cnnlab.engine.metrics import brief, wilson
from cnnlab.engine.optim import OPTIMIZERS, Average, Optimizer, restore, state_tensors
from cnnlab.engine.schedule import SCHEDULES, Schedule
from cnnlab.models.layers import initialize
from cnnlab.tasks import parts
from cnnlab.viz.filters import filter_sheet, first_weights, picture_sheet

SNAPSHOTS = 10  # times in a run that pictures of filters and histograms of weights go to TensorBoard
FREE_ON_RESUME = ("device", "log_every", "outputs", "resume")  # what cannot change a run's numbers
AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """configs/train.yaml's keys and their types."""

    name: str
    dataset: parts.Config
    augment: parts.Config
    model: parts.Config
    optim: parts.Config
    schedule: parts.Config
    seed: int
    epochs: int
    batch_size: int
    eval_batch_size: int
    label_smoothing: float
    clip_norm: float | None
    ema_decay: float | None
    early_stop_epochs: int | None
    result: Literal["last", "best"]
    device: str
    precision: Literal["float32", "bfloat16"]
    compile: bool
    channels_last: bool
    deterministic: bool
    log_every: int
    outputs: str
    resume: str | None

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "eval_batch_size", "log_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")
        if "/" in self.name or not self.name.strip("."):
            raise ValueError(f"name must be usable in a folder's name, not {self.name!r}")


@dataclass
class Bench:
    """The parts of a training, introduced to each other."""

    settings: Settings
    device: torch.device
    train: TrainingBatches
    validation: Pictures
    pipelines: parts.Pipelines
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    average: Average | None
    steps: int

    @property
    def judged(self) -> nn.Module:
        """The network whose scores count: the average of the weights where there is one."""
        return self.average.model if self.average else self.model

    def score(self, pictures: Pictures) -> dict[str, float]:
        """Accuracy, error and loss on pictures of any split."""
        batches = in_order(pictures, self.pipelines.eval, batch_size=self.settings.eval_batch_size)
        return brief(*answers(self.judged, batches))


def assemble(settings: Settings) -> Bench:
    """Build every part from the configuration. Raises UsageError before anything is written."""
    device = pick_device(settings.device)
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.manual_seed(settings.seed)
    made = parts.pipelines(settings.augment)
    data = parts.data_settings(settings.dataset)
    pictures = parts.load_pictures(settings.dataset, "train")
    train, validation = hold_out(pictures, count=data.validation, seed=data.split_seed)
    batches = TrainingBatches(train.to(device), made.train, batch_size=settings.batch_size, seed=settings.seed)
    model = parts.build_model(settings.model, parts.input_shape(made.eval, train.shape), len(train.classes))
    initialize(model, torch.Generator().manual_seed(settings.seed))
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    model = model.to(device, memory_format=layout)
    average = Average(model, settings.ema_decay) if settings.ema_decay is not None else None
    optimizer = build(OPTIMIZERS, settings.optim, "optim", model.parameters())
    steps = settings.epochs * len(batches)
    schedule = build(SCHEDULES, settings.schedule, "schedule", steps, len(batches))
    if settings.compile:
        model.compile()
    return Bench(settings, device, batches, validation.to(device), made, model, optimizer, schedule, average, steps)


def run(config: parts.Config, overrides: list[str]) -> float:
    """Train, score and write it all down; returns the validation accuracy, for sweepers."""
    settings = call(Settings, config, "")
    saved: tuple[checkpoint.Groups, dict[str, Any]] | None = None
    if settings.resume is not None:
        folder, settings, saved = reopen(settings, overrides)
    bench = assemble(settings)
    if saved is None:
        folder = new_folder(Path(settings.outputs) / "train", settings.name)
    introduce(bench, folder)
    return train(bench, folder, saved, overrides)


def reopen(settings: Settings, overrides: list[str]) -> tuple[Path, Settings, tuple[checkpoint.Groups, dict[str, Any]]]:
    """The run to go on with: its folder, its own settings, its last checkpoint."""
    folder = find_run(settings.resume or "", Path(settings.outputs))
    given = {word.lstrip("+~").split("=", 1)[0] for word in overrides}
    if refused := sorted(given - set(FREE_ON_RESUME)):
        raise UsageError(f"{refused[0]} cannot change when a run resumes; free are {', '.join(FREE_ON_RESUME)}")
    saved = checkpoint.load(checkpoint.find(folder / "checkpoints", "last"))
    config = saved[1]["config"] | {key: getattr(settings, key) for key in given}
    own = call(Settings, config, str(folder))
    if saved[1]["step"] >= saved[1]["steps"]:
        raise UsageError(f"{folder} is finished; `cnnlab eval {folder}` scores it, `cnnlab train` begins anew")
    return folder, own, saved


def introduce(bench: Bench, folder: Path) -> None:
    """The first lines: what trains on what, where, and how much of it."""
    parameters = sum(p.numel() for p in bench.model.parameters())
    s = bench.settings
    print(f"cnnlab train: {s.model['name']} on {s.dataset['name']}, device {describe(bench.device)}")
    print(
        f"{parameters:,} parameters; {len(bench.train.pictures):,} pictures to train on, {len(bench.validation):,} to "
        f"validate; {s.epochs} epochs of {len(bench.train):,} steps\n{folder}",
        flush=True,
    )


def train(bench: Bench, folder: Path, saved: Any, overrides: list[str]) -> float:
    """Run the loop and keep what it reports, from the beginning or from a checkpoint."""
    done, elapsed_s = put_back(bench, saved) if saved else (0, 0.0)
    run = Run(folder, elapsed_s=elapsed_s, purge_step=done + 1 if saved else None)
    try:
        if saved:
            run.cut(done)
        else:
            run.describe(asdict(bench.settings), overrides, environment(bench.device) | {"seed": bench.settings.seed})
        run.state("running", steps=bench.steps)
        if not saved:
            begin(run, bench)
        validation = watch(run, bench, done)
        finish(run, bench, validation)
    except NotFinite as error:
        run.state("failed", reason=str(error))
        raise not_finite(error, bench, run) from error
    except KeyboardInterrupt:
        run.state("interrupted")
        raise
    except BaseException as error:
        run.state("failed", reason=str(error))
        raise
    finally:
        run.close()
    return validation["accuracy"]


def watch(run: Run, bench: Bench, done: int) -> dict[str, float]:
    """Go through the loop's reports; at each epoch's end validate and save. Returns the last validation scores."""
    progress, best, best_epoch, validation = Progress(), -1.0, 0, {}
    for report in loop(bench, done):
        run.elapsed_s += report.seconds
        log(run, report)
        if report.epoch_ended:
            validation = bench.score(bench.validation)
            run.scalars("validation", validation, report.step)
            snapshot(run, bench, report)
            save(run, bench, report.step, validation)
            if validation["accuracy"] > best:
                best, best_epoch = validation["accuracy"], report.epoch
        progress.show(line(report, bench, validation, progress.live), keep=report.epoch_ended)
        patience = bench.settings.early_stop_epochs
        if patience is not None and report.epoch_ended and report.epoch - best_epoch >= patience:
            progress.end()
            print(f"stopped early: no better validation accuracy in {patience} epochs")
            break
    progress.end()
    return validation


def loop(bench: Bench, done: int) -> Iterator[Report]:
    """The engine's loop on this bench."""
    s = bench.settings
    return fit(
        bench.model, bench.train, bench.optimizer, bench.schedule, steps=bench.steps, done=done, average=bench.average,
        label_smoothing=s.label_smoothing, clip_norm=s.clip_norm, autocast=AUTOCAST[s.precision], log_every=s.log_every,
    )  # fmt: skip


def begin(run: Run, bench: Bench) -> None:
    """Before the first step: pictures as the network sees them, and the filters as they begin."""
    pictures, _ = next(bench.train.epoch(0))
    run.writer.add_image("pictures/as_the_network_sees_them", picture_sheet(pictures), 0, dataformats=sheet_format(pictures))
    weights = first_weights(bench.model, tuple(pictures.shape[1:]))
    if weights is not None:
        run.keep_filters(weights, 0)


def sheet_format(pictures: Tensor) -> str:
    return "HW" if pictures.shape[1] == 1 else "HWC"


def log(run: Run, report: Report) -> None:
    """The loop's means to TensorBoard and metrics.jsonl."""
    values = {"loss": report.loss, "accuracy": report.accuracy, "gradient_norm": report.gradient_norm}
    speed = {"learning_rate": report.lr, "pictures_per_s": report.pictures / max(report.seconds, 1e-9)}
    run.scalars("train", values | speed, report.step)


def snapshot(run: Run, bench: Bench, report: Report) -> None:
    """Keep the first layer's filters; ten times in a run, show them and the weights' distributions."""
    epoch, epochs = report.epoch + 1, bench.settings.epochs
    shape = parts.input_shape(bench.pipelines.eval, bench.validation.shape)
    weights = first_weights(bench.judged, shape)
    if weights is not None:
        run.keep_filters(weights, epoch)
    if epoch * SNAPSHOTS // epochs == (epoch - 1) * SNAPSHOTS // epochs:
        return
    run.histograms(dict(bench.judged.named_parameters()), report.step)
    if weights is not None:
        sheet = filter_sheet(weights)
        run.writer.add_image("filters/first_layer", sheet, report.step, dataformats="HW" if sheet.ndim == 2 else "HWC")


def save(run: Run, bench: Bench, step: int, validation: dict[str, float]) -> None:
    """All that it takes to go on from here, or to use the network, in one file."""
    groups = {"model": bench.model.state_dict(), "optimizer": state_tensors(bench.optimizer), "rng": generators(bench.device)}
    record = {
        "config": asdict(bench.settings) | {"resume": None},
        "classes": list(bench.validation.classes),
        "shape": list(bench.validation.shape),
        "step": step,
        "steps": bench.steps,
        "elapsed_s": run.elapsed_s,
        "validation": validation,
    }
    if bench.average:
        groups["average"] = bench.average.model.state_dict()
        record["average_updates"] = bench.average.updates
    checkpoint.save(checkpoint.path_at(run.checkpoints, step), groups, record)
    checkpoint.prune(run.checkpoints)


def generators(device: torch.device) -> dict[str, Tensor]:
    """The state of the random generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def put_back(bench: Bench, saved: tuple[checkpoint.Groups, dict[str, Any]]) -> tuple[int, float]:
    """A checkpoint's state into the parts; returns the steps done and the seconds they took."""
    groups, record = saved
    try:
        bench.model.load_state_dict(groups["model"])
        restore(bench.optimizer, groups.get("optimizer", {}))
        if bench.average:
            bench.average.model.load_state_dict(groups["average"])
            bench.average.updates = record["average_updates"]
        torch.set_rng_state(groups["rng"]["cpu"])
        if "cuda" in groups["rng"] and bench.device.type == "cuda":
            torch.cuda.set_rng_state(groups["rng"]["cuda"], bench.device)
        return int(record["step"]), float(record["elapsed_s"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CnnlabError(f"the checkpoint does not fit its own description: {str(error).splitlines()[0]}") from error


def line(report: Report, bench: Bench, validation: dict[str, float], short: bool) -> str:
    """Where the run stands, in under 80 columns."""
    speed = report.pictures / max(report.seconds, 1e-9)
    left = clock((bench.steps - report.step) * bench.train.batch_size / speed)
    epochs = f"epoch {report.epoch + 1}/{bench.settings.epochs}"
    words = [epochs, f"step {report.step}", f"loss {report.loss:.4f}", f"acc {report.accuracy:.2%}"]
    if validation and not short:
        words.append(f"validation {validation['accuracy']:.2%}")
    return "  ".join([*words, f"{speed:,.0f} pictures/s", f"{left} left"])


def finish(run: Run, bench: Bench, validation: dict[str, float]) -> None:
    """Score the result on the test set, once, and say what to type next."""
    saved = run.checkpoints
    path = checkpoint.find(saved, bench.settings.result)
    groups, record = checkpoint.load(path, str(bench.device), ("model", "average"))
    bench.judged.load_state_dict(groups.get("average") or groups["model"])
    test = bench.score(parts.load_pictures(bench.settings.dataset, "test").to(bench.device))
    total = len(parts.load_pictures(bench.settings.dataset, "test"))
    low, high = wilson(round(test["accuracy"] * total), total)
    run.scalars("test", test, int(record["step"]))
    final = {f"final/validation_{k}": v for k, v in record["validation"].items()} | {f"final/test_{k}": v for k, v in test.items()}
    run.hyperparameters(flat(asdict(bench.settings)), final)
    result = {"checkpoint": path.name, "step": record["step"], "validation": record["validation"], "test": test, "seconds": run.elapsed_s}
    write_json(run.folder / "result.json", result)
    run.state("finished")
    print(f"\n{'':12}{'accuracy':>10}{'loss':>10}   pictures")
    print(f"{'validation':12}{record['validation']['accuracy']:>10.2%}{record['validation']['loss']:>10.4f}   {len(bench.validation):,}")
    print(f"{'test':12}{test['accuracy']:>10.2%}{test['loss']:>10.4f}   {total:,} (95 % interval {low:.2%} to {high:.2%})")
    print(f"{clock(run.elapsed_s)} of training, step {record['step']:,}\n")
    print(f"run      {run.folder}\nlook     tensorboard --logdir {run.folder}\nscore    cnnlab eval {run.folder}")


def flat(config: parts.Config, path: str = "") -> dict[str, Any]:
    """Nested settings -> {"optim.lr": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def not_finite(error: NotFinite, bench: Bench, run: Run) -> CnnlabError:
    """Which batch it was, and what is still good."""
    indices = bench.train.indices(error.step)
    there = checkpoint.steps(run.checkpoints)
    good = f"the last good checkpoint is {checkpoint.path_at(run.checkpoints, there[-1])}" if there else "no checkpoint yet"
    first = ", ".join(map(str, indices[:8]))
    write_json(run.folder / "not_finite.json", {"step": error.step, "indices": indices})
    return CnnlabError(f"{error}: training pictures {first}, ... (all {len(indices)} in {run.folder}/not_finite.json); {good}")
