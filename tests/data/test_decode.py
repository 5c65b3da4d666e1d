"""Decoding of image files, by threads and without."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import read_image, resize_center_crop
from cnnlab.data.augment import Pipeline
from cnnlab.data.batches import TrainingBatches
from cnnlab.data.dataset import gather_images
from cnnlab.data.decode import decode_batches
from cnnlab.data.image_folder import FolderImageSet
from tests.data.conftest import ROOT, load_folder, write_noise


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"]
)
@pytest.mark.parametrize("depth", [1, 3])
def test_all_pillow_modes_are_read(tmp_path: Path, mode: str, depth: int) -> None:
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "PA": "tiff", "F": "tiff"}.get(mode, "png")
    for i in range(5):
        path = tmp_path / "root" / "cd"[i % 2] / f"{i}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "I;16":
            Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(path)
        elif mode == "PA":
            Image.new("LA", (8, 8), (128, 255)).save(path)
        elif mode == "F":
            Image.fromarray(np.full((8, 8), 128 / 255, np.float32)).save(path)
        else:
            Image.new("L", (8, 8), 128).convert(
                "RGB" if mode in ("CMYK", "YCbCr") else "L"
            ).convert(mode).save(path)
    images = gather_images(load_folder(tmp_path / "root", depth=depth), [0, 1])
    assert images.shape == (2, depth, 8, 8)
    assert mode == "1" or (images.int() - 128).abs().max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    for i in range(5):
        path = write_noise(tmp_path / "root" / "cd"[i % 2] / f"{i}.png", i, (12, 8), exif=exif)
    expected = resize_center_crop(ImageOps.exif_transpose(Image.open(path)), 8)
    files = load_folder(tmp_path / "root", test=1)
    index = files.paths.index(str(path)) if str(path) in files.paths else None
    if index is not None:
        assert np.array_equal(
            gather_images(files, [index])[0].permute(1, 2, 0).numpy(), np.asarray(expected)
        )


def test_resize_center_crop_matches_torchvision(tmp_path: Path) -> None:
    from torchvision import transforms

    for i, size in enumerate([(20, 31), (31, 20), (8, 9), (200, 9), (5, 7), (8, 8)]):
        path = write_noise(tmp_path / f"{i}.png", i, size)
        expected = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8)])(
            Image.open(path)
        )
        assert np.array_equal(
            np.asarray(resize_center_crop(read_image(path), 8)), np.asarray(expected)
        ), size


def test_reduced_jpeg_decoding_is_close_to_full_decoding(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(600), np.arange(800))[..., None] * np.array([0.1, 0.15, 0.18])
    path = tmp_path / "x.jpg"
    Image.fromarray(smooth.astype(np.uint8)).save(path, quality=95)
    fast, slow = (
        np.asarray(resize_center_crop(read_image(path, target_side=side), 32)).astype(int)
        for side in (32, None)
    )
    assert abs(fast - slow).max() <= 3


def test_decompression_bomb_is_rejected_by_its_header(root: Path) -> None:
    path = write_noise(root / "ant" / "bomb.png", mode="1")
    blob = path.read_bytes()
    # IHDR, which its checksum covers
    header = blob[12:16] + (50_000).to_bytes(4, "big") * 2 + blob[24:29]
    path.write_bytes(blob[:12] + header + zlib.crc32(header).to_bytes(4, "big") + blob[33:])
    start_s = time.monotonic()
    with pytest.raises(
        CnnlabError, match=r"bomb\.png (has 2,500,000,000 pixels|cannot be read: Image size)"
    ):
        load_folder(root)
    assert time.monotonic() - start_s < 5


def load_epoch(files: FolderImageSet, start: int = 0) -> list[torch.Tensor]:
    """Return the batches of an epoch from `start`, images and labels in one tensor."""
    pipeline = Pipeline({"shift": {"px": 1}}, "augment.train")
    epoch = TrainingBatches(files, pipeline, batch_size=5, seed=1).iterate_epoch(2, start)
    return [torch.cat((x.flatten(1), y.unsqueeze(1)), 1) for x, y in epoch]


def test_batches_are_independent_of_workers(root: Path) -> None:
    expected = load_epoch(load_folder(root))
    assert len(expected) == 4
    for workers in (1, 2, 9):
        files = load_folder(root, workers=workers)
        for start in (0, 3):
            assert all(
                torch.equal(a, b)
                for a, b in zip(load_epoch(files, start), expected[start:], strict=True)
            )


def test_decoding_keeps_global_rng_state(root: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for workers in (0, 2):
        load_epoch(load_folder(root, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def decode_threads() -> list[threading.Thread]:
    """The running threads that decode images."""
    return [thread for thread in threading.enumerate() if thread.name == "decode"]


@pytest.mark.parametrize("end", ["close", "delete"])
def test_threads_end_with_the_epoch(root: Path, end: str) -> None:
    batches = TrainingBatches(
        load_folder(root, workers=2), Pipeline({}, "augment.train"), batch_size=2, seed=1
    )
    epoch = batches.iterate_epoch(0)
    next(epoch)
    assert len(decode_threads()) == 2
    if end == "close":
        epoch.close()  # type: ignore[attr-defined]
    else:
        del epoch
    assert not decode_threads()


@pytest.mark.parametrize(
    "interrupt",
    [pytest.param("", marks=pytest.mark.slow), "os.kill(os.getpid(), signal.SIGINT); "],
)
@pytest.mark.slow
def test_process_exits_with_an_unfinished_epoch(root: Path, interrupt: str) -> None:
    """Also where 5,000 images are left to decode, which would take longer than the timeout."""
    code = f"""import os, signal, time; from tests.data.conftest import *
from cnnlab.data.decode import ImageDecoder, decode_batches
class SlowDecoder(ImageDecoder):
    def __call__(self, path): time.sleep(0.1); return super().__call__(path)
batches = [[i % 20 for i in range(500)]] * 10
files = load_folder(Path({str(root)!r}), workers=2)
images = decode_batches(files.paths, [[0], *batches], SlowDecoder(8, 3, 10**4), num_threads=2)
next(images); {interrupt}print('done')"""
    start_s = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - start_s < 30
    expected = (-signal.SIGINT, "") if interrupt else (0, "done\n")
    assert (process.returncode, process.stdout) == expected, process.stderr


def test_interrupt_while_waiting_for_a_batch_is_prompt(root: Path) -> None:
    files = load_folder(root, workers=2)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in decode_batches(
            files.paths, [list(range(20))] * 10**4, files.decoder, num_threads=2
        ):
            pass
    assert time.monotonic() - start_s < 5 and not decode_threads()


def test_decoding_works_in_a_fork_of_a_decoding_process(root: Path) -> None:
    files = load_folder(root, workers=2)
    batches = files.iterate_batches([torch.arange(5)] * 20)
    expected = next(batches)[0]
    process = multiprocessing.get_context("fork").Process(
        target=check_first_batch, args=(files, expected)
    )
    process.start()
    process.join(30)
    assert process.exitcode == 0


def check_first_batch(files: FolderImageSet, expected: torch.Tensor) -> None:
    assert torch.equal(next(files.iterate_batches([torch.arange(5)] * 20))[0], expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_deleted_file_raises_one_line_error(root: Path, workers: int) -> None:
    files = load_folder(root, workers=workers)
    Path(files.paths[0]).unlink()
    with pytest.raises(CnnlabError) as error:
        load_epoch(files)
    assert str(error.value) == f"no file {files.paths[0]}"
    assert not decode_threads()
