"""Former names of visualizers. It imports nothing heavy: the command line reads it before torch is
loaded."""

from collections.abc import Iterable

from cnnlab.core.errors import UsageError

RENAMED_VISUALIZERS = {
    "dream": "activation_maximization",
    "exciting": "top_activations",
    "features": "feature_maps",
}


def check_not_renamed(names: Iterable[str]) -> None:
    """Raise UsageError with the new name for a visualizer given under its former name."""
    for name in names:
        if name in RENAMED_VISUALIZERS:
            raise UsageError(f"the visualizer {name!r} is now named {RENAMED_VISUALIZERS[name]}")
