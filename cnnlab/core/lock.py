"""One process at a time: a lock on a folder, which the system lets go of when its holder dies, however it dies."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

HELD_HANDLES: set[int] = set()


def close_inherited_locks() -> None:
    """A forked child shares its parent's locks, and would keep them past the parent's death."""
    for handle in HELD_HANDLES:
        os.close(handle)
    HELD_HANDLES.clear()


os.register_at_fork(after_in_child=close_inherited_locks)


class FolderLock:
    """On `folder`, which must be there; nothing is written. Where a file system knows no such locks (some networked
    ones), it is always free."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.handle = folder, -1

    def acquire(self, *, blocking: bool) -> bool:
        """Whether it was free; `wait`: until it is."""
        self.handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(self.handle)
            return False
        except OSError:
            pass
        HELD_HANDLES.add(self.handle)
        return True

    def release(self) -> None:
        """Let others have it."""
        if self.handle in HELD_HANDLES:
            HELD_HANDLES.discard(self.handle)
            os.close(self.handle)

    def __enter__(self) -> "FolderLock":
        if self.handle not in HELD_HANDLES:
            self.acquire(blocking=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.release()


def is_locked(folder: Path) -> bool:
    """Whether some process, this one included, holds the lock on a folder."""
    lock = FolderLock(folder)
    with suppress(OSError):
        if not lock.acquire(blocking=False):
            return True
        lock.release()
    return False
