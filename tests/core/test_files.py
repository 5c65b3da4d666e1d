import multiprocessing
import os
from pathlib import Path

import pytest

from cnnlab.core.errors import CnnlabError, UsageError, WriteFailed
from cnnlab.core.files import (
    expand_home,
    get_cache_folder,
    make_run_folder,
    path_exists,
    read_json,
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
