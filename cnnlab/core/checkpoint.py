"""A checkpoint is one safetensors file: tensors by `group/name`, and a JSON record of all the rest in its metadata.

One rename makes it whole, and reading it cannot run code.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from cnnlab.core.errors import CnnlabError, UsageError, not_one_of, reason
from cnnlab.core.files import write_whole
from cnnlab.core.schema import fits

if TYPE_CHECKING:  # `cnnlab runs` reads records, and need not wait for torch
    from torch import Tensor

Groups = dict[str, dict[str, "Tensor"]]  # {"model": {...}, "optimizer": {...}, ...}
FORMAT = "1"
RECORD = {"config": dict, "classes": list[str], "shape": list[int], "step": int, "validation": dict[str, float] | None}


def save(path: Path, groups: Mapping[str, Mapping[str, "Tensor"]], record: dict[str, Any]) -> None:
    """Write tensors and their record to `path`, whole. Raises Unwritable where the disk is full or closed."""
    from safetensors.torch import save_file

    path.parent.mkdir(exist_ok=True)
    tensors = {f"{group}/{name}": t.detach().contiguous() for group, of in groups.items() for name, t in of.items()}
    text = json.dumps(record | {"tensors": len(tensors)}, allow_nan=False)
    write_whole(path, lambda part: save_file(tensors, part, {"format": "pt", "cnnlab": FORMAT, "record": text}))


def load(path: Path, device: str = "cpu", groups: tuple[str, ...] = ()) -> tuple[Groups, dict[str, Any]]:
    """The tensors on `device`, of the named groups or of all, and the record. Raises CnnlabError for a file that is
    missing, damaged, not a checkpoint, or holds values that are not finite."""
    try:
        with safe_open(path, framework="pt", device=device) as file:
            record, names = parse(path, file.metadata() or {}), list(file.keys())
            if len(names) != record.get("tensors", len(names)):
                raise CnnlabError(f"{path} holds {len(names)} tensors, and should {record['tensors']}")
            found: Groups = {}
            for name in names:
                group, _, rest = name.partition("/")
                if not groups or group in groups:
                    found.setdefault(group, {})[rest] = finite(path, name, file.get_tensor(name))
            return found, record
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def weights(path: Path) -> dict[str, "Tensor"]:
    """By name: a checkpoint's result (its average, where it has one), or all tensors of another safetensors file.
    Raises CnnlabError as `load` does."""
    try:
        with safe_open(path, framework="pt") as file:
            if "cnnlab" not in (file.metadata() or {}):
                return {name: finite(path, name, file.get_tensor(name)) for name in list(file.keys())}
    except (OSError, SafetensorError) as error:
        raise CnnlabError(f"{path} is not a safetensors file: {reason(error)}") from error
    groups, _ = load(path, groups=("model", "average"))
    return groups.get("average") or groups["model"]


def finite(path: Path, name: str, tensor: "Tensor") -> "Tensor":
    """The tensor, unless a value of it is infinite or none: a run that went on from there would be lost."""
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise CnnlabError(f"{path}: {name} holds values that are not finite")
    return tensor


def read_record(path: Path) -> dict[str, Any]:
    """The record alone: only the file's head is read."""
    try:
        with safe_open(path, framework="np") as file:
            return parse(path, file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> CnnlabError:
    if not path.exists():
        return CnnlabError(f"no checkpoint {path}")
    return CnnlabError(f"{path} is not a whole checkpoint: {reason(error)}; checkpoint=STEP names an earlier one")


def parse(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The record in a file's metadata, every part of it of the type that it should be."""
    if "cnnlab" not in metadata:
        raise CnnlabError(f"{path} is not a checkpoint of cnnlab's: its metadata has no record")
    if metadata["cnnlab"] != FORMAT:
        raise CnnlabError(f"{path} has a record of another version of cnnlab (format {metadata['cnnlab'][:20]!r})")
    try:
        record = json.loads(metadata["record"], parse_constant=not_a_number)
    except (KeyError, ValueError, RecursionError) as error:
        raise CnnlabError(f"{path} has a record that cannot be read ({error})") from error
    wrong = [k for k, kind in RECORD.items() if not isinstance(record, dict) or not fits(record.get(k, ...), kind)]
    if wrong:
        raise CnnlabError(f"{path} has a record that cannot be read ({', '.join(wrong)})")
    if path.stem.startswith("step_") and path.stem != path_at(path.parent, record["step"]).stem:
        raise CnnlabError(f"{path} says that it is of step {record['step']}: it was renamed or changed")
    return record


def not_a_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def path_at(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps belongs."""
    return folder / f"step_{step:09d}.safetensors"


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints there are, oldest first."""
    numbers = (path.stem.removeprefix("step_") for path in folder.glob("step_*.safetensors"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def newest_whole(folder: Path) -> tuple[Groups, dict[str, Any], bool]:
    """The newest checkpoint that can be read, and whether a newer one could not. Raises CnnlabError for none."""
    newest = find(folder, "last")
    for step in reversed(steps(folder)):
        with suppress(CnnlabError):
            return *load(path_at(folder, step)), path_at(folder, step) != newest
    return *load(newest), False


def find(folder: Path, which: str) -> Path:
    """`last | best | STEP` -> the file. Best is the highest validation accuracy, the earliest of equals."""
    there = steps(folder)
    if not there:
        raise CnnlabError(f"no checkpoint in {folder}")
    if which == "last":
        return path_at(folder, there[-1])
    if which == "best":
        return path_at(folder, best(folder, there))
    if not which.isdecimal() or int(which) not in there:
        raise UsageError(not_one_of("checkpoint", which, ["last", "best", *map(str, there)]))
    return path_at(folder, int(which))


def best(folder: Path, there: list[int]) -> int:
    """A checkpoint saved within an epoch, on a signal, has no validation score and comes after those that have one."""

    def rank(step: int) -> tuple[float, int]:
        try:
            validation = read_record(path_at(folder, step))["validation"]
        except CnnlabError:
            return -2.0, -step
        return validation.get("accuracy", -1.0) if validation else -1.0, -step

    return max(there, key=rank)


def prune(folder: Path) -> None:
    """Keep the newest checkpoint, the one before, and the best."""
    there = steps(folder)
    if len(there) > 2:
        keep = {*there[-2:], best(folder, there)}
        for step in there:
            if step not in keep:
                path_at(folder, step).unlink()
