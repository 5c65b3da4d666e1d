"""Configuration keys that have been renamed.

An old name on the command line is refused with the new one. What was written under old names (a
run's configuration, a stylized image's record) is read under the new ones.
"""

from collections.abc import Mapping
from typing import Any

RENAMED_KEYS: dict[str, dict[str, str]] = {
    "bench": {"brief": "one_line"},
    "describe": {"drawing": "figure", "growth.extent": "growth.kernel_size"},
    "embed": {"neighbours": "neighbors", "twins": "near_duplicates"},
    "eval": {"single_batches": "single_batch_size"},
    "lr_find": {"lowest": "min_lr", "highest": "max_lr"},
    "predict": {"pictures": "images", "top": "top_k"},
    "stylize": {
        "piece": "max_tile_pixels",
        "again": "reproduce",
        "method": "optimizer",
        "lbfgs.memory": "lbfgs.history_size",
        "adam.average": "adam.ema_decay",
    },
    "train": {"dataset.max_pictures": "dataset.max_images"},
    "visualize": {
        "pictures": "images",
        "filters.most": "filters.max_filters",
        "features": "feature_maps",
        "features.match": "feature_maps.threshold",
        "exciting": "top_activations",
        "exciting.best": "top_activations.images_per_channel",
        "dream": "activation_maximization",
        "dream.most": "activation_maximization.max_units",
    },
}


def find_new_name(task: str, key: str) -> str | None:
    """Return the new name of a task's key, `group.key`, that was renamed; None for others."""
    names = RENAMED_KEYS.get(task, {})
    if key in names:
        return names[key]
    group, dot, name = key.partition(".")
    return f"{names[group]}.{name}" if dot and group in names else None


def rename_keys(task: str, config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return a configuration with every old name replaced; values stay as they are."""
    renamed: dict[str, Any] = {}
    for key, value in config.items():
        full = f"{path}{key}"
        name = (find_new_name(task, full) or full).rpartition(".")[2]
        renamed[name] = (
            rename_keys(task, value, f"{full}.") if isinstance(value, Mapping) else value
        )
    return renamed
