"""A --config-dir that configures Hydra is refused, by every spelling that Hydra would follow."""

from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from cnnlab.config import CONFIG_DIR
from cnnlab.config_safety import check_config_dir
from cnnlab.core.errors import UsageError
from tests.conftest import Cnnlab

ENV = "env_set: {EVIL: x}"
JOB = f"job: {{{ENV}}}"
GLOBAL = "# @package _global_\n"
TRAP = "experiment/trap.yaml"

# Contents of experiment/trap.yaml that reach Hydra's own configuration.
EFFECTIVE_CONTENTS = {
    "key": f"{GLOBAL}hydra: {{{JOB}}}",
    "package": f"# @package hydra\n{JOB}",
    "package_below": f"# @package hydra.job\n{ENV}",
    "package_from_root": f"# @package _global_.hydra\n{JOB}",
    "package_after_keyword": f"# @package x_global_yhydra\n{JOB}",
    "package_in_brackets": f"# @package [hydra]\n{JOB}",
    "header_without_space": f"#@package hydra\n{JOB}",
    "second_header": f"# @x y\n\n  #  @package   hydra\n{JOB}",
    "header_after_unicode_newline": f"# @x y\x85# @package hydra\n{JOB}",
    "override": f"{GLOBAL}defaults: [override /hydra/job_logging: disabled]",
    "optional": f"{GLOBAL}defaults: [optional override /hydra/job_logging: disabled]",
    "interpolated_defaults": f"{GLOBAL}defaults: ${{x}}\nx: [override /hydra/job_logging: none]",
    "entry_package": f"{GLOBAL}defaults: [/extra@hydra.job: env]",
    "file_entry_package": f"{GLOBAL}defaults: [/extra/env@hydra.job]",
    "group_keyword": f"{GLOBAL}defaults: [/ra@hyd_group_: job]",
    "folder": f"{GLOBAL}defaults: [/hydra.job: env]",
    "folder_in_brackets": f"{GLOBAL}defaults: ['/[hydra]': job]",
    "parent_folder": f"{GLOBAL}defaults: [/../outside/key@_global_]",
    "absolute_path": f"{GLOBAL}defaults: ['/OUTSIDE/key@_global_']",
    "resolver": f"{GLOBAL}defaults: ['/extra@_global_': '.${{oc.env:NO,.}}/../outside/key']",
    "alias": f"{GLOBAL}x: &x {{{JOB}}}\nhydra: *x",
    "key_alias": f"{GLOBAL}x: &x hydra\n*x : {{{JOB}}}",
    "merge_key": f"{GLOBAL}<<: {{hydra: {{{JOB}}}}}",
    "escape": f'{GLOBAL}"hyd\\x72a": {{{JOB}}}',
    "explicit_key": f"{GLOBAL}? hydra\n: {{{JOB}}}",
    "tag": f"{GLOBAL}!!str hydra : {{{JOB}}}",
    "python_tag": f"{GLOBAL}p: !!python/object/apply:pathlib.Path [a]\nhydra: {{{JOB}}}",
    "json": f'{GLOBAL}{{"hydra": {{{JOB}}}}}',
}
HELPERS = {
    "entry_package": "extra/env.yaml",
    "file_entry_package": "extra/env.yaml",
    "group_keyword": "ra/job.yaml",
    "folder": "hydra.job/env.yaml",
    "folder_in_brackets": "[hydra]/job.yaml",
    "resolver": "extra/env.yaml",
}
# Files that have no effect as they stand, but are refused to be safe.
REFUSED_FILES = {
    "any_depth": (TRAP, "model: {hydra: {launcher: x}}"),
    "dotted_key": (TRAP, f"{GLOBAL}hydra.job.env_set: {{EVIL: x}}"),
    "no_package": (TRAP, f"hydra: {{{JOB}}}"),
    "upper_case_package": (TRAP, f"# @package Hydra\n{JOB}"),
    "name_keyword": ("experiment/hydra.yaml", f"# @package _name_\n{JOB}"),
    "yml": ("experiment/trap.yml", f"# @package hydra\n{JOB}"),
    "upper_case": ("experiment/trap.YAML", f"# @package hydra\n{JOB}"),
    "renamed_package": (TRAP, f"{GLOBAL}defaults: ['/extra@a:hydra.job': env]"),
    "here_package": ("train.yaml", "defaults: [extra@_here_.hydra.job: env]"),
    "interpolated_group": (TRAP, "defaults: ['override /${oc.env:NO,hydra}/launcher': basic]"),
    "interpolated_file": (TRAP, "defaults: ['/${oc.env:NO,hyd}ra/launcher/basic']"),
    "search_path": ("train.yaml", "hydra: {searchpath: ['file:///tmp']}"),
    "target": ("optim/trap.yaml", "name: x\n_target_: builtins.exec"),
    "nested_target": ("optim/trap.yaml", "name: x\na: [{b: {_target_: builtins.exec}}]"),
    "callbacks": (TRAP, f"{GLOBAL}hydra: {{callbacks: {{c: {{_target_: builtins.exec}}}}}}"),
    "handlers": (TRAP, f"{GLOBAL}hydra: {{job_logging: {{handlers: {{h: {{(): exec}}}}}}}}"),
    "group_folder": ("hydra/launcher/basic.yaml", "_target_: builtins.exec"),
    "nested_folder": ("extra/hydra/launcher/x.yaml", "a: 1"),
    "upper_case_folder": ("Hydra/launcher/basic.yaml", "a: 1"),
    "defaults_folder": ("hydra/default.yaml", "a: 1"),
}


def write(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def theirs(here: Path) -> Path:
    """A folder of configurations with a main file, and a file outside it that could run code."""
    write(here, "theirs/train.yaml", (CONFIG_DIR / "train.yaml").read_text())
    write(here, "outside/key.yaml", f"hydra: {{{JOB}}}")
    return here / "theirs"


def compose_hydra_part(folder: Path, overrides: list[str]) -> dict[str, object]:
    """Hydra's own configuration with `folder` searched first, but for the command line's part."""
    GlobalHydra.instance().clear()
    overrides = [f"hydra.searchpath=[file://{CONFIG_DIR}]", *overrides]
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        config = hydra.compose("train", overrides, return_hydra_config=True)
    own = OmegaConf.to_container(config.hydra)
    assert isinstance(own, dict)
    changing = ("overrides", "runtime", "mode", "searchpath")
    return {str(key): value for key, value in own.items() if key not in changing} | {
        "job": {key: own["job"][key] for key in ("env_set", "name", "chdir")}
    }


@pytest.mark.parametrize("name", EFFECTIVE_CONTENTS)
def test_every_effective_spelling_is_refused(theirs: Path, here: Path, name: str) -> None:
    default = compose_hydra_part(theirs, [])
    content = EFFECTIVE_CONTENTS[name].replace("/OUTSIDE", f"/{here / 'outside'}")
    write(theirs, TRAP, content.replace("none]", "disabled]"))
    if helper := HELPERS.get(name):
        write(theirs, helper, ENV if helper.endswith("env.yaml") else JOB)
    assert compose_hydra_part(theirs, ["experiment=trap"]) != default
    with pytest.raises(UsageError, match=r"can run code") as refusal:
        check_config_dir(theirs)
    assert "folder" in name or str(theirs / TRAP) in str(refusal.value)


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_suspicious_files_are_refused(theirs: Path, name: str) -> None:
    file, content = REFUSED_FILES[name]
    write(theirs, file, content)
    with pytest.raises(UsageError, match=r"can run code") as refusal:
        check_config_dir(theirs)
    assert str(theirs / (file if "folder" not in name else "")) in str(refusal.value)


def test_links_are_followed(theirs: Path, here: Path) -> None:
    (theirs / "loop").symlink_to(theirs)
    check_config_dir(theirs)
    (theirs / "experiment").symlink_to(here / "outside")
    with pytest.raises(UsageError, match=r"experiment/key\.yaml: hydra configures"):
        check_config_dir(theirs)
    (theirs / "experiment").unlink()
    write(theirs, "extra/job.yaml", JOB)
    (theirs / "hydra").symlink_to("extra")
    with pytest.raises(UsageError, match=r"the folder hydra/"):
        check_config_dir(theirs)


def test_unreadable_files_are_refused_and_unusable_ones_left_to_hydra(theirs: Path) -> None:
    write(theirs, "experiment/broken.yaml", "a: [")
    (theirs / "experiment" / "folder.yaml").mkdir()
    (theirs / "experiment" / "dangling.yaml").symlink_to("nowhere")
    check_config_dir(theirs)
    write(theirs, "experiment/deep.yaml", "[" * 5000)
    with pytest.raises(UsageError, match=r"deep\.yaml is nested too deeply"):
        check_config_dir(theirs)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (TRAP, f"{GLOBAL}defaults: [override /dataset: mnist, _self_]\nname: ${{model.name}}"),
        (TRAP, f"{GLOBAL}defaults:\n- optional /model/size@_global_: ${{dataset}}_${{model}}"),
        (TRAP, f"{GLOBAL}defaults: [mnist_mlp, /optim/sgd@_here_, {{/schedule: null}}]"),
        (TRAP, f"{GLOBAL}defaults: [{{/augment: [crop, shift.yaml]}}]"),
        ("optim/fast.yaml", "# as `hydra` does\nname: sgd\nlr: 0.1"),
        ("hydra_like/x.yaml", "hydraulic: 1"),
    ],
)
def test_plain_configurations_are_allowed(theirs: Path, file: str, content: str) -> None:
    write(theirs, file, content)
    check_config_dir(theirs)


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]])
def test_the_command_refuses_in_one_line(cnnlab: Cnnlab, theirs: Path, sweep: list[str]) -> None:
    write(theirs, TRAP, EFFECTIVE_CONTENTS["key"])
    code, out, err = cnnlab("train", "--config-dir", "theirs", *sweep)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("cnnlab: theirs/experiment/trap.yaml: hydra configures Hydra")
    assert not Path("outputs").exists()
    code, _, err = cnnlab("train", "--config-dir", "nowhere")
    assert (code, err) == (2, "cnnlab: --config-dir nowhere is not a folder\n")


def test_a_sweep_over_own_configurations_runs(cnnlab: Cnnlab, here: Path) -> None:
    content = f"{GLOBAL}epochs: 1\nmodel: {{filters: [4], hidden: [4]}}\n"
    write(here, "mine/experiment/good.yaml", content)
    assert cnnlab("train", "-m", "--config-dir", "mine", "experiment=good", "seed=1,2")[0] == 0
