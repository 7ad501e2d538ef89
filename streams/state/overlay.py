"""What a task may read and write before it is committed: live objects over the committed rows (INV-3).

Values are immutable, so the object that a handler put is the object that the next one gets: it is serialised once
per commit, however often it changed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")

CACHE_BYTES = 8 << 20  # of encoded values; as live objects they take several times that
_ENTRY_BYTES = (
    250  # what a cached key costs beside its value, in the same measure; small ones take 500 to 850 (measured)
)


class _Absent:
    """Marks a key that the overlay does not hold."""


_ABSENT = _Absent()


class Undoable(Protocol):
    """Something whose writes can be taken back one by one, newest first."""

    def restore(self, key: Any, before: object, was_dirty: bool) -> None:
        """Set a key to what it was before a write."""


class UndoLog:
    """The uncommitted writes of one task in the order they happened, so that one record's can be taken back."""

    def __init__(self) -> None:
        self._entries: list[tuple[Undoable, Any, object, bool]] = []

    def append(self, changed: Undoable, key: object, before: object, was_dirty: bool) -> None:
        """Note what a key was before a write."""
        self._entries.append((changed, key, before, was_dirty))

    def mark(self) -> int:
        """Return the point that `rollback` can go back to, until the next `clear`."""
        return len(self._entries)

    def rollback(self, mark: int) -> None:
        """Take back every write since `mark`, newest first."""
        for changed, key, before, was_dirty in reversed(self._entries[mark:]):
            changed.restore(key, before, was_dirty)
        del self._entries[mark:]

    def clear(self) -> None:
        """Forget the marks: what was written stays until it is committed or discarded."""
        self._entries.clear()


class Overlay(Generic[K, V]):
    """Uncommitted writes and a cache of live objects over the committed rows of one store.

    `load` fetches and decodes a committed value and says its encoded size; it is asked once per key while the key
    stays cached.
    """

    def __init__(
        self, load: Callable[[K], tuple[V | None, int]], undo: UndoLog, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._load = load
        self._log = undo
        self._cache_bytes = cache_bytes
        self._live: dict[K, V | None] = {}
        self._sizes: dict[K, int] = {}
        self._cached = 0
        self._dirty: dict[K, None] = {}

    def __len__(self) -> int:
        """Count the keys whose newest value is not committed."""
        return len(self._dirty)

    def get(self, key: K) -> V | None:
        """Return the newest value, uncommitted ones included."""
        value = self._live.get(key, _ABSENT)
        if value is not _ABSENT:
            return cast("V | None", value)
        loaded, size = self._load(key)
        self._live[key] = loaded
        self._resize(key, size)
        self._evict()
        return loaded

    def newest(self, key: K, committed: V) -> V | None:
        """Return the newest value of a key that has a committed one; that is not cached."""
        return self._live.get(key, committed)

    def put(self, key: K, value: V | None) -> None:
        """Set a key, or delete it with None."""
        was_dirty = key in self._dirty
        self._log.append(self, key, self._live.get(key, _ABSENT), was_dirty)
        self._live[key] = value
        if not was_dirty:
            self._dirty[key] = None

    def put_many(self, values: Iterable[tuple[K, V | None]]) -> None:
        """Set or delete many keys, the last value of a key counting."""
        live, dirty, note = self._live, self._dirty, self._log.append
        for key, value in values:
            was_dirty = key in dirty
            note(self, key, live.get(key, _ABSENT), was_dirty)
            live[key] = value
            if not was_dirty:
                dirty[key] = None

    def restore(self, key: K, before: object, was_dirty: bool) -> None:
        """Undo one write of a key; called by the undo log."""
        if before is _ABSENT:
            self.forget(key)
        else:
            self._live[key] = cast("V | None", before)
        if not was_dirty:
            del self._dirty[key]

    def dirty(self) -> list[tuple[K, V | None]]:
        """Return every key to commit with its newest value."""
        live = self._live
        return [(key, live[key]) for key in self._dirty]

    def committed(self, sizes: list[int]) -> None:
        """Say that what `dirty` returned is committed, with the encoded sizes in the same order; it stays cached."""
        for key, size in zip(self._dirty, sizes, strict=True):
            self._resize(key, size)
        self._dirty.clear()
        self._evict()

    def discard(self) -> None:
        """Forget every uncommitted write; the committed rows are the truth again."""
        for key in self._dirty:
            self.forget(key)
        self._dirty.clear()

    def forget(self, key: K) -> None:
        """Drop a key from the cache, because its committed row changed underneath."""
        self._live.pop(key, None)
        self._cached -= self._sizes.pop(key, 0)

    def _resize(self, key: K, size: int) -> None:
        charged = size + _ENTRY_BYTES
        self._cached += charged - self._sizes.get(key, 0)
        self._sizes[key] = charged

    def _evict(self) -> None:
        """Drop the longest known clean keys; a good part at once, so that it is seldom done."""
        if self._cached <= self._cache_bytes:
            return
        for key in list(self._sizes):
            if self._cached <= self._cache_bytes * 7 // 8:
                return
            if key not in self._dirty:
                self.forget(key)
