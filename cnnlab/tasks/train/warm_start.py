"""Initial weights from another run or from a .safetensors file."""

import os
from pathlib import Path

from torch import Tensor

from cnnlab.core import checkpoint
from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import as_override, printable
from cnnlab.core.run_index import find_run
from cnnlab.tasks.train.trainer import Trainer
from cnnlab.tasks.trained_run import find_run_checkpoint, load_trained_run

Weights = dict[str, Tensor]


def load_initial_weights(trainer: Trainer) -> None:
    """Load the weights that `init` names, where name and shape match; print which do not.

    Raises UsageError if none matches, CnnlabError for a file that cannot be read.
    """
    source, weights = read_init_weights(trainer.settings.init or "", trainer.settings.outputs)
    own = trainer.model.state_dict()
    matching = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and tensor.shape == own[name].shape
    }
    if not matching:
        names = ", ".join(map(printable, list(weights)[:4]))
        raise UsageError(f"init: no layer of {source} fits; it has {names}, ...")
    trainer.model.load_state_dict({**own, **matching})
    if trainer.ema:
        trainer.ema.model.load_state_dict(trainer.model.state_dict())
    print(f"weights from {source}:\n  {len(matching)} of {len(own)} tensors", flush=True)
    print_mismatches(own, weights, matching)


def print_mismatches(own: Weights, weights: Weights, matching: Weights) -> None:
    """Print the network's tensors that were not loaded, and the source's that were not used."""
    for name in (name for name in own if name not in matching):
        reason = "not in the source"
        if name in weights:
            shapes = (format_tensor_shape(of[name]) for of in (weights, own))
            reason = "{} in the source, {} here".format(*shapes)
        print(f"  initialized: {name} ({reason})")
    for name in (name for name in weights if name not in own):
        print(f"  not used: {printable(name)} (not in this network)")


def resolve_init_source(name: str, outputs: str) -> str:
    """Return the absolute path that `init` names: `last` would be another run later.

    Raises UsageError if there is no such run.
    """
    if not name.strip():
        return name  # refused by read_init_weights
    path = Path(name)
    return str((path if path.is_file() else find_run(name, Path(outputs))).absolute())


def read_init_weights(name: str, outputs: str) -> tuple[str, Weights]:
    """Return a description of the source, a run or a file, and its weights by name."""
    path = Path(name)
    if not name.strip():
        raise UsageError("init= names nothing: give a run's folder, last, or a .safetensors file")
    if not path.is_file():
        folder = find_run(name, Path(outputs))
        path = find_run_checkpoint(folder, "result", format_init_key)
        run = load_trained_run(path, format_earlier=format_init_key)
        return f"{run.folder}, step {run.step:,}", run.model.state_dict()
    return printable(str(path)), checkpoint.load_weights(path)


def format_init_key(path: Path) -> str:
    """Return `init=FILE`, which takes the weights of a checkpoint's file."""
    return as_override("init", os.path.relpath(path))


def format_tensor_shape(tensor: Tensor) -> str:
    """Return `8x16`, or `scalar`."""
    return "x".join(map(str, tensor.shape)) or "scalar"
