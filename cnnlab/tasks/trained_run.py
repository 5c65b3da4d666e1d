"""Load a trained run, its network and its images, for the commands that use one."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.core import checkpoint as checkpoints
from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.files import expand_home, resolve_outputs_folder
from cnnlab.core.hooks import disable_inplace
from cnnlab.core.link_safety import check_is_no_link
from cnnlab.core.precision import choose_eval_precision, use_precision
from cnnlab.core.quoting import printable, quote_argument
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import Config, call_checked
from cnnlab.data.augment import Pipeline
from cnnlab.data.build import (
    build_pipelines,
    compute_input_shape,
    load_dataset,
    load_train_and_validation,
)
from cnnlab.data.dataset import ImageSet, align_labels
from cnnlab.data.image_folder import explain_fingerprint
from cnnlab.engine.evaluate import average_views
from cnnlab.models import build_model, is_classifier, move_to_device
from cnnlab.tasks.train.settings import TrainSettings


def upgrade_run_config(config: Config, save_every_minutes: float | None = None) -> Config:
    """Return a run's configuration with all keys of this version.

    `save_every_minutes`: for a run of before that key. Raises UsageError for a key or a value that
    no run has.
    """
    added = {"resume": None, "save_every_minutes": save_every_minutes, "test": True}
    config = added | rename_keys("train", config)
    call_checked(TrainSettings, config, "")
    return config


def build_meta_model(model: Config, augment: Config, record: Config) -> nn.Module:
    """Return the network that a checkpoint's record describes, on the meta device.

    It allocates no memory, so that the checkpoint's tensors can be checked first.
    """
    pipeline = build_pipelines(augment).eval
    shape = compute_input_shape(pipeline, tuple(record["shape"]))
    with torch.device("meta"):
        return build_model(model, shape, len(record["classes"]))


def check_state_dict(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError for the first tensor that differs from the network's in name, shape or
    type."""
    expected = model.state_dict()
    for name in [*expected, *(name for name in tensors if name not in expected)]:
        if name not in expected:
            raise ValueError(f"{printable(name)} is not in this network")
        if name not in tensors:
            raise ValueError(f"{printable(name)} is missing")
        actual, target = describe_tensor(tensors[name]), describe_tensor(expected[name])
        if actual != target:
            raise ValueError(f"{name} is {actual}, and should be {target}")


def describe_tensor(tensor: Tensor) -> str:
    """Return a tensor's shape and type: `(3, 3) float32`."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def build_mismatch_error(path: Path, error: Exception) -> CnnlabError:
    """Return the error for a checkpoint whose tensors and description contradict each other."""
    return CnnlabError(
        f"{path} does not fit its own description: {printable(summarize_error(error))}"
    )


DESCRIPTION_ERRORS = (UsageError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

FormatEarlier = Callable[[Path], str]  # a checkpoint's file -> the override that selects it, or ""


def format_checkpoint_key(path: Path) -> str:
    """Return `checkpoint=STEP`, which selects a checkpoint of the run that a command takes."""
    return f"checkpoint={int(path.stem.removeprefix('step_'))}"


@dataclass(frozen=True)
class TrainedRun:
    """A run's network and what is needed to use it.

    `shape` is the data set's (depth, height, width); `data_fingerprint` is the digest of the user's
    own images that it was trained on, None for a published data set.
    """

    model: nn.Module
    preprocess: Pipeline
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    config: Config
    folder: Path
    step: int
    data_fingerprint: str | None

    @property
    def name(self) -> str:
        """The run's name, else its model's."""
        return str(self.config.get("name", self.config["model"]["name"]))

    @property
    def precision(self) -> str:
        """The precision of its predictions: that of the training where the device has it."""
        device = next(self.model.parameters()).device
        return choose_eval_precision(str(self.config.get("precision")), device)

    def use_precision(self) -> AbstractContextManager[object]:
        """Return a context of the precision of its predictions, for calls of `model`."""
        return use_precision(self.precision, next(self.model.parameters()).device)

    def choose_result_parent(self, verb: str, outputs: str) -> Path:
        """Return the folder for a command's results: RUN/`verb`, or `outputs`/`verb` where the run
        cannot be written to. Raises WriteFailed if RUN/`verb` is a link."""
        parent = self.folder / verb
        check_is_no_link(parent)
        is_writable = os.access(parent if parent.exists() else self.folder, os.W_OK | os.X_OK)
        return parent if is_writable else resolve_outputs_folder(outputs) / verb

    def prepare_input(self, images: Tensor) -> Tensor:
        """Return the network's input for (N, C, H, W) uint8 images, one view of each."""
        return self.preprocess.normalize(self.preprocess.apply_before_normalize(images))

    def __call__(self, images: Tensor) -> Tensor:
        """Return (N, K) class probabilities of (N, C, H, W) uint8 images."""
        device = next(self.model.parameters()).device
        with torch.inference_mode(), self.use_precision():
            logits = self.model(self.preprocess(images.to(device))).float()
            return average_views(logits, len(images)).softmax(1)


def load_run(
    run: str = "last",
    *,
    checkpoint: str | int = "result",
    device: str | torch.device = "cpu",
    outputs: str = "outputs",
    dataset: Mapping[str, Any] | None = None,
    format_earlier: FormatEarlier = format_checkpoint_key,
) -> TrainedRun:
    """Rebuild the classifier of a run from its checkpoint alone.

    `run`: a run folder, or a name that `find_run` takes. `checkpoint`: result (the one that train
    evaluated), last, best or a step. `dataset`: keys of the run's data set that have changed, such
    as `root` where its images have moved; null changes nothing. `format_earlier`: the override that
    selects another checkpoint, for the error of a damaged one. The weights are averaged where the
    run averages them. Raises UsageError if there is no such run or it is of a style network,
    CnnlabError if its checkpoint is missing or damaged.
    """
    folder = find_run(run, resolve_outputs_folder(outputs))
    path = find_run_checkpoint(folder, str(checkpoint), format_earlier)
    trained = load_trained_run(path, device, dataset, format_earlier)
    if not is_classifier(trained.config["model"]):
        raise UsageError(
            f"{printable(str(folder))} is a style network, not a classifier\n"
            f"apply it to an image: cnnlab stylize IMAGE {quote_argument(str(folder))}"
        )
    return trained


def load_trained_run(
    path: Path,
    device: str | torch.device = "cpu",
    dataset: Mapping[str, Any] | None = None,
    format_earlier: FormatEarlier = format_checkpoint_key,
) -> TrainedRun:
    """Rebuild the network of a run's checkpoint, a classifier or a style network, as `load_run`
    does. Raises CnnlabError if the file is missing or damaged."""
    try:
        with suggest_earlier(path, format_earlier):
            groups, record = checkpoints.load_checkpoint(path, str(device), ("model", "average"))
        config = upgrade_run_config(record["config"])
        config["dataset"] = change_dataset(config["dataset"], dataset or {})
        model = build_meta_model(config["model"], config["augment"], record)
        weights = groups.get("average") or groups["model"]
        check_state_dict(model, weights)
        model.load_state_dict(weights, assign=True)
        model = move_to_device(model, device, channels_last=bool(config.get("channels_last")))
        return TrainedRun(
            model=model.eval().requires_grad_(False),
            preprocess=build_pipelines(config["augment"]).eval,
            classes=tuple(record["classes"]),
            shape=tuple(record["shape"]),
            config=config,
            folder=path.parent.parent,
            step=record["step"],
            data_fingerprint=record.get("data"),
        )
    except DESCRIPTION_ERRORS as error:
        raise build_mismatch_error(path, error) from error


@contextmanager
def suggest_earlier(path: Path, format_earlier: FormatEarlier) -> Iterator[None]:
    """Add the override that selects the checkpoint before the one at `path` to errors here."""
    try:
        yield
    except CnnlabError as error:
        records = checkpoints.read_records(path.parent)
        names = {step: checkpoints.checkpoint_path(path.parent, step).name for step in records}
        earlier = [step for step, name in names.items() if name < path.name]
        if not earlier:
            raise
        hint = format_earlier(path.parent / names[earlier[-1]])
        if not hint:
            raise
        raise CnnlabError(f"{error};\n{hint} selects the one before") from error


def change_dataset(dataset: Config, changes: Mapping[str, Any]) -> Config:
    """Return a run's `dataset` configuration with other values where `changes` has them; a `root`
    becomes absolute."""
    changed = {key: value for key, value in changes.items() if value is not None}
    if isinstance(root := changed.get("root"), str):
        changed["root"] = str(expand_home(root).absolute())
    return dataset | changed


def check_images_exist(dataset: Config) -> None:
    """Raise CnnlabError, with the way to name another folder, where the user's own images are
    gone."""
    root = dataset.get("root")
    if dataset.get("name") == "folder" and root and not Path(root).is_dir():
        raise CnnlabError(
            f"the run's images are no longer in {printable(str(root))};\n"
            f"where they are now: dataset.root=FOLDER"
        )


def find_run_checkpoint(folder: Path, name: str, format_earlier: FormatEarlier) -> Path:
    """Return a run's checkpoint file: result, last, best or a step."""
    saved = folder / "checkpoints"
    if name != "result":
        return checkpoints.find_checkpoint(saved, name)
    path = checkpoints.find_checkpoint(saved, "last")
    try:
        with suggest_earlier(path, format_earlier):
            record = checkpoints.read_record(path)
        if record["config"].get("result") == "best":
            return checkpoints.find_checkpoint(saved, "best")
    except DESCRIPTION_ERRORS as error:
        raise build_mismatch_error(path, error) from error
    return path


def load_comparison_run(
    trained: TrainedRun, against: str, where: str, device: str | torch.device, outputs: str
) -> TrainedRun:
    """Load a second run to compare with the first on the same images, without in-place layers.

    Raises UsageError, naming `where`, if it takes images of another shape or has other classes.
    """
    # Its checkpoint cannot be selected.
    other = load_run(against, device=device, outputs=outputs, format_earlier=lambda path: "")
    if (other.shape, other.classes) != (trained.shape, trained.classes):
        raise UsageError(
            f"{where}: {printable(against)} takes images of another shape or has other classes"
        )
    disable_inplace(other.model)
    return other


def load_split(trained: TrainedRun, split: str) -> ImageSet:
    """Load the images of a split of the run's data set, labeled by the run's own classes.

    `split`: test, train or validation as the run split them, or trainval, both. Raises UsageError
    for a class that the run does not have, CnnlabError for images that were changed.
    """
    dataset = trained.config["dataset"]
    check_images_exist(dataset)
    if split in ("test", "trainval"):
        image_set = load_dataset(dataset, "test" if split == "test" else "train")
    else:
        train, validation = load_train_and_validation(dataset)
        image_set = train if split == "train" else validation
    image_set = align_labels(image_set, trained.classes)
    if image_set.fingerprint not in (None, trained.data_fingerprint):
        root, recorded = str(dataset.get("root")), trained.data_fingerprint
        raise CnnlabError(
            f"{explain_fingerprint(root, recorded, image_set.fingerprint)}:\n"
            f"a new split may contain images that the run was trained on;\n"
            f"a folder `test` beside `train` avoids this"
        )
    return image_set
