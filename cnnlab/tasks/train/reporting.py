"""What `cnnlab train` prints and writes when a run starts and when it ends."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnnlab.core import checkpoint
from cnnlab.core.device import describe_device
from cnnlab.core.display_text import count_noun
from cnnlab.core.files import write_json
from cnnlab.core.hooks import get_first_layer_weights
from cnnlab.core.predictions import write_predictions
from cnnlab.core.progress import format_duration
from cnnlab.core.provenance import collect_environment
from cnnlab.core.quoting import quote_argument
from cnnlab.core.run import Run
from cnnlab.data.build import load_dataset
from cnnlab.data.dataset import ImageSet
from cnnlab.data.folder_report import describe_absent_classes, describe_folder_images
from cnnlab.engine.metrics import compute_summary_metrics, wilson_interval
from cnnlab.models import is_classifier
from cnnlab.tasks.train.settings import select_compared_settings
from cnnlab.tasks.train.speed_trial import suggest_precision
from cnnlab.tasks.train.trainer import Trainer
from cnnlab.viz.weight_images import make_image_sheet


def print_train_header(trainer: Trainer, folder: Path, start_step: int) -> None:
    """Print model, data, device, the length of the run, its folder, and own images by class."""
    settings = trainer.settings
    model, dataset = settings.model["name"], settings.dataset["name"]
    num_parameters = sum(param.numel() for param in trainer.model.parameters())
    num_train, num_validation = len(trainer.train_batches.images), len(trainer.validation_set)
    resumed = f", resuming after step {start_step:,}" if start_step else ""
    print(
        f"cnnlab train: {model} on {dataset}, device {describe_device(trainer.device)}\n"
        f"{num_parameters:,} parameters; {count_noun(num_train, 'training image')}, "
        f"{count_noun(num_validation, 'validation image')}\n"
        f"{count_noun(settings.epochs, 'epoch')} of "
        f"{count_noun(len(trainer.train_batches), 'step')}{resumed}\n"
        f"{folder}",
        *describe_folder_images(trainer.train_batches.images, trainer.validation_set),
        sep="\n",
        flush=True,
    )


def print_precision_suggestion(trainer: Trainer) -> None:
    """Print with which precision the training would be faster, if there is one."""
    line = suggest_precision(
        trainer.settings,
        trainer.model,
        trainer.input_shape,
        trainer.train_batches.batch_size,
        trainer.device,
    )
    if line:
        print(line, flush=True)


def record_start(run: Run, trainer: Trainer, overrides: list[str], start_step: int) -> None:
    """Write settings and environment; before the first step, a batch of images and the filters."""
    settings, environment = asdict(trainer.settings), collect_environment(trainer.device)
    if start_step:
        run.truncate_after(start_step)
        run.record_resume(settings, overrides, environment, start_step)
    else:
        run.write_settings(settings, overrides, environment)
    run.set_status("running")
    if not start_step:
        images, _ = next(trainer.train_batches.iterate_epoch(0))
        run.log_image("images/as_the_network_sees_them", make_image_sheet(images), 0)
        weights = get_first_layer_weights(trainer.model, trainer.input_shape)
        if weights is not None:
            run.save_filters(weights, 0)


def finish_run(run: Run, trainer: Trainer) -> float:
    """Evaluate the result, write and print it; return what sweepers optimize: the validation
    accuracy, of a style network the validation loss."""
    if is_classifier(trainer.settings.model):
        return finish_classifier_run(run, trainer)
    return finish_style_run(run, trainer)


def finish_style_run(run: Run, trainer: Trainer) -> float:
    """Write and print a style network's scores on the validation images; return their loss."""
    path = checkpoint.find_checkpoint(run.checkpoints, "last")
    record = checkpoint.read_record(path)
    scores = record["validation"] or trainer.evaluate(trainer.validation_set)
    result = {"checkpoint": path.name, "step": record["step"], "seconds": run.elapsed_s}
    write_json(run.folder / "result.json", result | {"validation": scores})
    compared = select_compared_settings(asdict(trainer.settings))
    final = {f"final/validation_{name}": value for name, value in scores.items()}
    run.log_hyperparameters(compared | {"seed": trainer.settings.seed}, final)
    run.set_status("finished")
    folder, num_images = quote_argument(str(run.folder)), len(trainer.validation_set)
    print(f"\n{count_noun(num_images, 'validation image')}:")
    print("  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    print(f"step {record['step']:,} after {format_duration(run.elapsed_s)} of training\n")
    print(f"stylize:      cnnlab stylize PHOTO.jpg {folder}")
    print(f"TensorBoard:  tensorboard --logdir {folder}", flush=True)
    return scores["loss"]


def finish_classifier_run(run: Run, trainer: Trainer) -> float:
    """Evaluate the result, on the test set too unless `test=false`, write and print it; return the
    validation accuracy."""
    path = checkpoint.find_checkpoint(run.checkpoints, trainer.settings.result)
    groups, record = checkpoint.load_checkpoint(path, str(trainer.device), ("model", "average"))
    trainer.eval_model.load_state_dict(groups.get("average") or groups["model"])
    # A run that was shortened by epochs= may end where it was not validated.
    validation = record["validation"] or trainer.evaluate(trainer.validation_set)
    image_sets, scores = {"validation": trainer.validation_set}, {"validation": validation}
    if trainer.settings.test:
        image_sets["test"] = load_dataset(trainer.settings.dataset, "test").to(trainer.device)
        logits, labels = trainer.predict_logits(image_sets["test"])
        write_predictions(run.folder / "test.safetensors", logits, labels)
        scores["test"] = compute_summary_metrics(logits, labels)
    log_final_scores(run, trainer, scores, record["step"])
    result = {"checkpoint": path.name, "step": record["step"], "seconds": run.elapsed_s, **scores}
    write_json(run.folder / "result.json", result)
    run.set_status("finished")
    print_train_result(run, image_sets, result)
    return validation["accuracy"]


def log_final_scores(
    run: Run, trainer: Trainer, scores: dict[str, dict[str, float]], step: int
) -> None:
    """Write the test scores if there are any, and settings and scores for TensorBoard's HPARAMS
    page."""
    if "test" in scores:
        run.log_scalars("test", scores["test"], step)
    final = {
        f"final/{split}_{metric}": values[metric]
        for split, values in scores.items()
        for metric in ("accuracy", "loss")
    }
    compared = select_compared_settings(asdict(trainer.settings))
    run.log_hyperparameters(compared | {"seed": trainer.settings.seed}, final)


def print_train_result(run: Run, image_sets: dict[str, ImageSet], result: dict[str, Any]) -> None:
    """Print the scores, which classes they leave out, and the commands to type next."""
    folder = quote_argument(str(run.folder))
    print(f"\n{'':12}{'accuracy':>10}{'loss':>10}{'images':>11}")
    for split, images in image_sets.items():
        scores = result[split]
        print(f"{split:12}{scores['accuracy']:>10.2%}{scores['loss']:>10.4f}{len(images):>11,}")
    split, images = list(image_sets.items())[-1]
    low, high = wilson_interval(round(result[split]["accuracy"] * len(images)), len(images))
    print(f"95% confidence interval of the {split} accuracy: {low:.2%} to {high:.2%}")
    for split, images in image_sets.items():
        for line in describe_absent_classes(images, split):
            print(line)
    print(f"step {result['step']:,} after {format_duration(run.elapsed_s)} of training\n")
    print(f"evaluate:     cnnlab eval {folder}")
    print(f"TensorBoard:  tensorboard --logdir {folder}", flush=True)
