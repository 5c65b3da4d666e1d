"""Write and read the logits and labels of a data set, from which every score follows."""

from pathlib import Path

from torch import Tensor

from cnnlab.core.errors import CnnlabError, summarize_error
from cnnlab.core.files import check_safetensors_header, write_atomically
from cnnlab.core.quoting import printable


def write_predictions(path: Path, logits: Tensor, labels: Tensor) -> None:
    """Write (N, K) logits and (N,) labels as one safetensors file. Raises WriteFailed."""
    from safetensors.torch import save_file

    tensors = {"logits": logits.contiguous(), "labels": labels.contiguous()}
    write_atomically(path, lambda part: save_file(tensors, part))


def read_predictions(path: Path) -> tuple[Tensor, Tensor]:
    """Return the (N, K) logits and (N,) labels of such a file. Raises CnnlabError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_safetensors_header(path)
        tensors = load_file(path)
        logits, labels = tensors["logits"], tensors["labels"]
        if logits.ndim != 2 or labels.shape != logits.shape[:1]:
            raise KeyError(f"logits of {tuple(logits.shape)} and labels of {tuple(labels.shape)}")
    except (OSError, KeyError, SafetensorError) as error:
        reason = printable(summarize_error(error))
        raise CnnlabError(f"{path} does not hold logits and labels: {reason}") from error
    return logits, labels
