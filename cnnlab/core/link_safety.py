"""Make folders and append to files inside a run's folder, but never through a link.

A run's folder may come from somebody else: a link in it could lead to any file of the user's. The
folder itself may be behind links, such as to another disk.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from cnnlab.core.errors import WriteFailed
from cnnlab.core.files import check_is_regular


def make_subfolder(folder: Path) -> None:
    """Create a folder inside a run's folder if it is missing. Raises WriteFailed if it is a link,
    which could lead anywhere."""
    check_is_no_link(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteFailed(folder, error) from error


def check_is_no_link(folder: Path) -> None:
    """Raise WriteFailed if a folder inside a run's folder is a link."""
    if folder.is_symlink():
        reason = "it is a link; replace it by a folder"
        raise WriteFailed(folder, OSError(errno.ELOOP, reason))


def remove_link(path: Path) -> None:
    """Remove a link, symbolic or hard, in the place of a file that a library will write."""
    with suppress(FileNotFoundError):
        if path.is_symlink() or path.stat().st_nlink > 1:
            path.unlink()


def open_to_append(path: Path) -> TextIO:
    """Return a text file opened to append lines to, created if it is missing. Raises OSError for a
    link, also a hard one: it would append to a file elsewhere."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link; remove it", str(path)) from error
    try:
        status = os.fstat(handle)
        check_is_regular(status.st_mode, path)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it is a hard link; replace it by a copy", str(path))
        return os.fdopen(handle, "a", encoding="utf-8")
    except BaseException:
        os.close(handle)
        raise
