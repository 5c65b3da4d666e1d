"""What `train` prints and writes when a run begins and when it ends."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.device import describe
from cnnlab.core.files import write_json
from cnnlab.core.predictions import write_answers
from cnnlab.core.progress import clock
from cnnlab.core.provenance import environment
from cnnlab.core.run import Run
from cnnlab.core.schema import flat
from cnnlab.data.build import load_pictures
from cnnlab.data.dataset import PictureSet
from cnnlab.engine.metrics import brief, wilson
from cnnlab.tasks.train.trainer import Training
from cnnlab.viz.weight_images import first_weights, picture_sheet

# What runs are not compared by, in TensorBoard's table of hyper-parameters.
NOT_TUNED = (
    *("augment.eval.", "augment.preview", "dataset.light_on_dark", "dataset.mean", "dataset.root", "dataset.std"),
    *("device", "eval_batch_size", "init", "log_every", "outputs", "resume", "save_every_minutes", "validate_every"),
)


def introduce(training: Training, folder: Path, done: int) -> None:
    """The first lines: what trains on what, where, and how much of it."""
    s, parameters = training.settings, sum(p.numel() for p in training.model.parameters())
    print(f"cnnlab train: {s.model['name']} on {s.dataset['name']}, device {describe(training.device)}")
    print(
        f"{parameters:,} parameters; {len(training.train.pictures):,} pictures to train on, "
        f"{len(training.validation):,} to validate;\n{s.epochs} epochs of {len(training.train):,} steps"
        + (f", going on after step {done:,}" if done else "")
    )
    print(folder, flush=True)


def begin(run: Run, training: Training, overrides: list[str], done: int) -> None:
    """Write what the run is; before the first step, the pictures as the network sees them and its filters."""
    if done:
        run.cut(done)
        run.resumed(asdict(training.settings), overrides, environment(training.device), done)
    else:
        run.describe(asdict(training.settings), overrides, environment(training.device))
    run.state("running")
    if not done:
        pictures, _ = next(training.train.epoch(0))
        run.sheet("pictures/as_the_network_sees_them", picture_sheet(pictures), 0)
        weights = first_weights(training.model, training.input_shape)
        if weights is not None:
            run.keep_filters(weights, 0)


def finish(run: Run, training: Training) -> float:
    """Score the result on the test set, once, and say what to type next; returns the validation accuracy."""
    path = checkpoint.find(run.checkpoints, training.settings.result)
    groups, record = checkpoint.load(path, str(training.device), ("model", "average"))
    training.judged.load_state_dict(groups.get("average") or groups["model"])
    pictures = load_pictures(training.settings.dataset, "test").to(training.device)
    logits, labels = training.answers(pictures)
    write_answers(run.folder / "test.safetensors", logits, labels)
    test = brief(logits, labels)
    validation = record["validation"] or training.score(training.validation)  # of a run made to end between two
    run.scalars("test", test, record["step"])
    both = {"validation": validation, "test": test}
    final = {f"final/{split}_{k}": scores[k] for split, scores in both.items() for k in ("accuracy", "loss")}
    settings = flat(asdict(training.settings))
    run.hyperparameters({k: v for k, v in settings.items() if not k.startswith(NOT_TUNED)}, final)
    result = {"checkpoint": path.name, "step": record["step"], "seconds": run.elapsed_s, **both}
    write_json(run.folder / "result.json", result)
    run.state("finished")
    conclude(run, training, pictures, result)
    return validation["accuracy"]


def conclude(run: Run, training: Training, pictures: PictureSet, result: dict[str, Any]) -> None:
    """The last lines: scores, and what to type next."""
    low, high = wilson(round(result["test"]["accuracy"] * len(pictures)), len(pictures))
    counts = {"validation": f"{len(training.validation):,}", "test": f"{len(pictures):,}"}
    print(f"\n{'':12}{'accuracy':>10}{'loss':>10}{'pictures':>11}")
    for split, count in counts.items():
        print(f"{split:12}{result[split]['accuracy']:>10.2%}{result[split]['loss']:>10.4f}{count:>11}")
    print(f"test accuracy's 95 % interval: {low:.2%} to {high:.2%}")
    print(f"step {result['step']:,} after {clock(run.elapsed_s)} of training\n")
    folder = shlex.quote(str(run.folder))
    print(f"score it    cnnlab eval {folder}\nlook at it  tensorboard --logdir {folder}", flush=True)
