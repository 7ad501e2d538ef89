"""How far a command is and how long it still takes, on stderr: one line that changes, or a line now and then."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

_ON_A_TERMINAL, _IN_A_LOG = 0.2, 5.0  # seconds between two lines


class Eta:
    """Told of every step by `advance`; `finish` ends the line."""

    def __init__(self, total: int, what: str) -> None:
        self.done = 0
        self._total = total
        self._what = what
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._told = self._began

    def advance(self, count: int) -> None:
        """Count what was done, and say so if the last line is old enough."""
        self.done += count
        if time.monotonic() - self._told >= (_ON_A_TERMINAL if self._terminal else _IN_A_LOG):
            self._tell()

    def finish(self) -> None:
        """Leave the line that changes."""
        if self._terminal and self._told > self._began:
            self._tell()
            sys.stderr.write("\n")

    def _tell(self) -> None:
        self._told = time.monotonic()
        line = told(self.done, self._total, self._told - self._began, self._what)
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        sys.stderr.flush()


def told(done: int, total: int, seconds: float, what: str) -> str:
    """Say how far it is after so many seconds."""
    rate = done / seconds if seconds > 0 else 0.0
    line = f"{done} of {total} {what}, {rate:.1f}/s" if rate < 10 else f"{done} of {total} {what}, {rate:.0f}/s"  # noqa: PLR2004
    if not rate or done >= total:
        return line
    return f"{line}, {timedelta(seconds=round((total - done) / rate))} left"
