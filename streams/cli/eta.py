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
        self._terminal = sys.stderr.isatty()
        self._first = 0  # what was done when the clock began to run: before it, things are only read
        self._began = self._told = time.monotonic()

    def advance(self, count: int) -> None:
        """Count what was done, and say so if the last line is old enough."""
        if not self.done:
            self._first, self._began = count, time.monotonic()
        self.done += count
        if time.monotonic() - self._told >= (_ON_A_TERMINAL if self._terminal else _IN_A_LOG):
            self._tell()

    def finish(self) -> None:
        """Leave the line that changes."""
        if self._terminal and self.done:
            self._tell()
            sys.stderr.write("\n")

    def _tell(self) -> None:
        self._told = time.monotonic()
        rate = (self.done - self._first) / max(self._told - self._began, 1e-3)
        line = told(self.done, self._total, rate, self._what)
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        sys.stderr.flush()


def told(done: int, total: int, rate: float, what: str) -> str:
    """Say how far it is, at so many a second."""
    line = f"{done} of {total} {what}"
    if rate <= 0:
        return line
    line += f", {rate:.1f}/s"
    return line if done >= total else f"{line}, {timedelta(seconds=round((total - done) / rate))} left"
