"""The scores of a run that is finished, and the commands that train further."""

import math
from pathlib import Path

from cnnlab.core.display_text import count_noun
from cnnlab.core.errors import UsageError
from cnnlab.core.files import read_json
from cnnlab.core.run_index import read_run_state, require_accuracy
from cnnlab.core.schema import Config
from cnnlab.tasks.train.next_commands import format_new_run_command, format_resume_command
from cnnlab.tasks.train.resume import SavedCheckpoint, keeps_learning_rates
from cnnlab.tasks.train.settings import TrainSettings


def read_final_accuracies(
    settings: TrainSettings, saved: SavedCheckpoint
) -> dict[str, float] | None:
    """Return {split: accuracy} of a finished run; None if it must train on or be evaluated again.

    It must be evaluated again where the files that hold its scores are missing or damaged. Raises
    UsageError for more epochs of a run that would still stop early.
    """
    folder, earlier = saved.folder, saved.record["config"]
    if read_run_state(folder) != "finished":
        return None
    has_more_epochs = settings.epochs > earlier["epochs"]
    if saved.has_stopped_early:
        if get_patience(settings.early_stop_epochs) > get_patience(earlier["early_stop_epochs"]):
            return None
        if has_more_epochs:
            raise UsageError(
                f"the run stopped early after step {saved.step:,}: more epochs change nothing;\n"
                f"more patience does: early_stop_epochs=N above "
                f"{earlier['early_stop_epochs']}, or null"
            )
    elif has_more_epochs:
        return None
    splits = ("validation", "test") if settings.test else ("validation",)
    if settings.test and not (folder / "test.safetensors").is_file():
        return None
    try:
        result = read_json(folder / "result.json")
        return {split: require_accuracy(result[split]) for split in splits}
    except (KeyError, TypeError):
        return None


def get_patience(early_stop_epochs: int | None) -> float:
    """Return the epochs without improvement after which a run stops; infinite for null."""
    return math.inf if early_stop_epochs is None else early_stop_epochs


def print_finished_run(
    dataset: Config, saved: SavedCheckpoint, accuracies: dict[str, float]
) -> None:
    """Print a finished run's scores, and the commands that train further, as far as there are.

    `dataset` has the folder where the images are now.
    """
    config, root = saved.record["config"], dataset.get("root")
    has_moved = root != config["dataset"].get("root")
    resume = format_resume_command(saved.folder, root if has_moved else None)
    epochs = config["epochs"]
    scores = ", ".join(f"{split} {accuracy:.2%}" for split, accuracy in accuracies.items())
    lines = [f"{saved.folder} is finished: {count_noun(epochs, 'epoch')}, {scores}"]
    if saved.has_stopped_early:
        patience = count_noun(config["early_stop_epochs"], "epoch")
        lines[0] = (
            f"{saved.folder} stopped early after step {saved.step:,} of "
            f"{saved.record['steps']:,}, {patience} without improvement: {scores}"
        )
    has_images = root is None or Path(root).is_dir()
    if has_images and saved.has_stopped_early:
        lines.append(f"train longer: {resume} early_stop_epochs=null")
    elif has_images and keeps_learning_rates(config["schedule"], saved.record, 2 * epochs):
        lines.append(f"train longer: {resume} epochs={2 * epochs}")
    if command := format_new_run_command(saved.folder, root):
        lines.append(f"new run from its weights: {command}")
    print("\n".join(lines), flush=True)
