"""Hostile run folders and configurations run no code and are reported in one line."""

import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cnnlab.core import checkpoint
from cnnlab.core.files import write_json
from tests.conftest import TINY, Cnnlab

CANARY_FILE = "the_canary_sang"


class Canary:
    """Creates a file when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, (CANARY_FILE, "w"))  # type: ignore[return-value]


def make_safetensors(
    entries: dict[str, Any], data: bytes = b"", length: int | None = None
) -> bytes:
    """Return a safetensors file; `length`: the header length that it claims."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def describe_tensor(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


RECORD = {"cnnlab": "1", "record": "{}"}
BROKEN = {
    "an empty file": b"",
    "a head of 2^63 bytes": make_safetensors({}, length=1 << 63),
    "a head of 1 GB": make_safetensors({}, length=1 << 30),
    "a head longer than the file": make_safetensors({}, length=500),
    "a head that is no JSON": struct.pack("<Q", 4) + b"{{{{",
    "deeply nested": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "tensors that overlap": make_safetensors(
        {"model/a": describe_tensor([2], 0, 8), "model/b": describe_tensor([2], 4, 12)}, bytes(12)
    ),
    "a tensor beyond the end": make_safetensors({"model/a": describe_tensor([2], 0, 8)}, bytes(4)),
    "a tensor of 2^80 numbers": make_safetensors(
        {"model/a": describe_tensor([1 << 40, 1 << 40], 0, 8)}, bytes(8)
    ),
    "a negative size": make_safetensors({"model/a": describe_tensor([-1], 0, 8)}, bytes(8)),
    "a pickle": pickle.dumps(Canary()),
    "no record": make_safetensors({"model/a": describe_tensor([2], 0, 8)}, bytes(8)),
    "an empty record": make_safetensors(
        {"__metadata__": RECORD, "model/a": describe_tensor([2], 0, 8)}, bytes(8)
    ),
    "a record nested deeply": make_safetensors(
        {"__metadata__": RECORD | {"record": "[" * 100_000}}
    ),
}


@pytest.fixture
def run(tiny_run: Path, here: Path) -> Path:
    """A copy of a finished run, marked interrupted so that it can be resumed."""
    copy = Path(shutil.copytree(tiny_run, here / "outputs" / "train" / "2026-01-01_00-00-00_x"))
    write_json(copy / "state.json", {"state": "interrupted"})
    return copy


def run_quietly(cnnlab: Cnnlab, *words: str) -> tuple[int, str]:
    """Return exit code and stderr of a command, which prints no traceback and few lines."""
    code, out, err = cnnlab(*words)
    assert "Traceback" not in out + err and "Error:" not in err and len(err.splitlines()) <= 3, err
    assert not Path(CANARY_FILE).exists()
    return code, err


def keep_last_checkpoint(run: Path) -> Path:
    """Delete all but the last checkpoint of a run; return its path."""
    first, last = (
        checkpoint.checkpoint_path(run / "checkpoints", step)
        for step in checkpoint.list_checkpoint_steps(run / "checkpoints")
    )
    first.unlink()
    return last


@pytest.mark.parametrize("name", BROKEN)
def test_invalid_checkpoints_are_named(cnnlab: Cnnlab, run: Path, name: str) -> None:
    path = keep_last_checkpoint(run)
    path.write_bytes(BROKEN[name])
    for words in (
        ["eval", str(run), "mistakes=0"],
        ["train", f"resume={run}"],
        ["predict", "x.png", f"run={run}"],
    ):
        code, err = run_quietly(cnnlab, *words)
        assert code == 1 and path.name in err
    assert run_quietly(cnnlab, "runs") == (0, "")


@pytest.mark.parametrize("tenths", [[1, 9], pytest.param(range(10), marks=pytest.mark.slow)])
def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    cnnlab: Cnnlab, run: Path, tenths: list[int]
) -> None:
    path = checkpoint.find_checkpoint(run / "checkpoints", "last")
    blob = path.read_bytes()
    for tenth in tenths:
        path.write_bytes(blob[: len(blob) * tenth // 10])
        code, err = run_quietly(cnnlab, "eval", str(run), "checkpoint=last")
        assert code == 1 and f"{path.name} is not a complete checkpoint" in err
    code, err = run_quietly(cnnlab, "train", f"resume={run}")
    assert code == 0
    assert err == f"{path} is damaged and was set aside; resuming from step 25 instead\n"


def replace_tensors(path: Path, **tensors: torch.Tensor) -> None:
    """Replace tensors of a checkpoint; in their names `__` stands for `.` and `/`."""
    with safe_open(path, framework="pt") as file:
        metadata, tensors_by_name = (
            file.metadata(),
            {name: file.get_tensor(name) for name in list(file.keys())},
        )
    names = {name.replace("/", "__").replace(".", "__"): name for name in tensors_by_name}
    save_file(
        {**tensors_by_name, **{names[key]: value for key, value in tensors.items()}}, path, metadata
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "model__conv_1__conv__weight",
            torch.zeros(4, 1, 5, 5),
            "conv_1.conv.weight is (4, 1, 5, 5)",
        ),
        ("model__conv_1__conv__weight", torch.zeros(4, 1, 3, 3).double(), "(4, 1, 3, 3) float64"),
        (
            "model__conv_1__conv__weight",
            torch.full((4, 1, 3, 3), torch.nan),
            "values that are not finite",
        ),
        (
            "model__output__bias",
            torch.full((10,), torch.inf),
            "model/output.bias has values that are not finite",
        ),
    ],
)
def test_invalid_weights_are_named(
    cnnlab: Cnnlab, run: Path, name: str, value: torch.Tensor, message: str
) -> None:
    path = keep_last_checkpoint(run)
    replace_tensors(path, **{name: value})
    for words in (["eval", str(run)], ["train", f"resume={run}"]):
        code, err = run_quietly(cnnlab, *words)
        assert code == 1 and message in err and path.name in err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer__0__exp_avg", torch.zeros(3), "optimizer/0/exp_avg has shape (3,)"),
        (
            "optimizer__0__exp_avg",
            torch.full((4, 1, 3, 3), torch.nan),
            "optimizer/0/exp_avg has values that are not",
        ),
        ("rng__cpu", torch.zeros(7, dtype=torch.uint8), "does not fit its own description"),
        ("window__sums", torch.zeros(5), "does not fit its own description"),
    ],
)
def test_invalid_training_states_are_named(
    cnnlab: Cnnlab, run: Path, name: str, value: torch.Tensor, message: str
) -> None:
    replace_tensors(keep_last_checkpoint(run), **{name: value})
    code, err = run_quietly(cnnlab, "train", f"resume={run}")
    assert code == 1 and message in err


RECORDS: dict[str, Any] = {
    "step": [49, -1, "50"],
    "classes": [[], None, [1] * 10, ["a"] * 3],
    "shape": [[1, 8], [0, 8, 8], [-1, 8, 8], [1, 1 << 60, 1 << 60], "188"],
    "config": [{}, None],
    "validation": [{"accuracy": "1"}, 7],
    "elapsed_s": ["long"],
    "window": [{"steps": "x"}, 5],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in RECORDS.items() for value in values]
)
def test_invalid_records_are_named(cnnlab: Cnnlab, run: Path, key: str, value: Any) -> None:
    path = keep_last_checkpoint(run)
    with safe_open(path, framework="pt") as file:
        metadata, tensors_by_name = (
            file.metadata(),
            {name: file.get_tensor(name) for name in list(file.keys())},
        )
    record = json.loads(metadata["record"]) | {key: value}
    save_file(tensors_by_name, path, metadata | {"record": json.dumps(record)})
    code, err = run_quietly(cnnlab, "train", f"resume={run}")
    assert code == 1 and path.name in err
    run_quietly(cnnlab, "eval", str(run), "mistakes=0")
    assert run_quietly(cnnlab, "runs") == (0, "")


@pytest.mark.parametrize("kinds", ["metrics.jsonl", pytest.param("*", marks=pytest.mark.slow)])
def test_a_pickle_in_place_of_any_file_is_not_run(
    cnnlab: Cnnlab, run: Path, tmp_path: Path, kinds: str
) -> None:
    run_quietly(cnnlab, "eval", str(run), "mistakes=1")
    files = [path.relative_to(run) for path in run.rglob(kinds) if path.is_file()]
    assert len(files) > (15 if kinds == "*" else 0)
    for name in files:
        copy = Path(shutil.copytree(run, tmp_path / "copy"))
        (copy / name).write_bytes(pickle.dumps(Canary()))
        for words in (
            ["eval", str(copy), "mistakes=1"],
            ["train", f"resume={copy}"],
            ["runs", "--outputs", str(tmp_path)],
        ):
            run_quietly(cnnlab, *words)
        shutil.rmtree(copy)


def test_target_in_four_places_calls_nothing(cnnlab: Cnnlab, here: Path, run: Path) -> None:
    """On the command line, in a --config-dir, in a checkpoint, in a run's config.yaml."""
    call = {"_target_": "builtins.open", "_args_": [CANARY_FILE, "w"]}
    code, err = run_quietly(
        cnnlab, "train", "+optim._target_=builtins.open", f"+optim._args_=[{CANARY_FILE},w]"
    )
    assert code == 2 and "unknown key optim._target_" in err
    for group in ("optim", "schedule", "dataset", "model"):
        folder = here / "configs" / group
        folder.mkdir(parents=True)
        (folder / "evil.yaml").write_text(json.dumps({"name": "x", **call}))
        code, err = run_quietly(
            cnnlab, "train", f"{group}=evil", "--config-dir", str(here / "configs")
        )
        assert code == 2 and "evil.yaml: _target_ is refused" in err
    path = keep_last_checkpoint(run)
    groups, record = checkpoint.load_checkpoint(path)
    for group in ("model", "optim", "augment", "dataset", "schedule"):
        config = record["config"] | {group: record["config"][group] | call}
        checkpoint.save_checkpoint(path, groups, record | {"config": config})
        code, err = run_quietly(cnnlab, "train", f"resume={run}")
        assert code == 1 and path.name in err and "_target_" in err
    checkpoint.save_checkpoint(path, groups, record)
    (run / "config.yaml").write_text(json.dumps(record["config"] | call | {"optim": call}))
    assert run_quietly(cnnlab, "runs") == (0, "")
    assert run_quietly(cnnlab, "train", f"resume={run}")[0] == 0


NAMES = ["<script>x", "[red]x$\\frac{", "${now:}", "a'b\\"]


@pytest.mark.parametrize(
    "name",
    ["".join(NAMES), "x" * 90, *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES)],
)
def test_run_names_are_literal(cnnlab: Cnnlab, here: Path, name: str) -> None:
    from cnnlab.core.quoting import hydra_literal

    code, err = run_quietly(cnnlab, "train", *TINY, "epochs=1", f"name={hydra_literal(name)}")
    assert code == 0, err
    (run,) = (here / "outputs" / "train").iterdir()
    assert run.name.endswith(f"_{name}")
    assert run_quietly(cnnlab, "runs") == (0, "") and run_quietly(cnnlab, "eval", "mistakes=1") == (
        0,
        "",
    )
    assert run_quietly(cnnlab, "train", "resume=last") == (0, "")


@pytest.mark.parametrize("name", ["../x", "a\nb", "a\x1b[31mb", "..", "", "a/b"])
def test_invalid_run_names_are_refused(cnnlab: Cnnlab, here: Path, name: str) -> None:
    from cnnlab.core.quoting import hydra_literal

    code, err = run_quietly(cnnlab, "train", *TINY, f"name={hydra_literal(name)}")
    assert code == 2 and "name must be a valid folder name" in err and not list(here.iterdir())
