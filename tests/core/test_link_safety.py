from pathlib import Path

import pytest

from cnnlab.core.errors import WriteFailed
from cnnlab.core.files import write_text
from cnnlab.core.link_safety import make_subfolder, open_to_append, remove_link


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "bashrc", tmp_path / "run.jsonl"
    target.write_text("mine\n")
    link.symlink_to(target)
    with pytest.raises(OSError, match="it is a link"):
        open_to_append(link)
    link.unlink()
    link.hardlink_to(target)
    with pytest.raises(OSError, match="hard link"):
        open_to_append(link)
    link.unlink()
    link.symlink_to(target)
    write_text(link, "new")  # replaces the link
    assert target.read_text() == "mine\n" and not link.is_symlink()
    folder = tmp_path / "figures"
    folder.symlink_to(tmp_path)
    with pytest.raises(WriteFailed, match=r"figures: it is a link"):
        make_subfolder(folder)


def test_links_are_removed_and_files_are_not(tmp_path: Path) -> None:
    target = tmp_path / "bashrc"
    target.write_text("mine")
    remove_link(target)
    remove_link(tmp_path / "absent")
    (tmp_path / "soft").symlink_to(target)
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "hard").hardlink_to(target)
    for name in ("soft", "nowhere", "hard"):
        remove_link(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["bashrc"]
