"""Ending between two steps when SIGINT or SIGTERM comes; a second signal ends at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Knows the signal that came."""

    number: int | None = None

    def __call__(self) -> bool:
        """Tell whether one came."""
        return self.number is not None

    def leave(self) -> None:
        """End the command with the signal's exit code if one came.

        Raises:
            typer.Exit: it did.
        """
        if self.number is not None:
            raise typer.Exit(128 + self.number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Hear signals inside the block."""
    stop = Stop()
    before: dict[int, Any] = {}

    def heard(number: int, _frame: FrameType | None) -> None:
        stop.number = number
        for one in _NUMBERS:
            signal.signal(one, signal.SIG_DFL)

    for number in _NUMBERS:
        before[number] = signal.signal(number, heard)
    try:
        yield stop
    finally:
        for earlier, handler in before.items():
            signal.signal(earlier, handler)
