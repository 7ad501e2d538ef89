"""What a task may read and write before it is committed: live values over the committed rows (INV-3).

Values are immutable, so the object that a handler put is the object that the next one gets: it is serialised once
per commit, however often it changed in between. What a handler puts by columns is held as the frame that it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any, Final, Generic, Protocol, TypeVar

K = TypeVar("K")
V = TypeVar("V")

CACHE_BYTES = 8 << 20  # of encoded values; as live objects they take several times that
_ENTRY_BYTES = (
    250  # what a cached key costs beside its value, in the same measure; small ones take 500 to 850 (measured)
)


ABSENT: Final = object()
"""Stands in for the value of a key that the overlay does not hold."""


class Undoable(Protocol):
    """Something whose writes can be taken back one by one, newest first."""

    def restore(self, key: Any, before: Any, was_dirty: Any) -> None:
        """Set a key to what it was before a write."""


_Write = tuple[Undoable, Any, object, object]  # the key, its value before, and whether that was not committed either


class _Together:
    """Undoes the write of many keys as one."""

    def __init__(self, changed: Undoable) -> None:
        self._changed = changed

    def restore(self, key: Any, before: Any, was_dirty: Any) -> None:
        """Set each of the keys to what it was before."""
        for one in zip(key, before, was_dirty, strict=True):
            self._changed.restore(*one)


class UndoLog:
    """The uncommitted writes of one task in the order they happened, so that one record's can be taken back."""

    def __init__(self) -> None:
        self._entries: list[_Write] = []
        self.append: Final = self._entries.append
        """Note what a key was before a write."""
        self.mark: Final = self._entries.__len__
        """Return the point that `rollback` can go back to, until the next `clear`."""

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
    stays cached. `encode` gives the bytes of a key, and raises ValueError or TypeError for one that has none.
    """

    def __init__(
        self,
        load: Callable[[K], tuple[V | None, int]],
        encode: Callable[[K], bytes],
        undo: UndoLog,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._load = load
        self._encode = encode
        self._note = undo.append
        self._cache_bytes = cache_bytes
        self.live: Final[dict[K, Any]] = {}
        """The newest value of each key that is held; only for looking up."""
        self._sizes: dict[K, int] = {}
        self._cached = 0
        self._dirty: dict[K, bytes] = {}

    def __len__(self) -> int:
        """Count the keys whose newest value is not committed."""
        return len(self._dirty)

    def get(self, key: K) -> V | None:
        """Return the newest value, uncommitted ones included."""
        value: V | None = self.live.get(key, ABSENT)
        if value is ABSENT:
            value, size = self._load(key)
            self.keep(key, value, size)
        return value

    def keep(self, key: K, committed: V | None, size: int) -> None:
        """Cache the committed value of a key that is not held, with its encoded size."""
        self.live[key] = committed
        charged = size + _ENTRY_BYTES
        self._cached += charged - self._sizes.get(key, 0)
        self._sizes[key] = charged
        self._evict()

    def newest(self, key: K, committed: V) -> V | None:
        """Return the newest value of a key that has a committed one; that is not cached."""
        newest: V | None = self.live.get(key, committed)
        return newest

    def put(self, key: K, value: V | None) -> None:
        """Set a key, or delete it with None; a key without bytes changes nothing."""
        encoded = self._encode(key)
        was_dirty = key in self._dirty
        self._note((self, key, self.live.get(key, ABSENT), was_dirty))
        self.live[key] = value
        if not was_dirty:
            self._dirty[key] = encoded

    def put_many(self, values: Mapping[K, V | None]) -> None:
        """Set or delete many keys; one key without bytes, and none is."""
        encoded = zip(values, list(map(self._encode, values)), strict=True)
        before = list(map(self.live.get, values, repeat(ABSENT)))
        were_dirty = [key in self._dirty for key in values]
        self._note((_Together(self), list(values), before, were_dirty))
        self.live.update(values)
        self._dirty.update([row for row, was in zip(encoded, were_dirty, strict=True) if not was])

    def restore(self, key: K, before: Any, was_dirty: Any) -> None:
        """Undo one write of a key; called by the undo log."""
        if before is ABSENT:
            self.forget(key)
        else:
            self.live[key] = before
        if not was_dirty:
            del self._dirty[key]

    def dirty(self) -> tuple[list[bytes], list[V | None]]:
        """Return every key to commit, encoded, and its newest value."""
        return list(self._dirty.values()), [self.live[key] for key in self._dirty]

    def committed(self, sizes: list[int]) -> None:
        """Say that what `dirty` returned is committed, with the encoded sizes in the same order; it stays cached."""
        charged = dict(zip(self._dirty, [size + _ENTRY_BYTES for size in sizes], strict=True))
        self._cached += sum(charged.values()) - sum(map(self._sizes.get, charged, repeat(0)))
        self._sizes.update(charged)
        self._dirty.clear()
        self._evict()

    def discard(self) -> None:
        """Forget every uncommitted write; the committed rows are the truth again."""
        for key in self._dirty:
            self.forget(key)
        self._dirty.clear()

    def forget(self, key: K) -> None:
        """Drop a key from the cache, because its committed row changed underneath."""
        self.live.pop(key, None)
        self._cached -= self._sizes.pop(key, 0)

    def _evict(self) -> None:
        """Drop the longest known clean keys; a good part at once, so that it is seldom done."""
        if self._cached <= self._cache_bytes:
            return
        for key in list(self._sizes):
            if self._cached <= self._cache_bytes * 7 // 8:
                return
            if key not in self._dirty:
                self.forget(key)
