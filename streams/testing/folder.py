"""The folder of a driver's state, which goes with the driver however its process ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_PREFIX = "streams-test-"


class Folder:
    """Where the state of one driver lies, in memory if there is such a place; gone with it, however it ends.

    A process that is killed removes nothing. So each folder is locked while its owner lives, and the next one that is
    made anywhere removes those that nobody holds.
    """

    def __init__(self, base: Path | None = None) -> None:
        """Make it, in `base` or where memory is a folder."""
        parent = base or (MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else Path(tempfile.gettempdir()))
        for left in parent.glob(f"{_PREFIX}*/lock"):
            _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = os.open(self.path / "locking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (self.path / "locking").rename(self.path / "lock")  # nobody sees it before it is locked
        self.remove = weakref.finalize(self, _remove, self.path, lock, os.getpid())  # also at the end of the program


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child, which ends with a copy of everything
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _remove_if_left(lock: Path) -> None:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # it is gone by now, or another user's
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.parent, ignore_errors=True)
    except BlockingIOError:  # its owner lives
        return
    finally:
        os.close(descriptor)
