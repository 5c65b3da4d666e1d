"""Compose a task's YAML configuration, and list its groups and keys."""

from pathlib import Path
from typing import Any

PACKAGE_DIR = Path(__file__).resolve().parent


CONFIG_DIR = next(
    (path for path in (PACKAGE_DIR / "configs", PACKAGE_DIR.parent / "configs") if path.is_dir()),
    PACKAGE_DIR,
)


def compose(task: str, overrides: list[str]) -> dict[str, Any]:
    """Return a task's configuration as plain values, interpolations resolved; nothing runs.

    Hydra's own part is left out. May be called within a running task.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from omegaconf import OmegaConf

    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        # Hydra would rename the running job, which a sweep's next run is configured with.
        job = JobRuntime.instance().get("name")
        with hydra.initialize_config_dir(str(CONFIG_DIR), job_name=job, version_base="1.3"):
            config = hydra.compose(task, overrides)
    finally:
        GlobalHydra.instance().hydra = running
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def read_task_defaults(task: str) -> dict[str, Any]:
    """Return configs/`task`.yaml without its groups; Hydra is not imported."""
    from yaml import safe_load

    config: dict[str, Any] = safe_load((CONFIG_DIR / f"{task}.yaml").read_text(encoding="utf-8"))
    return config


def list_groups(task: str = "") -> dict[str, list[str]]:
    """Return {"model": ["mnist_cnn", ...], ...}: a task's groups, or all, with their options."""
    folders = sorted(
        path
        for path in CONFIG_DIR.iterdir()
        if path.is_dir() and not path.name.startswith((".", "_"))
    )
    chosen = list_default_groups(task) if task else {folder.name for folder in folders}
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in folders
        if folder.name in chosen
    }


def list_default_groups(task: str) -> set[str]:
    """Return the groups that the defaults of configs/`task`.yaml choose from."""
    defaults = read_task_defaults(task).get("defaults", [])
    others = [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]
    chosen = {key for entry in defaults if isinstance(entry, dict) for key in entry}
    return chosen.union(*map(list_default_groups, others))


def list_keys(task: str) -> list[str]:
    """Return every key of a task's default configuration, as `group.key`, and the groups."""

    def walk(value: Any, path: str) -> list[str]:
        children = value.items() if isinstance(value, dict) else ()
        return [
            name
            for key, child in children
            for name in (f"{path}{key}", *walk(child, f"{path}{key}."))
        ]

    return [*list_groups(task), *walk(compose(task, []), "")]
