"""A slot: the lasting identity of one worker process of a processor, kept in its state folder.

The same slot comes back with the same member and transactional ids, so a restart neither rebalances the group nor
leaves a transaction open until it times out.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path
from typing import IO

from streams.errors import UsageError

_MOST_SLOTS = 10_000


class Slot:
    """The lowest free slot under a processor's folder, locked until `release` or the end of the process."""

    def __init__(self, state_dir: Path, app: str, processor: str) -> None:
        """Take the lowest slot that no live process holds.

        Raises:
            UsageError: the state folder cannot be written.
        """
        base = state_dir / app / processor
        try:
            for folder in (state_dir, base.parent, base):  # mkdir gives parents the umask's mode
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.number, self.path, self._file = _take(base)
            self.identity = f"{app}-{processor}-{self.number}-{_uuid(self._file)}"
        except OSError as error:
            raise UsageError(
                f"the state folder cannot be used: {error}",
                where=str(base),
                fix="set state_dir to a writable folder",
            ) from error

    def partition(self, number: int) -> Path:
        """Return the folder of one partition's state."""
        return self.path / f"part-{number}"

    def release(self) -> None:
        """Let another process take the slot."""
        self._file.close()


def _take(base: Path) -> tuple[int, Path, IO[str]]:
    for number in range(_MOST_SLOTS):
        path = base / f"slot-{number}"
        path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path / "id", os.O_RDWR | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return number, path, file
    raise OSError(f"all of {_MOST_SLOTS} slots are taken")


def _uuid(file: IO[str]) -> str:
    known = file.read().strip()
    if not known:
        known = uuid.uuid4().hex
        file.write(known)
        file.flush()
        os.fsync(file.fileno())
    return known
