"""Image files -> uint8 tensors, in parallel."""

import atexit
import multiprocessing
import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnnlab.core.errors import CnnlabError
from cnnlab.core.image import printable_path, read_image, resize_center_crop
from cnnlab.core.signals import set_parent_death_signal

PREFETCH_FACTOR = 4  # batches that each worker decodes before they are asked for


@dataclass(frozen=True)
class ImageDecoder:
    """A picture file -> (depth, size, size) uint8: its short side made `size` long, and the centre cut out."""

    size: int
    depth: int
    max_pixels: int

    def __call__(self, path: str) -> np.ndarray:
        image = read_image(path, max_pixels=self.max_pixels, target_side=self.size)
        long, short = max(image.size), min(image.size)
        if long * self.size**2 > short * self.max_pixels:  # and it would be enlarged to more
            raise CnnlabError(
                f"{printable_path(path)} is {long / short:,.0f} times as long as wide: too thin to cut a square from"
            )
        mode = "L" if self.depth == 1 else "RGB"
        image = resize_center_crop(image if image.mode == mode else image.convert(mode), self.size)
        return np.asarray(image).reshape(self.size, self.size, self.depth).transpose(2, 0, 1)


class DecodeWorkerError(CnnlabError):
    """A process that decodes pictures ended, by whatever."""


class DecodeDataset(Dataset):
    """What a worker does: the files of a batch -> (N, depth, size, size) uint8, or what is wrong with one of them."""

    def __init__(self, paths: Sequence[str], decoder: ImageDecoder) -> None:
        self.paths, self.decoder = paths, decoder

    def __getitems__(self, indices: list[int]) -> Tensor | str:
        size = self.decoder.size
        batch = torch.empty((len(indices), self.decoder.depth, size, size), dtype=torch.uint8)
        for row, index in zip(batch.numpy(), indices, strict=True):
            try:
                row[:] = self.decoder(self.paths[index])
            except CnnlabError as error:
                return str(error)
        return batch


class CheckDataset(DecodeDataset):
    """The same work, of which only the complaints are kept: {index: what is wrong}."""

    def __getitems__(self, indices: list[int]) -> dict[int, str]:  # type: ignore[override]
        wrong = {}
        for index in indices:
            try:
                self.decoder(self.paths[index])
            except CnnlabError as error:
                wrong[index] = str(error)
        return wrong


def init_worker(number: int) -> None:
    """Ctrl-C in a terminal, or SIGTERM from a scheduler, reaches every process of a run: the first of them must be able
    to finish its step. A worker ends when the run does; where the system can see to that, also when it is killed."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    set_parent_death_signal(signal.SIGKILL)


DECODE_WORKERS: WeakSet[BaseProcess] = WeakSet()


@atexit.register
def kill_workers() -> None:
    """Python would ask them by SIGTERM, and wait for ever."""
    for worker in DECODE_WORKERS:
        worker.kill()


def identity_collate(batch: object) -> object:
    return batch


def decode_batches(
    work: DecodeDataset, batches: Sequence[list[int]], workers: int, *, pin_memory: bool = False
) -> Generator:
    """What `work` makes of each batch of indices, in order, by so many processes; 0: by this one."""
    context = "fork" if workers and "fork" in multiprocessing.get_all_start_methods() else None
    more: dict[str, Any] = (
        {"prefetch_factor": PREFETCH_FACTOR, "multiprocessing_context": context} if workers else {}
    )
    before, handler = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
    made = iter(
        DataLoader(
            work, batch_sampler=batches, num_workers=workers, collate_fn=identity_collate, pin_memory=pin_memory,
            worker_init_fn=init_worker, generator=torch.Generator(), **more,  # dropout's generator is left alone
        )
    )  # fmt: skip
    DECODE_WORKERS.update(set(multiprocessing.active_children()) - before)
    if signal.getsignal(signal.SIGCHLD) is not handler:
        # torch's raises wherever the run is when a worker dies, with a queue's lock in hand it may be. Without, the
        # next batch that is waited for says so, within five seconds.
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    try:
        yield from made
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # torch's word for one that died
            raise
        raise DecodeWorkerError(
            f"{error}; perhaps memory was short: dataset.workers=0 decodes without them"
        ) from error
    finally:
        del made  # which ends the workers, whoever still looks at this frame
