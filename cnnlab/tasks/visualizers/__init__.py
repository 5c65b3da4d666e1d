"""The ways to look inside a run, by name: each takes a Look and its own keys of configs/visualize.yaml, makes figures
through it, and raises NothingToShow where a network has nothing of the kind."""

from collections.abc import Callable

from cnnlab.tasks.visualizers.dreams import dream
from cnnlab.tasks.visualizers.exciting import exciting
from cnnlab.tasks.visualizers.features import features
from cnnlab.tasks.visualizers.filters import filters
from cnnlab.tasks.visualizers.invariance import invariance
from cnnlab.tasks.visualizers.saliency import saliency

VISUALIZERS: dict[str, Callable[..., None]] = {
    "filters": filters,
    "features": features,
    "exciting": exciting,
    "saliency": saliency,
    "dream": dream,
    "invariance": invariance,
}
