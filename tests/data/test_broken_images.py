"""Images that cannot be decoded: found, cached, skipped."""

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import read_image_and_size
from cnnlab.core.image_formats import list_readable_formats
from tests.data.conftest import load_folder, write_noise


@pytest.mark.parametrize("workers", [0, 2])
def test_all_broken_images_are_listed_or_skipped(root: Path, cache: Path, workers: int) -> None:
    whole = write_noise(root / "ant" / "cut.jpg", 1, (64, 64)).read_bytes()
    (root / "ant" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bee" / "empty.png").write_bytes(b"")
    (root / "cat" / "z_link.png").symlink_to("/nowhere")
    (root / "bee" / "new\nline.png").write_text("<script>")
    (root / "cat" / "program.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    )
    write_noise(root / "cat" / "large.png", 1, (101, 100))
    write_noise(root / "cat" / "thin.png", 1, (5000, 1))
    with pytest.raises(CnnlabError) as error:
        load_folder(root, workers=workers)
    lines = str(error.value).splitlines()
    expected = ["cut", "empty", "new\\nline", "large", "program", "thin", "z_link"]
    assert [name in line for name, line in zip(expected, lines[:7], strict=True)] == [True] * 7
    assert "thin.png is 5,000 times as long as wide; the limit is 1,000" in lines[5]
    assert lines[7] == "7 images are broken; dataset.skip_broken=true skips them"
    assert "10,100 pixels; the limit is 10,000" in lines[3]
    files = load_folder(root, workers=workers, skip_broken=True)
    assert len(files) + len(load_folder(root, "test", skip_broken=True)) == 30
    assert ("broken", 7) in files.report.skipped


def test_broken_image_check_is_cached_until_a_file_changes(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_folder(root)
    (cached,) = cache.iterdir()
    assert json.loads(cached.read_text()) == {"errors": {}, "copies": []}
    with monkeypatch.context() as patch:
        patch.setattr(
            "cnnlab.data.broken_images.decode_all", lambda *_: pytest.fail("decoded again")
        )
        load_folder(root)
    cached.write_bytes(b"\x80\x04damaged")
    load_folder(root)
    (root / "ant" / "0.png").write_bytes(b"broken since")
    with pytest.raises(CnnlabError, match="1 image is broken"):
        load_folder(root)


@pytest.mark.parametrize("changes", [{"size": 9}, {"depth": 1}, {"max_pixels": 9_999}])
def test_verdict_of_another_size_is_not_used(
    root: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int]
) -> None:
    """A thin image may fit into one size and not into another."""
    load_folder(root)
    with monkeypatch.context() as patch:
        patch.setattr("cnnlab.data.broken_images.decode_all", lambda *_: pytest.fail("again"))
        load_folder(root)
        with pytest.raises(pytest.fail.Exception, match="again"):
            load_folder(root, **changes)


@pytest.mark.parametrize(
    "cause", [PermissionError(13, "Permission denied"), OSError(5, "I/O error"), MemoryError()]
)
def test_unreadable_file_is_neither_broken_nor_cached(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    def read_denied(path: str, **options: Any) -> tuple[Image.Image, tuple[int, int]]:
        if path.endswith("ant/3.png"):
            try:
                raise cause
            except type(cause) as error:
                raise CnnlabError(f"{path} cannot be read: {error}") from error
        return read_image_and_size(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr("cnnlab.data.decode.read_image_and_size", read_denied)
        with pytest.raises(CnnlabError, match=r"ant/3.png(.|\n)*1 image could not be opened"):
            load_folder(root, skip_broken=True)
    assert not cache.exists()
    assert len(load_folder(root, skip_broken=True)) == 24


def test_replaced_file_of_equal_size_and_date_is_checked_again(root: Path) -> None:
    load_folder(root)
    path = root / "ant" / "0.png"
    stat, size = path.stat(), len(path.read_bytes())
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CnnlabError, match="1 image is broken"):
        load_folder(root)


def test_other_pillow_version_checks_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_folder(root)
    monkeypatch.setattr("PIL.__version__", "99.0")
    with monkeypatch.context() as patch:
        patch.setattr("cnnlab.data.broken_images.decode_all", lambda *_: pytest.fail("again"))
        with pytest.raises(pytest.fail.Exception, match="again"):
            load_folder(root)


def test_installing_the_heic_plugin_is_enough(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check without it is not taken from the cache."""
    png = (root / "ant" / "0.png").read_bytes()
    (root / "ant" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + png)

    def register_heif_opener() -> None:
        Image.register_open(
            "HEIF",
            lambda file, name: PngImagePlugin.PngImageFile(io.BytesIO(file.read()[12:]), name),  # type: ignore[union-attr]
            lambda head: head[4:8] == b"ftyp",
        )

    plugin = SimpleNamespace(register_heif_opener=register_heif_opener)
    monkeypatch.setattr("cnnlab.core.image_formats.HEIF_PLUGIN", "not_installed")
    list_readable_formats.cache_clear()
    try:
        with pytest.raises(CnnlabError, match=r"phone\.heic is HEIC.*pip install pillow-heif"):
            load_folder(root)
        monkeypatch.setitem(sys.modules, "not_installed", plugin)  # type: ignore[misc]
        list_readable_formats.cache_clear()
        assert len(load_folder(root)) + len(load_folder(root, "test")) == 31
    finally:
        if "HEIF" in Image.OPEN:
            del Image.OPEN["HEIF"]
            Image.ID.remove("HEIF")
        list_readable_formats.cache_clear()


def test_a_pipe_among_the_images_is_named(root: Path) -> None:
    os.mkfifo(root / "ant" / "pipe.png")
    with pytest.raises(CnnlabError, match=r"pipe\.png cannot be read: it is not a regular file"):
        load_folder(root)
    assert len(load_folder(root, skip_broken=True)) == 24


def test_an_image_is_broken_or_not_at_any_size(root: Path) -> None:
    """A thin image once was refused at the sizes where resizing it took too much memory."""
    write_noise(root / "cat" / "thin.png", 1, (3000, 3))
    for size in (8, 64):
        assert len(load_folder(root, size=size)) + len(load_folder(root, "test", size=size)) == 31


def test_unwritable_cache_is_ignored(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    assert len(load_folder(root)) == 24
