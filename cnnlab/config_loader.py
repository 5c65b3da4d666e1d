"""Compose configurations of which no file can configure Hydra, which could run any code.

Hydra instantiates the callbacks, launchers, sweepers and log handlers that its own part of a
configuration names. `GuardedConfigLoader` composes everything that is launched, each run of a sweep
too, and applies three rules before Hydra instantiates anything:

1. An override chooses a launcher or a sweeper by name and sets its options, nothing else of Hydra.
2. A file of a --config-dir names neither Hydra nor a class, and interpolates keys only. No file
   outside the packages and the --config-dir is read.
3. Hydra's part of the result is what installed packages and the overrides alone give.

Hydra has no public place between composing and instantiating, so this module, and no other, uses
its internal parts.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cnnlab.config import CONFIG_DIR
from cnnlab.config_safety import (
    PLAIN_PATH,
    check_interpolations,
    check_override,
    find_unsafe_part,
    is_hydra_name,
)
from cnnlab.core.errors import UsageError, summarize_error
from cnnlab.core.files import read_text
from cnnlab.core.quoting import printable
from cnnlab.core.yaml_files import MAX_YAML_BYTES, parse_yaml

USER_PROVIDER = "--config-dir"
MAX_LOADED_FILES = 1000  # 30 files that include each other twice would be a billion
# What Hydra itself fills in after composing.
FILLED_IN = ("overrides", "runtime")
FILLED_IN_OF_JOB = ("config_name", "override_dirname")


@contextmanager
def open_hydra(task: str, config_dir: str, own_overrides: Sequence[str]) -> Iterator[Hydra]:
    """Yield a Hydra, as hydra.main makes it, that composes by the three rules of this module."""
    opened = Hydra(task_name=task, config_loader=GuardedConfigLoader(config_dir, own_overrides))
    GlobalHydra.instance().initialize(opened)
    try:
        yield opened
    finally:
        GlobalHydra.instance().clear()


class UserConfigSource(FileConfigSource):
    """The files of a --config-dir. Raises UsageError for what is not plain YAML of bounded size."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            text = read_text(path, MAX_YAML_BYTES)
            parse_yaml(text)
            return ConfigResult(
                config=OmegaConf.load(StringIO(text)),
                path=f"file://{self.path}",
                provider=self.provider,
                header=ConfigSource._get_header_dict(text[:512]),
            )
        except FileNotFoundError as error:
            raise ConfigLoadError(f"no file {path}") from error
        except OSError as error:
            message = f"cannot read {printable(str(path))}: {summarize_error(error)}"
            raise UsageError(message) from error
        except ValueError as error:
            raise UsageError(f"{printable(str(path))}: {printable(str(error))}") from error


class GuardedRepository(CachingConfigRepository):
    """Loads files by plain names, and refuses those of a --config-dir that could run code."""

    loaded_files = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        self.loaded_files += 1
        if self.loaded_files > MAX_LOADED_FILES:
            raise UsageError(f"the defaults lists name more than {MAX_LOADED_FILES:,} files")
        if not PLAIN_PATH.fullmatch(config_path.removesuffix("/")):
            raise UsageError(
                f"{printable(config_path)} is not the name of a configuration\n"
                "--config-dir DIR adds a folder of your own"
            )
        result = super().load_config(config_path)
        if result and result.provider == USER_PROVIDER:
            unsafe = "its folder" if is_hydra_name(config_path) else find_unsafe_part(result)
            if unsafe:
                file = Path(result.path.removeprefix("file://"), config_path)
                raise UsageError(
                    f"{printable(os.path.relpath(file))}.yaml: {printable(unsafe)} is refused\n"
                    "it could run code or read the environment: remove it"
                )
        return result


class GuardedConfigLoader(ConfigLoaderImpl):
    """Composes the configurations of a command, by the three rules of this module."""

    def __init__(self, config_dir: str = "", own_overrides: Sequence[str] = ()) -> None:
        """`config_dir`: the user's folder; it adds to the packaged files and replaces none.
        `own_overrides`: those of Hydra's keys that cnnlab sets itself."""
        if config_dir and not Path(config_dir).is_dir():
            raise UsageError(f"--config-dir {printable(config_dir)} is not a folder")
        super().__init__(create_config_search_path(str(CONFIG_DIR)))
        self.own_overrides, self.has_user_files = own_overrides, bool(config_dir)
        self.is_guarded = False
        if config_dir:
            source = UserConfigSource(USER_PROVIDER, str(Path(config_dir).absolute()))
            self.repository.sources.insert(-1, source)  # the last one holds structured defaults

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        """Return the composed configuration. Raises UsageError where it breaks a rule."""
        self.is_guarded = False
        version.setbase("1.3")  # Hydra's part depends on it
        try:
            config = super().load_configuration(config_name, overrides, *args, **kwargs)
        except RecursionError:
            raise UsageError("the defaults lists are nested too deeply") from None
        except (AssertionError, AttributeError, TypeError) as error:  # OmegaConf's, below a null
            words = printable(" ".join(overrides[len(self.own_overrides) :]))
            raise UsageError(f"{words}: a key or value does not fit the configuration") from error
        if not self.is_guarded:  # a later Hydra may compose in another way
            raise UsageError(f"the installed Hydra {hydra.__version__} is not supported")
        self.check_hydra_part(config)
        self.check_experiment(config.hydra.runtime.choices)
        if self.has_user_files:
            check_interpolations(config)
        return config

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        """Check the overrides. In place of Hydra's, which also follows hydra.searchpath."""
        parsed = OverridesParser.create().parse_overrides(overrides)
        repository, self.is_guarded = GuardedRepository(self.repository), True
        for override in parsed:
            if override.input_line not in self.own_overrides:
                group = override.key_or_group
                names = (
                    repository.get_group_options(group) if repository.group_exists(group) else None
                )
                check_override(override, names)
        return parsed, repository

    def check_hydra_part(self, config: DictConfig) -> None:
        """Raise UsageError where files, and not the overrides alone, have set Hydra's part."""
        task = JobRuntime.instance().get("name")
        expected = compose_hydra_part(task, tuple(config.hydra.overrides.hydra))
        actual = extract_hydra_part(config)
        for key in expected | actual:
            if actual.get(key) != expected.get(key):
                raise UsageError(
                    f"the configuration files set hydra.{printable(key)}, which can run code\n"
                    "no file may configure Hydra"
                )

    def check_experiment(self, choices: Mapping[str, Any]) -> None:
        """Raise UsageError where an experiment is chosen with another model than its own."""
        name, model = choices.get("experiment"), choices.get("model")
        file = self.repository.load_config(f"experiment/{name}") if name else None
        entries = (file.defaults_list or []) if file else []
        for entry in (entry for entry in entries if isinstance(entry, GroupDefault)):
            if entry.group in ("model", "/model") and entry.value != model:
                raise UsageError(
                    f"experiment={name} is a recipe for model={entry.value}, not {model}\n"
                    "leave out one of the two"
                )


@lru_cache(maxsize=16)
def compose_hydra_part(task: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return Hydra's part as installed packages and overrides alone give it. Not to be changed.

    `task`: that of Hydra's JobRuntime, which Hydra fills in."""
    JobRuntime.instance().set("name", task)
    loader = ConfigLoaderImpl(create_config_search_path(str(CONFIG_DIR)))
    config = loader.load_configuration(
        None, list(overrides), RunMode.RUN, validate_sweep_overrides=False
    )
    return extract_hydra_part(config)


def extract_hydra_part(config: DictConfig) -> dict[str, Any]:
    """Return Hydra's part as plain values, unresolved, without what Hydra fills in itself."""
    part: Any = OmegaConf.to_container(config.hydra, resolve=False)
    job = {key: value for key, value in part["job"].items() if key not in FILLED_IN_OF_JOB}
    return {str(key): part[key] for key in part if key not in FILLED_IN} | {"job": job}
