"""A checkpoint is one safetensors file: tensors by `group/name`, and a JSON record in its metadata.

It is written atomically, and reading it cannot run code.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from cnnlab.core.errors import (
    CnnlabError,
    UsageError,
    WriteFailed,
    format_unknown_choice,
    summarize_error,
)
from cnnlab.core.files import check_safetensors_header, parse_json, write_atomically
from cnnlab.core.link_safety import make_subfolder
from cnnlab.core.schema import is_of_type

if TYPE_CHECKING:  # `cnnlab runs` reads records without importing torch
    from torch import Tensor

TensorGroups = dict[str, dict[str, "Tensor"]]  # {"model": {...}, "optimizer": {...}, ...}
CHECKPOINT_FORMAT = "1"
RECORD_SCHEMA = {
    "config": dict,
    "classes": list[str],
    "shape": list[int],
    "step": int,
    "validation": dict[str, float] | None,
}


class UnreadableCheckpoint(CnnlabError):
    """A checkpoint that may be whole cannot be read: another version wrote it, or permissions."""


def save_checkpoint(
    path: Path, groups: Mapping[str, Mapping[str, "Tensor"]], record: dict[str, Any]
) -> None:
    """Write tensors and their record to `path` atomically. Raises WriteFailed."""
    from safetensors.torch import save_file

    make_subfolder(path.parent)
    tensors = {
        f"{group}/{name}": tensor.detach().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    text = json.dumps(record | {"tensors": len(tensors)}, allow_nan=False)
    metadata = {"format": "pt", "cnnlab": CHECKPOINT_FORMAT, "record": text}
    write_atomically(path, lambda part: save_file(tensors, part, metadata))


def load_checkpoint(
    path: Path, device: str = "cpu", groups: tuple[str, ...] = ()
) -> tuple[TensorGroups, dict[str, Any]]:
    """Return the tensors on `device`, of the named groups or of all, and the record. Raises
    CnnlabError for a file that is missing, damaged, not a checkpoint, or has non-finite values."""
    with open_checkpoint(path, "pt", device) as file:
        record, names = parse_record(path, file.metadata() or {}), list(file.keys())
        if len(names) != record.get("tensors", len(names)):
            raise CnnlabError(f"{path} has {len(names)} tensors, not {record['tensors']}")
        tensors: TensorGroups = {}
        for name in names:
            group, _, rest = name.partition("/")
            if not groups or group in groups:
                tensor = check_finite(path, name, file.get_tensor(name))
                tensors.setdefault(group, {})[rest] = tensor
        return tensors, record


def load_weights(path: Path) -> dict[str, "Tensor"]:
    """Return by name a checkpoint's weights (the averaged ones, if it has them), or all tensors of
    another safetensors file. Raises CnnlabError as `load_checkpoint` does."""
    try:
        check_safetensors_header(path)
        with safe_open(path, framework="pt") as file:
            if "cnnlab" not in (file.metadata() or {}):
                return {
                    name: check_finite(path, name, file.get_tensor(name))
                    for name in list(file.keys())
                }
    except (OSError, SafetensorError) as error:
        raise CnnlabError(f"{path} is not a safetensors file: {summarize_error(error)}") from error
    groups, _ = load_checkpoint(path, groups=("model", "average"))
    return groups.get("average") or groups["model"]


def check_finite(path: Path, name: str, tensor: "Tensor") -> "Tensor":
    """Return the tensor. Raises CnnlabError if it has infinite or NaN values."""
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise CnnlabError(f"{path}: {name} has values that are not finite")
    return tensor


def read_record(path: Path) -> dict[str, Any]:
    """Return only the record; the tensors are not read."""
    with open_checkpoint(path, "np") as file:
        return parse_record(path, file.metadata() or {})


@contextmanager
def open_checkpoint(path: Path, framework: str, device: str = "cpu") -> Iterator[Any]:
    """Yield an opened safetensors file. Raises CnnlabError for what is missing or damaged."""
    try:
        check_safetensors_header(path)
        with safe_open(path, framework=framework, device=device) as file:
            yield file
    except FileNotFoundError as error:
        raise CnnlabError(f"no checkpoint {path}") from error
    except PermissionError as error:
        raise UnreadableCheckpoint(f"cannot read {path}: {summarize_error(error)}") from error
    except (OSError, SafetensorError) as error:
        reason = summarize_error(error)
        raise CnnlabError(f"{path} is not a complete checkpoint: {reason}") from error


def parse_record(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the record of a file's metadata. Raises CnnlabError if a value has another type."""
    if "cnnlab" not in metadata:
        raise CnnlabError(f"{path} is not a cnnlab checkpoint: its metadata has no record")
    if metadata["cnnlab"] != CHECKPOINT_FORMAT:
        version = f"another version of cnnlab (format {metadata['cnnlab'][:20]!r})"
        raise UnreadableCheckpoint(f"{path} has a record of {version};\ninstall that version")
    try:
        record = parse_json(metadata["record"])
    except (KeyError, ValueError) as error:
        raise CnnlabError(f"{path} has a record that cannot be read ({error})") from error
    invalid = [
        key
        for key, kind in RECORD_SCHEMA.items()
        if not isinstance(record, dict) or not is_of_type(record.get(key, ...), kind)
    ]
    if invalid:
        raise CnnlabError(f"{path} has a record that cannot be read ({', '.join(invalid)})")
    name = checkpoint_path(path.parent, record["step"]).stem
    if path.stem.startswith("step_") and path.stem != name:
        raise CnnlabError(f"{path} was renamed or changed: its record is of step {record['step']}")
    return record


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint after `step` steps."""
    return folder / f"step_{step:09d}.safetensors"


def list_checkpoint_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, damaged ones too, oldest first."""
    numbers = {path.name: path.stem[5:] for path in folder.glob("step_*.safetensors")}
    steps = {name: int(number) for name, number in numbers.items() if number.isdecimal()}
    return sorted(
        step for name, step in steps.items() if checkpoint_path(folder, step).name == name
    )


def read_records(folder: Path) -> dict[int, dict[str, Any]]:
    """Return {step: record} of the checkpoints whose record can be read, oldest first."""
    records = {}
    for step in list_checkpoint_steps(folder):
        with suppress(CnnlabError):
            records[step] = read_record(checkpoint_path(folder, step))
    return records


def load_newest_valid(folder: Path) -> tuple[TensorGroups, dict[str, Any], list[Path]]:
    """Return the newest valid checkpoint, and the paths of newer ones, which are damaged. Raises
    CnnlabError if there is none, or for one that may be whole, but cannot be read."""
    newest, damaged = find_checkpoint(folder, "last"), list[Path]()
    for step in reversed(list_checkpoint_steps(folder)):
        path = checkpoint_path(folder, step)
        try:
            return *load_checkpoint(path), damaged
        except UnreadableCheckpoint:
            raise
        except CnnlabError:
            damaged.append(path)
    return *load_checkpoint(newest), []


def set_aside(paths: list[Path]) -> None:
    """Rename damaged checkpoints, so that they no longer count. Raises WriteFailed."""
    for path in paths:
        try:
            path.rename(path.with_name(f"{path.name}.{secrets.token_hex(2)}.damaged"))
        except OSError as error:
            raise WriteFailed(path, error) from error


def find_checkpoint(folder: Path, which: str) -> Path:
    """Return the file of `last | best | STEP`. The best has the highest validation accuracy; of
    equal ones the first is taken."""
    steps = list_checkpoint_steps(folder)
    if not steps:
        raise CnnlabError(f"no checkpoint in {folder}")
    if which == "last":
        return checkpoint_path(folder, steps[-1])
    if which == "best":
        return checkpoint_path(folder, find_best_step(folder, steps))
    if not which.isdecimal() or int(which) not in steps:
        choices = ["last", "best", *map(str, steps)]
        raise UsageError(format_unknown_choice("checkpoint", which, choices))
    return checkpoint_path(folder, int(which))


def find_best_step(folder: Path, steps: list[int]) -> int:
    """Return the step of the highest validation accuracy; the last one if no record can be read."""
    return find_best(read_records(folder)) or steps[-1]


def find_best(records: Mapping[int, dict[str, Any]]) -> int | None:
    """Return the step of the highest validation accuracy, if there is any. A checkpoint saved
    within an epoch, on a signal, has none and ranks last."""

    def rank(step: int) -> tuple[float, int]:
        validation = records[step]["validation"]
        return (validation.get("accuracy", -1.0) if validation else -1.0), -step

    return max(records, key=rank, default=None)


def prune_checkpoints(folder: Path) -> None:
    """Keep the newest checkpoint, the one before, and the best. Damaged ones do not count."""
    records = read_records(folder)
    retained = {*list(records)[-2:], find_best(records)}
    for step in records.keys() - retained:
        checkpoint_path(folder, step).unlink(missing_ok=True)
