"""A process that writes to a store until it is killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from streams.state.protocol import StateStore

PATIENCE = 60.0  # seconds until the process has to have written


class Opens(Protocol):
    """A suite that opens stores; its class is imported by the other process."""

    def open(self, folder: Path, names: Sequence[str]) -> StateStore:
        """Open a store."""


KEYS = [b"%d" % number for number in range(20)]


def _row(number: int) -> tuple[bytes, bytes | None]:
    """Return the row of one write: twenty keys in turn, now and then a deletion."""
    return KEYS[number % 20], None if number % 7 == 0 else b"%d" % number * 50


def rows_after(number: int) -> dict[bytes, bytes | None]:
    """Return what `KEYS` hold after so many writes."""
    return dict.fromkeys(KEYS) | dict(_row(one) for one in range(1, number + 1))


def _write_for_ever(suite: type[Opens], folder: Path, names: Sequence[str], told: Connection) -> None:
    store = suite().open(folder, names)
    for number in count(1):
        store.write({name: [_row(number)] for name in names}, dict.fromkeys(names, number))
        told.send(number)


def killed_after(writes: int, suite: type[Opens], folder: Path, names: Sequence[str]) -> int:
    """Let another process write, kill it, and return the last write that it told of."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_write_for_ever, args=(suite, folder, names, there), daemon=True)
    process.start()
    there.close()
    last = 0
    try:
        while last < writes:
            assert here.poll(PATIENCE), "the process does not write"
            last = here.recv()
        process.kill()
        while here.poll(PATIENCE):
            last = here.recv()
    except EOFError:
        assert last >= writes, "the process died by itself: can it import the suite's module?"
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()
    return last
