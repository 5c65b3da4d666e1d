"""Read .npy files and PyTorch's .pth files whose headers may promise more than they hold."""

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from cnnlab.core.files import check_regular_file, open_regular_file
from cnnlab.core.pickle_safety import check_pickles

NPY_HEADER_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def read_npy(path: Path) -> np.ndarray:
    """Return the array of a .npy file. Raises OSError or ValueError for a damaged file, before the
    memory for the array is allocated."""
    with open_regular_file(path) as file:
        version = npy_format.read_magic(file)
        if version not in NPY_HEADER_READERS:
            raise ValueError(f"its format {version} is unknown")
        shape, _, dtype = NPY_HEADER_READERS[version](file)
        if dtype.hasobject:
            raise ValueError("it holds objects, not numbers")
        promised, held = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
        if promised != held - file.tell():
            raise ValueError(f"it promises {promised:,} bytes and holds {held - file.tell():,}")
        file.seek(0)
        return np.load(file, allow_pickle=False)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .pth file; nothing else is unpickled.

    Raises OSError, RuntimeError, UnpicklingError or ValueError for what is not tensors and for a
    damaged file, also for one whose tensors are larger than the file: compressed, or views that
    repeat numbers.
    """
    check_regular_file(path)
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        check_not_compressed(path)
    check_pickles(path)
    # Files from before torch 1.6 are not zips, and cannot be mapped into memory.
    state: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError("it is not a state dict")
    file_bytes = path.stat().st_size
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{name} is not a dense tensor")
    if sum(tensor.nbytes for tensor in state.values()) > file_bytes:
        raise ValueError(f"its tensors are larger than its {file_bytes:,} bytes")
    return state


def check_not_compressed(path: Path) -> None:
    """Raise ValueError for a zip file with compressed members: torch writes none, and a small file
    could become gigabytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is a damaged zip file: {error}") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed, as no file written by torch is")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError("its members are larger than the file")
