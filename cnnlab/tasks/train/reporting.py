"""What `train` prints and writes when a run begins and when it ends."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.device import describe_device
from cnnlab.core.files import write_json
from cnnlab.core.predictions import write_predictions
from cnnlab.core.progress import format_duration
from cnnlab.core.provenance import collect_environment
from cnnlab.core.run import Run
from cnnlab.core.schema import flatten_config
from cnnlab.data.build import load_dataset
from cnnlab.data.dataset import ImageSet
from cnnlab.engine.metrics import compute_summary_metrics, wilson_interval
from cnnlab.tasks.train.trainer import Trainer
from cnnlab.viz.weight_images import get_first_layer_weights, make_image_sheet

# What runs are not compared by, in TensorBoard's table of hyper-parameters.
NON_HPARAM_KEYS = (
    *(
        "augment.eval.",
        "augment.preview",
        "dataset.light_on_dark",
        "dataset.mean",
        "dataset.root",
        "dataset.std",
    ),
    *(
        "device",
        "eval_batch_size",
        "init",
        "log_every",
        "outputs",
        "resume",
        "save_every_minutes",
        "validate_every",
    ),
)


def print_train_header(training: Trainer, folder: Path, done: int) -> None:
    """The first lines: what trains on what, where, and how much of it."""
    s, parameters = training.settings, sum(p.numel() for p in training.model.parameters())
    print(
        f"cnnlab train: {s.model['name']} on {s.dataset['name']}, device {describe_device(training.device)}"
    )
    print(
        f"{parameters:,} parameters; {len(training.train_batches.images):,} pictures to train on, "
        f"{len(training.validation_set):,} to validate;\n{s.epochs} epochs of {len(training.train_batches):,} steps"
        + (f", going on after step {done:,}" if done else "")
    )
    print(folder, flush=True)


def record_start(run: Run, training: Trainer, overrides: list[str], done: int) -> None:
    """Write what the run is; before the first step, the pictures as the network sees them and its filters."""
    if done:
        run.truncate_after(done)
        run.record_resume(
            asdict(training.settings), overrides, collect_environment(training.device), done
        )
    else:
        run.write_settings(
            asdict(training.settings), overrides, collect_environment(training.device)
        )
    run.set_status("running")
    if not done:
        pictures, _ = next(training.train_batches.iterate_epoch(0))
        run.log_image("pictures/as_the_network_sees_them", make_image_sheet(pictures), 0)
        weights = get_first_layer_weights(training.model, training.input_shape)
        if weights is not None:
            run.save_filters(weights, 0)


def finish_run(run: Run, training: Trainer) -> float:
    """Score the result on the test set, once, and say what to type next; returns the validation accuracy."""
    path = checkpoint.find_checkpoint(run.checkpoints, training.settings.result)
    groups, record = checkpoint.load_checkpoint(path, str(training.device), ("model", "average"))
    training.eval_model.load_state_dict(groups.get("average") or groups["model"])
    pictures = load_dataset(training.settings.dataset, "test").to(training.device)
    logits, labels = training.predict_logits(pictures)
    write_predictions(run.folder / "test.safetensors", logits, labels)
    test = compute_summary_metrics(logits, labels)
    validation = record["validation"] or training.evaluate(
        training.validation_set
    )  # of a run made to end between two
    run.log_scalars("test", test, record["step"])
    both = {"validation": validation, "test": test}
    final = {
        f"final/{split}_{k}": scores[k]
        for split, scores in both.items()
        for k in ("accuracy", "loss")
    }
    settings = flatten_config(asdict(training.settings))
    run.log_hyperparameters(
        {k: v for k, v in settings.items() if not k.startswith(NON_HPARAM_KEYS)}, final
    )
    result = {"checkpoint": path.name, "step": record["step"], "seconds": run.elapsed_s, **both}
    write_json(run.folder / "result.json", result)
    run.set_status("finished")
    print_train_result(run, training, pictures, result)
    return validation["accuracy"]


def print_train_result(
    run: Run, training: Trainer, pictures: ImageSet, result: dict[str, Any]
) -> None:
    """The last lines: scores, and what to type next."""
    low, high = wilson_interval(round(result["test"]["accuracy"] * len(pictures)), len(pictures))
    counts = {"validation": f"{len(training.validation_set):,}", "test": f"{len(pictures):,}"}
    print(f"\n{'':12}{'accuracy':>10}{'loss':>10}{'pictures':>11}")
    for split, count in counts.items():
        print(
            f"{split:12}{result[split]['accuracy']:>10.2%}{result[split]['loss']:>10.4f}{count:>11}"
        )
    print(f"test accuracy's 95 % interval: {low:.2%} to {high:.2%}")
    print(f"step {result['step']:,} after {format_duration(run.elapsed_s)} of training\n")
    folder = shlex.quote(str(run.folder))
    print(
        f"score it    cnnlab eval {folder}\nlook at it  tensorboard --logdir {folder}", flush=True
    )
