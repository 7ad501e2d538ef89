"""A store that takes no place on disk until a row is written: most tasks never have a record that waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from streams.state.protocol import Rows, StateStore


class LazyStore:
    """Opens what is behind it with the first row that is no deletion, or at once where there already is something."""

    def __init__(self, path: Path, opened: Callable[[], StateStore]) -> None:
        self._open = opened
        self._positions: dict[str, int] = {}  # of topics that hold no row; a restart reads them again
        self._store: StateStore | None = opened() if path.exists() else None

    def get(self, name: str, key: bytes) -> bytes | None:
        """Return the committed value of a key."""
        return None if self._store is None else self._store.get(name, key)

    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield every committed key, or those behind one, with its value."""
        return iter(()) if self._store is None else self._store.items(name, after)

    def position(self, name: str) -> int | None:
        """Return the next offset to read from the topic behind `name`."""
        return self._positions.get(name) if self._store is None else self._store.position(name)

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        """Apply rows and positions, all or nothing."""
        rows = {name: list(given) for name, given in changes.items()}
        if self._store is None and any(value is not None for given in rows.values() for _, value in given):
            self._store = self._open()
        if self._store is None:
            self._positions.update(positions)
        else:
            self._store.write(rows, {**self._positions, **positions})
            self._positions.clear()

    def wipe(self) -> None:
        """Drop every row and position."""
        self._positions.clear()
        if self._store is not None:
            self._store.wipe()

    def close(self) -> None:
        """Release what is held."""
        if self._store is not None:
            self._store.close()
