"""A checkpoint is one safetensors file: tensors by `group/name`, and a JSON record of all the rest in its metadata.

One rename makes it whole, and reading it cannot run code.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from cnnlab.core.errors import CnnlabError, UsageError, format_unknown_choice, summarize_error
from cnnlab.core.files import write_atomically
from cnnlab.core.schema import is_of_type

if TYPE_CHECKING:  # `cnnlab runs` reads records, and need not wait for torch
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


def save_checkpoint(
    path: Path, groups: Mapping[str, Mapping[str, "Tensor"]], record: dict[str, Any]
) -> None:
    """Write tensors and their record to `path`, whole. Raises Unwritable where the disk is full or closed."""
    from safetensors.torch import save_file

    path.parent.mkdir(exist_ok=True)
    tensors = {
        f"{group}/{name}": t.detach().contiguous()
        for group, of in groups.items()
        for name, t in of.items()
    }
    text = json.dumps(record | {"tensors": len(tensors)}, allow_nan=False)
    write_atomically(
        path,
        lambda part: save_file(
            tensors, part, {"format": "pt", "cnnlab": CHECKPOINT_FORMAT, "record": text}
        ),
    )


def load_checkpoint(
    path: Path, device: str = "cpu", groups: tuple[str, ...] = ()
) -> tuple[TensorGroups, dict[str, Any]]:
    """The tensors on `device`, of the named groups or of all, and the record. Raises CnnlabError for a file that is
    missing, damaged, not a checkpoint, or holds values that are not finite."""
    try:
        with safe_open(path, framework="pt", device=device) as file:
            record, names = parse_record(path, file.metadata() or {}), list(file.keys())
            if len(names) != record.get("tensors", len(names)):
                raise CnnlabError(
                    f"{path} holds {len(names)} tensors, and should {record['tensors']}"
                )
            found: TensorGroups = {}
            for name in names:
                group, _, rest = name.partition("/")
                if not groups or group in groups:
                    found.setdefault(group, {})[rest] = check_finite(
                        path, name, file.get_tensor(name)
                    )
            return found, record
    except (OSError, SafetensorError) as error:
        raise damaged_checkpoint_error(path, error) from error


def load_weights(path: Path) -> dict[str, "Tensor"]:
    """By name: a checkpoint's result (its average, where it has one), or all tensors of another safetensors file.
    Raises CnnlabError as `load` does."""
    try:
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
    """The tensor, unless a value of it is infinite or none: a run that went on from there would be lost."""
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise CnnlabError(f"{path}: {name} holds values that are not finite")
    return tensor


def read_record(path: Path) -> dict[str, Any]:
    """The record alone: only the file's head is read."""
    try:
        with safe_open(path, framework="np") as file:
            return parse_record(path, file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise damaged_checkpoint_error(path, error) from error


def damaged_checkpoint_error(path: Path, error: Exception) -> CnnlabError:
    if not path.exists():
        return CnnlabError(f"no checkpoint {path}")
    return CnnlabError(
        f"{path} is not a whole checkpoint: {summarize_error(error)}; checkpoint=STEP names an earlier one"
    )


def parse_record(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The record in a file's metadata, every part of it of the type that it should be."""
    if "cnnlab" not in metadata:
        raise CnnlabError(f"{path} is not a checkpoint of cnnlab's: its metadata has no record")
    if metadata["cnnlab"] != CHECKPOINT_FORMAT:
        raise CnnlabError(
            f"{path} has a record of another version of cnnlab (format {metadata['cnnlab'][:20]!r})"
        )
    try:
        record = json.loads(metadata["record"], parse_constant=reject_constant)
    except (KeyError, ValueError, RecursionError) as error:
        raise CnnlabError(f"{path} has a record that cannot be read ({error})") from error
    wrong = [
        k
        for k, kind in RECORD_SCHEMA.items()
        if not isinstance(record, dict) or not is_of_type(record.get(k, ...), kind)
    ]
    if wrong:
        raise CnnlabError(f"{path} has a record that cannot be read ({', '.join(wrong)})")
    if (
        path.stem.startswith("step_")
        and path.stem != checkpoint_path(path.parent, record["step"]).stem
    ):
        raise CnnlabError(
            f"{path} says that it is of step {record['step']}: it was renamed or changed"
        )
    return record


def reject_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps belongs."""
    return folder / f"step_{step:09d}.safetensors"


def list_checkpoint_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints there are, oldest first."""
    numbers = (path.stem.removeprefix("step_") for path in folder.glob("step_*.safetensors"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def load_newest_valid(folder: Path) -> tuple[TensorGroups, dict[str, Any], bool]:
    """The newest checkpoint that can be read, and whether a newer one could not. Raises CnnlabError for none."""
    newest = find_checkpoint(folder, "last")
    for step in reversed(list_checkpoint_steps(folder)):
        with suppress(CnnlabError):
            return *load_checkpoint(checkpoint_path(folder, step)), checkpoint_path(
                folder, step
            ) != newest
    return *load_checkpoint(newest), False


def find_checkpoint(folder: Path, which: str) -> Path:
    """`last | best | STEP` -> the file. Best is the highest validation accuracy, the earliest of equals."""
    there = list_checkpoint_steps(folder)
    if not there:
        raise CnnlabError(f"no checkpoint in {folder}")
    if which == "last":
        return checkpoint_path(folder, there[-1])
    if which == "best":
        return checkpoint_path(folder, find_best_step(folder, there))
    if not which.isdecimal() or int(which) not in there:
        raise UsageError(
            format_unknown_choice("checkpoint", which, ["last", "best", *map(str, there)])
        )
    return checkpoint_path(folder, int(which))


def find_best_step(folder: Path, there: list[int]) -> int:
    """A checkpoint saved within an epoch, on a signal, has no validation score and comes after those that have one."""

    def rank(step: int) -> tuple[float, int]:
        try:
            validation = read_record(checkpoint_path(folder, step))["validation"]
        except CnnlabError:
            return -2.0, -step
        return validation.get("accuracy", -1.0) if validation else -1.0, -step

    return max(there, key=rank)


def prune_checkpoints(folder: Path) -> None:
    """Keep the newest checkpoint, the one before, and the best."""
    there = list_checkpoint_steps(folder)
    if len(there) > 2:
        keep = {*there[-2:], find_best_step(folder, there)}
        for step in there:
            if step not in keep:
                checkpoint_path(folder, step).unlink()
