"""Decode image files into uint8 tensors, ahead of use.

Threads suffice, because Pillow decodes without the GIL.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnlab.core.image import read_image_and_size, resize_center_crop

PREFETCH_BATCHES = 4


IMAGES_PER_TASK = 16


JOIN_TIMEOUT_S = 5.0


Task = TypeVar("Task")


Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageDecoder:
    """Reads an image file as (depth, size, size) uint8: short side resized, center cropped."""

    size: int
    depth: int
    max_pixels: int

    def __call__(self, path: str) -> np.ndarray:
        """Return the decoded image. Raises CnnlabError, naming the file, if that fails."""
        image, _ = self.read(path)
        return self.fit(image)

    @property
    def mode(self) -> str:
        """Pillow's mode of an image of this depth."""
        return "L" if self.depth == 1 else "RGB"

    def read(self, path: str | Path) -> tuple[Image.Image, tuple[int, int]]:
        """Return an image file as L or RGB, a large JPEG reduced, and its (width, height) in the
        file. Raises CnnlabError, naming the file."""
        return read_image_and_size(path, max_pixels=self.max_pixels, target_side=self.size)

    def fit(self, image: Image.Image) -> np.ndarray:
        """Return an L or RGB image converted, resized and cropped."""
        image = image if image.mode == self.mode else image.convert(self.mode)
        pixels = np.asarray(resize_center_crop(image, self.size))
        return pixels.reshape(self.size, self.size, self.depth).transpose(2, 0, 1)


class DaemonThreadExecutor(Executor):
    """Runs tasks in daemon threads, and drops the tasks that have not started when it is shut down.

    The threads also end when the executor is garbage collected and when the interpreter exits,
    where ThreadPoolExecutor would first run every task in its queue.
    """

    def __init__(self, num_threads: int) -> None:
        self.queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        stopped = threading.Event()
        threads = [
            threading.Thread(
                target=run_queue, args=(self.queue, stopped), name="decode", daemon=True
            )
            for _ in range(num_threads)
        ]
        self.stop = weakref.finalize(self, stop_threads, self.queue, stopped, threads)
        for thread in threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        self.queue.put(lambda: resolve_future(future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Drop the waiting tasks and wait for the running ones."""
        self.stop()


def run_queue(queue: SimpleQueue[Callable[[], None] | None], stopped: threading.Event) -> None:
    """Run the tasks of a queue until None comes or `stopped` is set."""
    while (task := queue.get()) is not None and not stopped.is_set():
        task()
        del task  # its future and images are not kept alive while the thread waits


def resolve_future(future: Future, call: Callable[[], Any]) -> None:
    """Give a future the result of a call, or the exception that it raises."""
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def stop_threads(
    queue: SimpleQueue[Callable[[], None] | None],
    stopped: threading.Event,
    threads: Sequence[threading.Thread],
) -> None:
    """End the threads of an executor after their current tasks."""
    stopped.set()
    for _ in threads:
        queue.put(None)
    for thread in threads:
        # Garbage may be collected in any thread: one of these, or one with a lock that they need.
        if thread.ident is not None and thread is not threading.current_thread():
            thread.join(JOIN_TIMEOUT_S)


def map_ahead(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, num_threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `function` of each task, in order, computed by threads up to `ahead` tasks early.

    With `num_threads` 0, each is computed when it is asked for. Raises what `function` raises.
    """
    if num_threads == 0:
        yield from map(function, tasks)
        return
    waiting = iter(tasks)
    with DaemonThreadExecutor(num_threads) as executor:
        futures = deque(executor.submit(function, task) for task in islice(waiting, ahead))
        while futures:
            result = futures.popleft().result()
            futures.extend(executor.submit(function, task) for task in islice(waiting, 1))
            yield result
            del result  # not kept alive while the next one is waited for


@dataclass(frozen=True)
class DecodeTask:
    """Image files to decode into consecutive rows of a batch."""

    paths: Sequence[str]
    batch: Tensor
    start: int

    @property
    def completes_batch(self) -> bool:
        return self.start + len(self.paths) == len(self.batch)


def make_decode_tasks(
    paths: Sequence[str], batches: Iterable[Sequence[int]], decoder: ImageDecoder, pin_memory: bool
) -> Iterator[DecodeTask]:
    """Divide each batch of indices into tasks of a few images; its memory is allocated here."""
    for indices in batches:
        shape = len(indices), decoder.depth, decoder.size, decoder.size
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory)
        for start in range(0, max(len(indices), 1), IMAGES_PER_TASK):
            chosen = indices[start : start + IMAGES_PER_TASK]
            yield DecodeTask([paths[index] for index in chosen], batch, start)


def decode_batches(
    paths: Sequence[str],
    batches: Sequence[Sequence[int]],
    decoder: ImageDecoder,
    *,
    num_threads: int,
    pin_memory: bool = False,
) -> Generator[Tensor, None, None]:
    """Yield the (N, depth, size, size) uint8 images of each batch of indices, in order.

    Raises CnnlabError for the first file, in the batches' order, that cannot be decoded.
    """

    def decode_task(task: DecodeTask) -> Tensor | None:
        """Return the batch if the task is its last one."""
        rows = task.batch.numpy()[task.start :]
        for row, path in zip(rows, task.paths, strict=False):
            row[:] = decoder(path)
        return task.batch if task.completes_batch else None

    tasks = make_decode_tasks(paths, batches, decoder, pin_memory)
    tasks_per_batch = -(-max(map(len, batches), default=0) // IMAGES_PER_TASK)
    ahead = PREFETCH_BATCHES * max(tasks_per_batch, num_threads)
    for batch in map_ahead(decode_task, tasks, num_threads=num_threads, ahead=ahead):
        if batch is not None:  # tasks finish in any order, but are yielded in theirs
            yield batch
