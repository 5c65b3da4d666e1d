"""Lock a folder for one process; the system releases the lock when that process dies.

The folder itself is locked by flock: nothing is written, so the lock of a run in a read-only folder
can be asked for, and no link in the place of a lock file can be followed.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

HELD_HANDLES: set[int] = set()


def close_inherited_locks() -> None:
    """Close the locks that a forked child shares: it would hold them beyond its parent's death."""
    for handle in HELD_HANDLES:
        os.close(handle)
    HELD_HANDLES.clear()


os.register_at_fork(after_in_child=close_inherited_locks)


class FolderLock:
    """A lock on an existing folder. On file systems without flock (some networked ones) it is
    always free."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.handle = folder, -1

    def acquire(self, *, blocking: bool) -> bool:
        """Return whether the lock was free; `blocking`: wait until it is."""
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
        """Release the lock, if it is held."""
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
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_locked(folder: Path) -> bool:
    """Return whether some process, this one included, holds the lock on a folder."""
    lock = FolderLock(folder)
    with suppress(OSError):
        if not lock.acquire(blocking=False):
            return True
        lock.release()
    return False
