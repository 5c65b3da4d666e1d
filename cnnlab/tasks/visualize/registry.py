"""The visualizers by name. Each takes a RunContext and its own keys of configs/visualize.yaml, logs
figures, and raises NothingToShow where a network has nothing of the kind."""

from collections.abc import Callable

from cnnlab.tasks.visualize.activation_maximization import visualize_activation_maximization
from cnnlab.tasks.visualize.feature_maps import visualize_feature_maps
from cnnlab.tasks.visualize.filters import visualize_filters
from cnnlab.tasks.visualize.invariance import visualize_invariance
from cnnlab.tasks.visualize.saliency import visualize_saliency
from cnnlab.tasks.visualize.top_activations import visualize_top_activations

VISUALIZERS: dict[str, Callable[..., None]] = {
    "filters": visualize_filters,
    "feature_maps": visualize_feature_maps,
    "top_activations": visualize_top_activations,
    "saliency": visualize_saliency,
    "activation_maximization": visualize_activation_maximization,
    "invariance": visualize_invariance,
}
