"""Initial weights from another run or from a .safetensors file."""

from pathlib import Path

from torch import Tensor

from cnnlab.core import checkpoint
from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.core.run_index import find_run
from cnnlab.tasks.train.trainer import Trainer
from cnnlab.tasks.trained_run import load_run


def load_initial_weights(training: Trainer) -> None:
    """Put the weights that `init` names into a network, where name and shape fit; say which do not. Raises UsageError
    where none does, CnnlabError for what cannot be read."""
    settings = training.settings
    source, theirs = read_init_weights(settings.init or "", settings.outputs)
    ours = training.model.state_dict()
    fit = {
        name: tensor
        for name, tensor in theirs.items()
        if name in ours and tensor.shape == ours[name].shape
    }
    if not fit:
        raise UsageError(
            f"init: no layer of {source} fits; it has {', '.join(map(printable, list(theirs)[:4]))}, ..."
        )
    training.model.load_state_dict({**ours, **fit})
    if training.ema:
        training.ema.model.load_state_dict(training.model.state_dict())
    print(f"weights from {source}: {len(fit)} of {len(ours)} tensors", flush=True)
    for name in (name for name in ours if name not in fit):
        there = (
            f"{format_tensor_shape(theirs[name])} there, {format_tensor_shape(ours[name])} here"
            if name in theirs
            else "not there"
        )
        print(f"  begins anew: {name} ({there})")
    for name in (name for name in theirs if name not in ours):
        print(f"  left out: {printable(name)} (not in this network)")


def resolve_init_source(name: str, outputs: str) -> str:
    """What `init` names, as a place that means the same another time: `last` would be another run then. Raises
    UsageError where there is no such run."""
    place = Path(name)
    return str(
        (place if place.is_file() or not name.strip() else find_run(name, Path(outputs))).absolute()
    )


def read_init_weights(name: str, outputs: str) -> tuple[str, dict[str, Tensor]]:
    """A run's result, or a file -> what to call it, and its weights by name."""
    path = Path(name)
    if not name.strip():
        raise UsageError("init= names nothing: give a run's folder, last, or a .safetensors file")
    if not path.is_file():
        trained = load_run(name, outputs=outputs)
        return f"{trained.folder}, step {trained.step:,}", trained.model.state_dict()
    return printable(str(path)), checkpoint.load_weights(path)


def format_tensor_shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
