import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab.core.array_file import read_state_dict
from cnnlab.core.pickle_safety import check_pickles

BYTEARRAY = b"\x80\x02c__builtin__\nbytearray\nJ" + struct.pack("<i", 2**31 - 1) + b"\x85R."
DOUBLED_TUPLES = b"\x80\x02)q\x01" + b"h\x01h\x01\x86q\x01" * 60 + b"}h\x01K\x01s."
DOUBLED_BEHIND_A_MARK = b"\x80\x02)q\x01" + b"h\x01h\x01\x86(uq\x01" * 60 + b"}h\x01K\x01s."
DEEP_TUPLES = b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."
LEGACY_HEAD = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))


def write_zip(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", "3\n")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BYTEARRAY, "it holds more than tensors: __builtin__ bytearray"),
        (DOUBLED_TUPLES, "it holds a tuple of more than 1,000 values"),
        (DOUBLED_BEHIND_A_MARK, "it holds a tuple of more than 1,000 values"),
        (DEEP_TUPLES, "it holds a tuple of more than 1,000 values"),
        (b"\x80\x02u.", "its pickle is damaged"),
        (b"\x80\x02h\x01.", "its pickle is damaged"),
        (b"\x80\x02c__builtin__\n\xff\n.", "its pickle is damaged|more than tensors|ascii"),
        (b"\x80\x02", "pickle exhausted before seeing STOP"),
        (b"\x80\x02" + b"N0" * 1_000, r"its pickle has [\d,]+ bytes; the limit is 1,500"),
    ],
    ids=[
        "bytearray_of_2_gb",
        "hash_that_never_ends",
        "hash_that_never_ends_behind_a_mark",
        "depth_that_crashes",
        "no_mark",
        "no_memo",
        "no_ascii",
        "cut",
        "long",
    ],
)
def test_pickle_that_hangs_crashes_or_fills_the_memory_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    message: str,
    zipped: bool,
) -> None:
    if content.endswith(b"N0"):
        monkeypatch.setattr("cnnlab.core.pickle_safety.MAX_PICKLE_BYTES", 1_500)
    if zipped:
        write_zip(tmp_path / "x.pth", content)
    else:
        (tmp_path / "x.pth").write_bytes(LEGACY_HEAD + content)
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "x.pth")


def test_tar_file_whose_first_bytes_are_pickles_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("N.N.N.N.N."))
    with pytest.raises(ValueError, match="it is a tar file"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_all_kinds_of_tensors_are_accepted(tmp_path: Path, zipped: bool) -> None:
    state = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()
    state |= {"parameter": nn.Parameter(torch.ones(2)), "bool": torch.ones(2, dtype=torch.bool)}
    state |= {"view": torch.ones(3).bfloat16()[1:], "tied": state["0.weight"]}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    check_pickles(tmp_path / "x.pth")
    assert read_state_dict(tmp_path / "x.pth").keys() == state.keys()
