import multiprocessing
import os
import socket
from pathlib import Path

import pytest

from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed
from cnnlab.core.files import (
    check_regular_file,
    expand_home,
    get_cache_folder,
    make_run_folder,
    path_exists,
    read_bytes,
    read_json,
    read_jsonl,
    remove_temporary_files,
    temporary_path,
    write_atomically,
    write_json,
    write_text,
    write_unique,
)


def test_writes_are_atomic(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "before")

    def fail_halfway(part: Path) -> None:
        part.write_text("aft")
        raise OSError("disk full")

    with pytest.raises(WriteFailed, match=r"cannot write .*x\.txt: disk full"):
        write_atomically(path, fail_halfway)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, lambda part: part.touch(mode=0o600))
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_too_long_name_does_not_exist(tmp_path: Path) -> None:
    assert path_exists(tmp_path) and not path_exists(Path("x" * 5000))


def test_json_round_trip_and_refusal_of_nan(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) == {"a": [1, 2.5, None]}
    assert read_json(tmp_path / "absent.json") is None


def make_same_folder(parent: Path) -> str:
    return str(make_run_folder(parent, "same"))


def test_run_folders_of_one_second_differ(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        folders = pool.map(make_same_folder, [tmp_path / "deep" / "down"] * 24)
    assert len(set(folders)) == 24


def test_an_uncreatable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CnnlabError, match=r"cannot create a run folder in .*file"):
        make_run_folder(tmp_path / "file" / "sub", "x")


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(CnnlabError, match="runs: it is not a folder"):
        make_run_folder(tmp_path / "runs", "a")


def test_write_unique_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    names = [write_unique(path, lambda part, n=n: part.write_text(str(n))).name for n in range(3)]
    assert names == ["a.png", "a_2.png", "a_3.png"]
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]

    def fail_disk_full(part: Path) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteFailed, match="No space left"):
        write_unique(path, fail_disk_full)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


def test_an_unknown_home_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"~nobody-here/x: the home folder is unknown"):
        expand_home("~nobody-here/x")
    monkeypatch.setenv("HOME", "/somewhere")
    assert expand_home("~/x") == Path("/somewhere/x")


def test_a_user_without_home_has_a_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert get_cache_folder().is_absolute()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))
    with pytest.raises(OSError, match=r"not a (regular )?file|No such device"):
        read_bytes(path, 100)
    with pytest.raises(OSError, match=r"not a (regular )?file"):
        check_regular_file(path)
    assert read_json(path) is None and read_jsonl(path) == []


def test_a_larger_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="it has 1,099,511,627,776 bytes; the limit is 10"):
        read_bytes(path, 10)
    assert read_json(path) is None and read_jsonl(path) == []


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" + "0" * 400, "1" + "0" * 5000, "1e400", "NaN", "-Infinity", "{"]
)
def test_unusable_json_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(f'{{"a": {text}}}')
    assert read_json(tmp_path / "x.json") is None


def test_rows_with_nan_are_kept_and_damaged_rows_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"a": NaN}}\n{{"a": 1{"0" * 400}}}\n{"[" * 100_000}\n7\n{{"a": 9}}\n')
    first, last = read_jsonl(path)
    assert first["a"] != first["a"] and last == {"a": 9}


def test_a_link_at_a_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if somebody guessed the name."""
    target = tmp_path / "bashrc"
    target.write_text("mine")
    monkeypatch.setattr("cnnlab.core.files.secrets.token_hex", lambda _: "guessed")
    temporary_path(tmp_path / "x").symlink_to(target)
    with pytest.raises(WriteFailed, match="File exists"):
        write_text(tmp_path / "x", "theirs")
    assert target.read_text() == "mine"


def test_remove_temporary_files_leaves_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / ".a.1.part").write_text("half")
    (tmp_path / ".b.1.part").mkdir()
    remove_temporary_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".b.1.part"]
