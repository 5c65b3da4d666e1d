"""The projections by name."""

from collections.abc import Callable
from typing import Any

from cnnlab.projection.pca import pca
from cnnlab.projection.tsne import tsne

PROJECTIONS: dict[str, Callable[..., tuple[Any, dict[str, float]]]] = {"pca": pca, "tsne": tsne}
