"""Check the pickles of a PyTorch file before torch reads them.

torch.load(weights_only=True) runs no code, but a few bytes can still ask it for a bytearray of any
size, for the hash of tuples in tuples, which takes for ever, or for so deep ones that it crashes.
"""

import pickletools
import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cnnlab.core.files import open_regular_file

MAX_PICKLE_BYTES = 2 << 20  # of torchvision's largest networks: 0.3 MB
MAX_TUPLE_VALUES = 1000  # in a tuple and those within it; those of a tensor have about 15
LEGACY_PICKLES = 5  # magic number, protocol, system, state dict, keys of the storages
# What the pickle of a state dict names: tensors, parameters, and dictionaries of them.
ALLOWED_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v2)?|parameter)"
    r"|torch\.nn\.parameter Parameter|torch \w+Storage"
)


def check_pickles(path: Path) -> None:
    """Raise ValueError for a PyTorch file whose pickles hold other objects than tensors, or are
    not complete; OSError if it cannot be read."""
    if tarfile.is_tarfile(path):
        raise ValueError("it is a tar file, as PyTorch wrote before 2017; save it anew")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".pkl"):
                    check_size(member.file_size)
                    with archive.open(member) as file:
                        check_pickle(file)
        return
    with open_regular_file(path) as file:
        for _ in range(LEGACY_PICKLES):
            check_pickle(file)


def check_size(num_bytes: int) -> None:
    """Raise ValueError for a pickle that would take too long to check."""
    if num_bytes > MAX_PICKLE_BYTES:
        raise ValueError(f"its pickle has {num_bytes:,} bytes; the limit is {MAX_PICKLE_BYTES:,}")


@contextmanager
def translate_pickle_errors() -> Iterator[None]:
    """Raise ValueError for whatever a damaged pickle makes of the interpreter's stack."""
    try:
        yield
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("its pickle is damaged") from error


@translate_pickle_errors()
def check_pickle(file: IO[bytes]) -> None:
    """Read one pickle as far as its end. Raises ValueError as `check_pickles` does.

    Every object is represented by the number of values in it, if it is a tuple, with those that
    occur twice counted twice, as they are hashed; None is a mark.
    """
    stack: list[int | None] = []
    memo: dict[object, int | None] = {}
    for opcode, argument, position in pickletools.genops(file):
        check_size(position or 0)
        names_class = opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ")
        if names_class and not ALLOWED_GLOBALS.fullmatch(str(argument)):
            raise ValueError(f"it holds more than tensors: {argument or opcode.name}")
        if "PUT" in opcode.name or opcode.name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1]
            continue
        if "GET" in opcode.name:
            stack.append(memo[argument])
            continue
        inner = sum(take_operands(stack, opcode))
        size = 1 if opcode.name in ("REDUCE", "BINPERSID") else 1 + min(inner, MAX_TUPLE_VALUES)
        if "TUPLE" in opcode.name and size > MAX_TUPLE_VALUES:
            raise ValueError(f"it holds a tuple of more than {MAX_TUPLE_VALUES:,} values")
        is_mark = pickletools.markobject in opcode.stack_after
        stack += [None if is_mark else size] * len(opcode.stack_after)


def take_operands(stack: list[int | None], opcode: pickletools.OpcodeInfo) -> list[int]:
    """Remove what an opcode takes from the stack, and return it without the mark."""
    operands: list[int] = []
    fixed = opcode.stack_before
    if pickletools.markobject in fixed:
        fixed = fixed[: fixed.index(pickletools.markobject)]
        while (value := stack.pop()) is not None:
            operands.append(value)
    for _ in fixed:
        operands.append(stack.pop() or 0)
    return operands
