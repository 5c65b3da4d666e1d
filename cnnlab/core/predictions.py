"""Logits and labels of a data set as one file: what every score follows from."""

from pathlib import Path

from torch import Tensor

from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.files import write_atomically
from cnnlab.core.quoting import printable


def write_predictions(path: Path, logits: Tensor, labels: Tensor) -> None:
    """(N, K) logits and (N,) labels as one safetensors file: what every score follows from."""
    from safetensors.torch import save_file

    tensors = {"logits": logits.contiguous(), "labels": labels.contiguous()}
    write_atomically(path, lambda part: save_file(tensors, part))


def read_predictions(path: Path) -> tuple[Tensor, Tensor]:
    """What `write_answers` wrote. Raises CnnlabError for what it did not."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
        logits, labels = found["logits"], found["labels"]
        if logits.ndim != 2 or labels.shape != logits.shape[:1]:
            raise KeyError(f"logits of {tuple(logits.shape)} and labels of {tuple(labels.shape)}")
    except (OSError, KeyError, SafetensorError) as error:
        raise CnnlabError(
            f"{path} does not hold logits and labels: {printable(summarize_error(error))}"
        ) from error
    return logits, labels
