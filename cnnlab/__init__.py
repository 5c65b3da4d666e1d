"""Train convolutional networks and look inside them. `cnnlab.load(run)` loads a trained one."""

TYPE_CHECKING = False  # importing typing would take longer than all that precedes `main()`
if TYPE_CHECKING:
    from typing import Any

    from cnnlab.tasks.trained_run import TrainedRun

__all__ = ["load"]
__version__ = "0.1.0"


def load(run: str = "last", **options: "Any") -> "TrainedRun":
    """Return a run's network with its preprocessing and class names, ready to predict.

    `run` and `options` are those of `cnnlab.tasks.trained_run.load_run`.

    Examples:
        >>> trained = cnnlab.load("outputs/train/2026-11-24_03-00-00_digits_cnn")
        >>> probabilities = trained(images)         # (N, 1, 8, 8) uint8 -> (N, 10)
    """
    from cnnlab.tasks.trained_run import load_run  # imports torch

    return load_run(run, **options)
