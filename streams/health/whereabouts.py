"""Where supervisors answer: each leaves its address in the state folder while it lives."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from streams.errors import UsageError

FOLDER = ".health"  # no app has such a name


class Address:
    """The address of this process, announced until `close` or the end of the process."""

    def __init__(self, state_dir: Path, url: str) -> None:
        """Announce.

        Raises:
            UsageError: the state folder cannot be written.
        """
        folder = state_dir / FOLDER
        self._path = folder / f"{os.getpid()}.json"
        try:
            for one in (state_dir, folder):
                one.mkdir(mode=0o700, parents=True, exist_ok=True)
            half = self._path.with_suffix(".new")
            self._file = os.fdopen(os.open(half, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            json.dump({"url": url, "pid": os.getpid()}, self._file)
            self._file.flush()
            half.replace(self._path)  # written and locked before anybody finds it
        except OSError as error:
            raise UsageError(
                f"the state folder cannot be used: {error}",
                where=str(folder),
                fix="set state_dir to a writable folder",
            ) from error

    def close(self) -> None:
        """Take the address back."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def announced(state_dir: Path) -> list[str]:
    """Return the addresses of the supervisors that live; what dead ones left is removed."""
    found = []
    for path in sorted((state_dir / FOLDER).glob("*.json")):
        try:
            with path.open("r+") as file:
                if _is_locked(file):
                    found.append(str(json.load(file)["url"]))
                else:
                    path.unlink(missing_ok=True)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another user's, gone meanwhile, or half written
    return found


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
