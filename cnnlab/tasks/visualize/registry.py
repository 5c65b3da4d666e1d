"""The ways to look inside a run, by name: each takes a Look and its own keys of configs/visualize.yaml, makes figures
through it, and raises NothingToShow where a network has nothing of the kind."""

from collections.abc import Callable

from cnnlab.tasks.visualize.activation_maximization import dream
from cnnlab.tasks.visualize.feature_maps import features
from cnnlab.tasks.visualize.filters import filters
from cnnlab.tasks.visualize.invariance import invariance
from cnnlab.tasks.visualize.saliency import saliency
from cnnlab.tasks.visualize.top_activations import exciting

VISUALIZERS: dict[str, Callable[..., None]] = {
    "filters": filters,
    "features": features,
    "exciting": exciting,
    "saliency": saliency,
    "dream": dream,
    "invariance": invariance,
}
