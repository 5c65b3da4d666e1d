import os
import struct
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch

from cnnlab.core.array_file import read_npy, read_state_dict


def write_npy_header(path: Path, shape: str, dtype: str = "<f4", data: bytes = b"") -> None:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header = header.ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)


def test_npy_round_trip(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    assert np.array_equal(read_npy(tmp_path / "x.npy"), array)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ("(100000000000,)", "<f4", "it promises 400,000,000,000 bytes and holds 8"),
        ("(100000000000, 0)", "<f4", "it promises 0 bytes and holds 8"),
        ("(-1, -2)", "<f4", "promises|shape"),
        ("(2,)", "|O", "it holds objects"),
        ("('a',)", "<f4", "shape"),
    ],
)
def test_npy_header_of_400_gb_allocates_nothing(
    tmp_path: Path, shape: str, dtype: str, message: str
) -> None:
    write_npy_header(tmp_path / "x.npy", shape, dtype, bytes(8))
    if shape == "(-1, -2)":
        with pytest.raises(ValueError):
            read_npy(tmp_path / "x.npy")
        return
    with pytest.raises(ValueError, match=message):
        read_npy(tmp_path / "x.npy")


def test_pipe_in_place_of_an_array_is_not_awaited(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    for read in (read_npy, read_state_dict):
        with pytest.raises(OSError, match="not a regular file"):
            read(tmp_path / "x")


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_round_trip(tmp_path: Path, zipped: bool) -> None:
    state = {"w": torch.randn(3, 4), "n": torch.tensor(7)}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    loaded = read_state_dict(tmp_path / "x.pth")
    assert loaded.keys() == state.keys() and torch.equal(loaded["w"], state["w"])


@pytest.mark.parametrize("zipped", [True, False])
def test_stride_0_tensor_is_not_expanded(tmp_path: Path, zipped: bool) -> None:
    """1.6 kB that become 4 TB."""
    state = {"w": torch.zeros(1).expand(1 << 40)}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="its tensors are larger than its"):
        read_state_dict(tmp_path / "x.pth")


def test_compressed_pth_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as source,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in source.namelist():
            bomb.writestr(name, source.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 10_000
    with pytest.raises(ValueError, match="it is compressed"):
        read_state_dict(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "value", [torch.eye(3).to_sparse(), torch.empty(1 << 40, device="meta"), [torch.ones(1)], "w"]
)
def test_state_dict_of_other_things_is_refused(tmp_path: Path, value: object) -> None:
    torch.save({"w": value}, tmp_path / "x.pth")
    with pytest.raises((ValueError, UnpicklingError)):
        read_state_dict(tmp_path / "x.pth")
