"""cnnlab: a bench for convolutional networks. `cnnlab.load(run)` gives a trained one to Python."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnlab.tasks.trained_run import TrainedRun

__all__ = ["load"]
__version__ = "0.1.0"


def load(run: str = "last", **options: Any) -> "TrainedRun":
    """A run's network, its preprocessing and its class names: see `cnnlab.tasks.trained_run.load_run`.

    >>> trained = cnnlab.load("outputs/train/2026-11-24_03-00-00_digits_cnn")
    >>> probabilities = trained(pictures)       # (N, 1, 8, 8) uint8 -> (N, 10)
    """
    from cnnlab.tasks.trained_run import load_run  # torch is imported no sooner than it is needed

    return load_run(run, **options)
