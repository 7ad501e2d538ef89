"""What a task needs of the store that keeps its committed state; `streams.testing.conformance` proves one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

Rows = Iterable[tuple[bytes, bytes | None]]
"""Keys with their values, None for a deletion; of a key that occurs twice the last one counts."""


class StateStore(Protocol):
    """The committed rows of one task's stores and tables, by name, with the position each was read to.

    The worker's thread calls it and nobody else, so it need not be thread-safe; every call may block on a disk. After
    `close` it is not called again.
    """

    def get(self, name: str, key: bytes) -> bytes | None:
        """Return the committed value of a key; None where there is none, b"" for an empty one."""

    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield every committed key with its value; nothing is written while it is read.

        Keys have an order, whichever, that nothing changes; with `after`, which need not be there, those behind it.
        """

    def position(self, name: str) -> int | None:
        """Return the next offset to read from the topic behind `name`; None if it was never told one."""

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        """Apply rows and positions, all or nothing, for the next `get` to see (INV-3); rows are iterated once.

        Positions are kept as given, lower ones too; names without one keep theirs. What it raises stops the worker,
        and nothing may have been applied.
        """

    def wipe(self) -> None:
        """Drop every row and position; the task restores from its changelogs."""

    def close(self) -> None:
        """Release what is held; a store that persists opens again with everything that was written."""
