"""Two small stores that are sound, for the suite to agree with and for broken ones to be made of."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.state.protocol import Rows, StateStore
from streams.testing.conformance.state_store import StateStoreConformance, StateStoreFeatures

Kept = tuple[dict[tuple[str, bytes], bytes], dict[str, int]]


class DiskFullError(Exception):
    """What a write fails with."""


class DictStore:
    """A trivial store, sound as far as it goes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}
        self.positions: dict[str, int] = {}

    def get(self, name: str, key: bytes) -> bytes | None:
        return self.rows.get((name, key))

    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        rows = [(key, value) for (of, key), value in self.rows.items() if of == name and (after is None or key > after)]
        return iter(sorted(rows))

    def position(self, name: str) -> int | None:
        return self.positions.get(name)

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        rows = self.rows.copy()
        for name, given in changes.items():
            for key, value in given:
                if value is None:
                    rows.pop((name, key), None)
                else:
                    rows[name, key] = value
        self.rows = rows
        self.positions = {**self.positions, **positions}

    def wipe(self) -> None:
        self.rows, self.positions = {}, {}

    def close(self) -> None:
        """There is nothing to release."""


class FileStore(DictStore):
    """A persistent one: everything goes into a new file, which takes the old one's place."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "state"
        self.full = False
        if self.file.exists():
            self.rows, self.positions = pickle.loads(self.file.read_bytes())

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        before = self.rows, self.positions
        super().write(changes, positions)
        try:
            self.save()
        except DiskFullError:
            self.rows, self.positions = before
            raise

    def wipe(self) -> None:
        super().wipe()
        self.save()

    def save(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_bytes(pickle.dumps((self.rows, self.positions)))
        if self.full:
            raise DiskFullError
        new.replace(self.file)


class FileStoreConformance(StateStoreConformance):
    features = StateStoreFeatures(persistent=True, survives_kill=True, can_fail=True)

    def open(self, folder: Path, _names: Sequence[str]) -> StateStore:
        return FileStore(folder)

    @contextmanager
    def failing(self, store: Any) -> Iterator[None]:
        store.full = True
        yield
        store.full = False
