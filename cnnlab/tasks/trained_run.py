"""From plain configuration to parts: what several verbs build in the same way."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnlab.core import checkpoint as checkpoints
from cnnlab.core.errors import CnnlabError, UsageError, summarize_error
from cnnlab.core.files import resolve_outputs_folder
from cnnlab.core.hooks import disable_inplace
from cnnlab.core.quoting import printable
from cnnlab.core.renamed_keys import rename_keys
from cnnlab.core.run_index import find_run
from cnnlab.core.schema import Config
from cnnlab.data.augment import Pipeline
from cnnlab.data.build import (
    build_pipelines,
    compute_input_shape,
    load_dataset,
    load_train_and_validation,
)
from cnnlab.data.dataset import ImageSet, align_labels
from cnnlab.engine.evaluate import average_views
from cnnlab.models import build_model, move_to_device


def build_meta_model(model: Config, augment: Config, record: Config) -> nn.Module:
    """The network that a checkpoint's record describes, its weights without memory: whatever the record says, nothing
    is allocated before its tensors were held against it."""
    pipeline = build_pipelines(augment).eval
    shape = compute_input_shape(pipeline, tuple(record["shape"]))
    with torch.device("meta"):
        return build_model(model, shape, len(record["classes"]))


def check_state_dict(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raises ValueError, naming the first, where tensors are not those of a network in name, shape or type."""
    ours = model.state_dict()
    for name in [*ours, *(name for name in tensors if name not in ours)]:
        mine, theirs = ours.get(name), tensors.get(name)
        if mine is None or theirs is None:
            raise ValueError(
                f"{printable(name)} is {'not of this network' if mine is None else 'missing'}"
            )
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            what = [
                f"{tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}"
                for one in (theirs, mine)
            ]
            raise ValueError(f"{name} is {what[0]}, and should be {what[1]}")


def build_mismatch_error(path: Path, error: Exception) -> CnnlabError:
    """A checkpoint whose parts contradict each other."""
    return CnnlabError(
        f"{path} does not fit its own description: {printable(summarize_error(error))}"
    )


@dataclass(frozen=True)
class TrainedRun:
    """A run's network and what it takes to use it. `shape` is the data set's (depth, height, width)."""

    model: nn.Module
    preprocess: Pipeline
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    config: Config
    folder: Path
    step: int
    data_fingerprint: (
        str | None
    )  # the fingerprint of the images that it trained on, where they are the user's

    @property
    def name(self) -> str:
        """What the run was called, or its model is."""
        return str(self.config.get("name", self.config["model"]["name"]))

    def prepare_input(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 images -> what the network is given of each, one view."""
        return self.preprocess.normalize(self.preprocess.apply_before_normalize(images))

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 images -> (N, K) class probabilities."""
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            logits = self.model(self.preprocess(images.to(device))).float()
            return average_views(logits, len(images)).softmax(1)


def load_run(
    run: str = "last",
    *,
    checkpoint: str | int = "result",
    device: str | torch.device = "cpu",
    outputs: str = "outputs",
) -> TrainedRun:
    """Rebuild a run's network from its checkpoint alone, ready to judge images.

    `run`: a run folder, or what `find_run` takes. `checkpoint`: result (the one that the run was scored by), last,
    best, or a step. Its weights are the average of the weights where the run keeps one.
    Raises UsageError where there is no such run, CnnlabError where its checkpoint is missing or damaged.
    """
    folder = find_run(run, resolve_outputs_folder(outputs))
    saved, which = folder / "checkpoints", str(checkpoint)
    path = checkpoints.find_checkpoint(saved, "last" if which == "result" else which)
    try:
        if which == "result" and checkpoints.read_record(path)["config"].get("result") == "best":
            path = checkpoints.find_checkpoint(saved, "best")
        groups, record = checkpoints.load_checkpoint(path, str(device), ("model", "average"))
        config, shape, weights = (
            rename_keys("train", record["config"]),
            tuple(record["shape"]),
            groups.get("average") or groups["model"],
        )
        model = build_meta_model(config["model"], config["augment"], record)
        check_state_dict(model, weights)
        model.load_state_dict(weights, assign=True)
        model = (
            move_to_device(model, device, channels_last=bool(config.get("channels_last")))
            .eval()
            .requires_grad_(False)
        )
        pipeline = build_pipelines(config["augment"]).eval
        return TrainedRun(model, pipeline, tuple(record["classes"]), shape, config, folder, record["step"],
                       record.get("data"))  # fmt: skip
    except (
        UsageError,
        AttributeError,
        IndexError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise build_mismatch_error(path, error) from error


def load_comparison_run(
    trained: TrainedRun, against: str, where: str, device: str | torch.device, outputs: str
) -> TrainedRun:
    """Another run that is shown the first one's images, its layers `out_of_place`. Raises UsageError, naming
    `where`, for one that takes others or knows other classes."""
    other = load_run(against, device=device, outputs=outputs)
    if (other.shape, other.classes) != (trained.shape, trained.classes):
        raise UsageError(f"{where}: {printable(against)} takes other images or knows other classes")
    disable_inplace(other.model)
    return other


def load_split(trained: TrainedRun, split: str) -> ImageSet:
    """The test set, or the part of the training set that the run trained on or validated with, or `trainval`, both;
    labeled by the run's own classes. Raises UsageError for a class that it does not know."""
    dataset = trained.config["dataset"]
    if split in ("test", "trainval"):
        image_set = align_labels(
            load_dataset(dataset, "test" if split == "test" else "train"), trained.classes
        )
    else:
        train, validation = load_train_and_validation(dataset)
        image_set = align_labels(train if split == "train" else validation, trained.classes)
    if image_set.fingerprint not in (None, trained.data_fingerprint):
        raise CnnlabError(
            f"the images below {printable(str(dataset.get('root')))} are not those that the run began with: what is "
            f"drawn from them now may be what it was trained on; a folder `test` beside `train` is free of that"
        )
    return image_set
