"""No configuration makes Hydra run code, by any spelling that Hydra would follow."""

import os
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from cnnlab.config import CONFIG_DIR
from cnnlab.config_loader import GuardedConfigLoader
from cnnlab.core.errors import UsageError
from tests.conftest import Cnnlab
from tests.core.test_yaml_files import ALIAS_BOMB

CANARY_FILE = "the_canary_sang"
CALL = f"{{_target_: builtins.open, _args_: [{CANARY_FILE}, w]}}"
ENV = "env_set: {EVIL: x}"
JOB = f"job: {{{ENV}}}"
GLOBAL = "# @package _global_\n"
TRAP = "experiment/trap.yaml"

# Contents of experiment/trap.yaml that reach Hydra's own configuration.
EFFECTIVE_CONTENTS = {
    "key": f"{GLOBAL}hydra: {{{JOB}}}",
    "callbacks": f"{GLOBAL}hydra: {{callbacks: {{c: {CALL}}}}}",
    "handlers": f"{GLOBAL}hydra: {{job_logging: {{handlers: {{h: {{(): exec}}}}}}}}",
    "package": f"# @package hydra\n{JOB}",
    "package_below": f"# @package hydra.job\n{ENV}",
    "package_from_root": f"# @package _global_.hydra\n{JOB}",
    "package_after_keyword": f"# @package x_global_yhydra\n{JOB}",
    "package_in_brackets": f"# @package [hydra]\n{JOB}",
    "header_without_space": f"#@package hydra\n{JOB}",
    "second_header": f"# @x y\n\n  #  @package   hydra\n{JOB}",
    "header_after_unicode_newline": f"# @x y\x85# @package hydra\n{JOB}",
    "override": f"{GLOBAL}defaults: [override /hydra/job_logging: none]",
    "optional": f"{GLOBAL}defaults: [optional override /hydra/job_logging: none]",
    "interpolated_option": f'{GLOBAL}defaults: [override /hydra/job_logging: "n${{optim}}"]',
    "entry_package": f"{GLOBAL}defaults: [/extra@hydra.job: env]",
    "file_entry_package": f"{GLOBAL}defaults: [/extra/env@hydra.job]",
    "group_keyword": f"{GLOBAL}defaults: [/ra@hyd_group_: job]",
    "folder": f"{GLOBAL}defaults: [/hydra.job: env]",
    "folder_in_brackets": f"{GLOBAL}defaults: ['/[hydra]': job]",
    "nested_list": f"{GLOBAL}defaults: [/extra@_global_: nested]",
    "options_list": f"{GLOBAL}defaults: [{{/extra@hydra.job: [env]}}]",
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
    "chdir": f"{GLOBAL}hydra: {{job: {{chdir: true}}}}",
    "output_subdir": f"{GLOBAL}hydra: {{output_subdir: x}}",
    "run_dir": f"{GLOBAL}hydra: {{run: {{dir: x}}}}",
    "sweep_subdir": f"{GLOBAL}hydra: {{sweep: {{subdir: /tmp}}}}",
    "verbose": f"{GLOBAL}hydra: {{verbose: true}}",
}
HELPERS = {
    "entry_package": {"extra/env.yaml": ENV},
    "options_list": {"extra/env.yaml": ENV},
    "file_entry_package": {"extra/env.yaml": ENV},
    "group_keyword": {"ra/job.yaml": JOB},
    "folder": {"hydra.job/env.yaml": ENV},
    "folder_in_brackets": {"[hydra]/job.yaml": JOB},
    "resolver": {"extra/env.yaml": ENV},
    "nested_list": {
        "extra/nested.yaml": "defaults: [/extra@_global_.hydra.job: env]",
        "extra/env.yaml": ENV,
    },
    "interpolated_option": {"hydra/job_logging/nadam.yaml": "root: null\ndisable: x"},
}
# Files that have no effect on Hydra as they stand, or run no code, but are refused to be safe.
REFUSED_FILES = {
    "any_depth": (TRAP, "model: {hydra: {launcher: x}}"),
    "dotted_key": (TRAP, f"{GLOBAL}hydra.job.env_set: {{EVIL: x}}"),
    "no_package": (TRAP, f"hydra: {{{JOB}}}"),
    "upper_case_package": (TRAP, f"# @package Hydra\n{JOB}"),
    "name_keyword": ("experiment/hydra.yaml", f"# @package _name_\n{JOB}"),
    "interpolated_defaults": (TRAP, f"{GLOBAL}defaults: ${{x}}\nx: [override /hydra/x: none]"),
    "interpolated_group": (TRAP, "defaults: ['override /${oc.env:NO,hydra}/launcher': basic]"),
    "interpolated_file": (TRAP, "defaults: ['/${oc.env:NO,hyd}ra/launcher/basic']"),
    "search_path": (TRAP, f"{GLOBAL}hydra: {{searchpath: ['file:///tmp']}}"),
    "target": ("optim/trap.yaml", "name: x\n_target_: builtins.exec"),
    "nested_target": ("optim/trap.yaml", "name: x\na: [{b: {_target_: builtins.exec}}]"),
    "launcher": ("hydra/launcher/basic.yaml", f"x: {CALL}"),
    "root": ("hydra/config.yaml", f"callbacks: {{x: {CALL}}}"),
    "alias": (TRAP, f"{GLOBAL}{ALIAS_BOMB}"),
    "deep": (TRAP, f"{GLOBAL}a: {'[' * 5000}"),
    "self": (TRAP, f"{GLOBAL}defaults: [trap]"),
    "secret": (TRAP, f"{GLOBAL}name: ${{oc.env:HOME}}"),
    "nested_secret": (TRAP, f"{GLOBAL}name: a${{b.${{oc.env:HOME}}}}"),
    "secret_with_default": ("optim/trap.yaml", "lr: ${oc.decode:${oc.env:LR,1}}"),
    "code_in_a_value": (TRAP, f"{GLOBAL}model: ${{oc.create:'{{_target_: x}}'}}"),
    "interpolation_bomb": (
        TRAP,
        "\n".join(
            [f"{GLOBAL}a0: xxxxxxxx", *(f"a{n}: {f'${{a{n - 1}}}' * 9}" for n in range(1, 9))]
        ),
    ),
}


def write(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def theirs(here: Path) -> Path:
    """A folder of configurations with a main file, and a file outside it that could run code."""
    write(here, "theirs/train.yaml", (CONFIG_DIR / "train.yaml").read_text())
    write(here, "theirs/hydra/job_logging/none.yaml", "root: null\ndisable: x")
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


def compose_guarded(folder: Path, *overrides: str) -> dict[str, object]:
    """The configuration that would be launched."""
    loader = GuardedConfigLoader(str(folder))
    config = loader.load_configuration("train", list(overrides), RunMode.RUN)
    return OmegaConf.to_container(config)  # type: ignore[return-value]


@pytest.mark.parametrize("name", EFFECTIVE_CONTENTS)
def test_every_effective_spelling_is_refused(theirs: Path, here: Path, name: str) -> None:
    default = compose_hydra_part(theirs, [])
    write(theirs, TRAP, EFFECTIVE_CONTENTS[name].replace("/OUTSIDE", f"/{here / 'outside'}"))
    for helper, content in HELPERS.get(name, {}).items():
        write(theirs, helper, content)
    assert compose_hydra_part(theirs, ["experiment=trap"]) != default
    with pytest.raises(UsageError, match=r"is refused|is not the name|tag"):
        compose_guarded(theirs, "experiment=trap")


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_suspicious_files_are_refused(theirs: Path, name: str) -> None:
    file, content = REFUSED_FILES[name]
    write(theirs, file, content)
    group, _, option = file.removesuffix(".yaml").partition("/")
    words = [] if group == "hydra" else [f"{group}={option}"]
    with pytest.raises((UsageError, ValueError)):
        compose_guarded(theirs, *words)
    assert not Path(CANARY_FILE).exists()


def test_a_callback_behind_the_launchs_own_choice_is_refused(cnnlab: Cnnlab, here: Path) -> None:
    """Hydra composes it for every purpose with other choices, harmless to all but the launch."""
    write(here, "theirs/hydra/callbacks/cb_default.yaml", "{}")
    write(here, "theirs/hydra/callbacks/cb_disabled.yaml", f"x: {CALL}")
    write(here, "theirs/hydra/callbacks/cb_basic.yaml", f"x: {CALL}")
    for choice in ("hydra/job_logging", "hydra/launcher", "oc.select:x,${oc.env:NO,basic}"):
        default = f'override /hydra/callbacks: "cb_${{{choice}}}"'
        write(here, "theirs/experiment/trap.yaml", f"{GLOBAL}defaults: ['{default}']")
        write(here, "theirs/model/trap.yaml", f"{GLOBAL}defaults: [{default}]\nname: x")
        for word in ("experiment=trap", "model=trap"):
            for flags in ([], ["-m", "seed=1,2"]):
                code, _, err = cnnlab("train", "--config-dir", "theirs", word, *flags)
                assert code == 2 and len(err.splitlines()) == 2, err
    assert not Path(CANARY_FILE).exists() and not Path("outputs").exists()


def test_a_file_that_slips_past_the_other_rules_is_refused_by_its_effect(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.config_loader.find_unsafe_part", lambda file: None)
    write(theirs, TRAP, EFFECTIVE_CONTENTS["callbacks"])
    with pytest.raises(UsageError, match=r"set hydra\.callbacks, which can run code"):
        compose_guarded(theirs, "experiment=trap")


# On the command line, where a folder named evil/ holds hydra/, extra/ and experiment/.
EVIL_WORDS = [
    ["+hydra.callbacks.x._target_=builtins.open", f"+hydra.callbacks.x._args_=[{CANARY_FILE},w]"],
    [f"+hydra.callbacks.x={CALL}"],
    [f"hydra={{callbacks: {{x: {CALL}}}}}"],
    [f"+hydra={{callbacks: {{x: {CALL}}}}}"],
    ["hydra/callbacks=evil"],
    ["+hydra/callbacks=evil"],
    ["hydra/job_logging=evil"],
    ["hydra/env=evil"],
    ["hydra/launcher=evil", "-m"],
    ["hydra/launcher=../callbacks/evil", "-m"],
    ["hydra.launcher._target_=builtins.open", "-m"],
    [f"++hydra.launcher={CALL}", "-m"],
    [f"+hydra.launcher.x={CALL}", "-m"],
    [f"+hydra.launcher.x=[[{{a: {CALL}}}]]", "-m"],
    ["+hydra.launcher.x=${extra}", "+extra=call", "-m"],
    ["+hydra.launcher.x=$\\{extra\\}", "+extra=call", "-m"],
    ["+hydra.launcher.x='${extra}'", "+extra=call", "-m"],
    ["++hydra.sweeper.params={hydra/callbacks: evil}", "-m"],
    ["++hydra.sweeper.params={+hydra.job_logging.handlers.h.(): exec}", "-m"],
    ["+extra@hydra.callbacks.x=call"],
    ["+extra@_global_.hydra.callbacks.x=call"],
    ["+ra@hyd_group_=job"],
    ["+ra@:hydra=job"],
    ["+extra=callbacks"],
    ["experiment=../extra/callbacks"],
    ["experiment=[callbacks]"],
    ["+../evil/extra=callbacks"],
    ["+/extra=callbacks"],
    ["hydra.searchpath=[file://evil]"],
    ["+hydra.searchpath=[evil]", "hydra/callbacks=evil"],
    ["hydra.searchpath=[pkg://evil]"],
    ["hydra.mode=MULTIRUN", "seed=1,2"],
    ["hydra.job.env_set={LD_PRELOAD: x}"],
    ["+hydra.job.env_copy=[HOME]"],
    ["hydra.job.chdir=true"],
    ["hydra.run.dir=/tmp"],
    ["hydra.output_subdir=x"],
    ["hydra.verbose=true"],
    ["hydra.sweep.subdir=${hydra.job.num}", "-m"],
    ["hydra.sweep.dir=elsewhere", "-m"],
    ["~hydra.job_logging"],
    ["~hydra/job_logging"],
    ["hydra.job_logging.handlers={h: {(): exec}}"],
]


@pytest.mark.parametrize("words", EVIL_WORDS, ids=" ".join)
@pytest.mark.parametrize("folder", [[], ["--config-dir", "evil"]], ids=["alone", "config_dir"])
def test_no_override_runs_code(
    cnnlab: Cnnlab, here: Path, words: list[str], folder: list[str]
) -> None:
    for group in ("callbacks", "job_logging", "env", "launcher"):
        write(here, f"evil/hydra/{group}/evil.yaml", f"x: {CALL}")
    write(here, "evil/extra/call.yaml", CALL)
    write(here, "evil/extra/callbacks.yaml", f"# @package hydra.callbacks\nx: {CALL}")
    write(here, "evil/ra/job.yaml", f"callbacks: {{x: {CALL}}}")
    code, _, err = cnnlab("train", *words, *folder)
    assert code == 2 and 1 <= len(err.splitlines()) <= 2 and "Error:" not in err, err
    assert [path.name for path in here.iterdir()] == ["evil"]


def test_files_elsewhere_are_not_read(cnnlab: Cnnlab, here: Path) -> None:
    write(here, "shared/experiment/evil.yaml", f"{GLOBAL}hydra: {{callbacks: {{x: {CALL}}}}}")
    shared = here / "shared"
    for words in (
        [f"hydra.searchpath=[file://{shared}]", "experiment=evil"],
        [f"experiment={'../' * 20}{shared}/experiment/evil"],
        [f"experiment={shared}/experiment/evil"],
        [f"+{'../' * 20}{shared}/experiment=evil"],
    ):
        code, _, err = cnnlab("train", *words)
        assert code == 2 and len(err.splitlines()) <= 2, err
        code, _, err = cnnlab("train", "-m", "seed=1,2", *words)
        assert code == 2 and len(err.splitlines()) <= 2, err
    code, _, err = cnnlab("train", "-m", f"experiment=null,{'../' * 20}{shared}/experiment/evil")
    assert code == 2 and not Path(CANARY_FILE).exists()


def test_files_that_include_each_other_twice_end_soon(theirs: Path) -> None:
    for n in range(40):
        after = f"defaults: [f{n + 1}@a, f{n + 1}@b]"
        write(theirs, f"experiment/f{n}.yaml", after)
    write(theirs, "experiment/f40.yaml", "x: 1")
    with pytest.raises(UsageError, match="more than 1,000 files"):
        compose_guarded(theirs, "experiment=f0")


def test_links_are_followed(theirs: Path, here: Path) -> None:
    (theirs / "experiment").symlink_to(here / "outside")
    with pytest.raises(UsageError, match=r"experiment/key\.yaml: hydra is refused"):
        compose_guarded(theirs, "experiment=key")


def test_what_is_no_regular_file_is_no_configuration(theirs: Path) -> None:
    write(theirs, "experiment/broken.yaml", "a: [")
    os.mkfifo(theirs / "experiment" / "pipe.yaml")
    (theirs / "experiment" / "device.yaml").symlink_to("/dev/zero")
    (theirs / "experiment" / "folder.yaml").mkdir()
    for name in ("broken", "pipe", "device", "folder"):
        with pytest.raises((UsageError, hydra.MissingConfigException)):
            compose_guarded(theirs, f"experiment={name}")


def test_a_packaged_file_is_not_replaced(theirs: Path) -> None:
    write(theirs, "optim/adam.yaml", "lr: 7")
    packaged = compose_guarded(CONFIG_DIR, "optim=adam")
    assert compose_guarded(theirs, "optim=adam")["optim"] == packaged["optim"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (TRAP, f"{GLOBAL}defaults: [override /dataset: mnist, _self_]\nname: ${{model.name}}"),
        (TRAP, f"{GLOBAL}defaults:\n- optional /model/size@x: ${{experiment}}_x"),
        (TRAP, f"{GLOBAL}defaults: [mnist_mlp, /optim/sgd@_here_, {{/schedule@x: null}}]"),
        (TRAP, f"{GLOBAL}defaults: [{{/augment@x: [crop, shift.yaml]}}]"),
        ("optim/trap.yaml", "# as `hydra` does\nname: sgd\nlr: 1e-3"),
        ("hydra_like/trap.yaml", "hydraulic: 1"),
    ],
)
def test_plain_configurations_are_allowed(theirs: Path, file: str, content: str) -> None:
    write(theirs, file, content)
    group = file.partition("/")[0]
    new = "+" if group == "hydra_like" else ""
    config = compose_guarded(theirs, f"{new}{group}=trap")
    assert group != "optim" or config["optim"]["lr"] == 0.001  # type: ignore[index]


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]])
def test_the_command_refuses_in_two_lines(cnnlab: Cnnlab, theirs: Path, sweep: list[str]) -> None:
    write(theirs, TRAP, EFFECTIVE_CONTENTS["key"])
    code, out, err = cnnlab("train", "--config-dir", "theirs", "experiment=trap", *sweep)
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert err.startswith(
        "cnnlab: theirs/experiment/trap.yaml: hydra is refused\nit could run code"
    )
    assert not Path("outputs").exists()
    code, _, err = cnnlab("train", "--config-dir", "nowhere")
    assert (code, err) == (2, "cnnlab: --config-dir nowhere is not a folder\n")


def test_a_sweep_over_own_configurations_runs(cnnlab: Cnnlab, here: Path) -> None:
    content = f"{GLOBAL}epochs: 1\nmodel: {{filters: [4], hidden: [4]}}\n"
    write(here, "mine/experiment/good.yaml", content)
    assert cnnlab("train", "-m", "--config-dir", "mine", "experiment=good", "seed=1,2")[0] == 0
