"""One record in a lane: the call of its handler, and what that handler may touch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from streams.context import Context
from streams.keys import Key
from streams.lanes.runners import Job
from streams.owned import Owned
from streams.record import RawRecord
from streams.state.task_state import Declared, TaskState
from streams.topic import Store, Table

K = TypeVar("K", bound=Key)
V = TypeVar("V")

ENTRY_BYTES = 500  # what a record costs beside its bytes while it is in a lane

Place = tuple[Declared, Any]
"""A store or table, and a key of it."""

Lane = tuple[int, bytes | int]
"""A partition and a raw key. A record without a key has a lane of its own, by its offset."""


class LaneContext(Context):
    """Keeps what its handler puts until the record's turn comes, and remembers what it got from stores.

    `look_up` has the worker's thread find a value; whatever else this does touches nothing that changes.
    """

    __slots__ = ("_look_up", "changes", "reads")

    def __init__(self, state: TaskState, group: str, record: RawRecord, look_up: Callable[[Place], Any]) -> None:
        super().__init__(state, group)
        self.record = record
        self.changes: dict[Place, Any] = {}
        self.reads: dict[Place, Any] = {}
        self._look_up = look_up

    def get(self, source: Store[K, V] | Table[K, V], key: K) -> V | None:
        """Return the value of a key: as this handler put it, as it got it before, or the newest there is.

        Raises:
            RevokedError: the partition is no longer this worker's; otherwise as `Context.get`.
        """
        place = (source, key)
        if place in self.changes:
            found: V | None = self.changes[place]
        elif place in self.reads:
            found = self.reads[place]
        else:
            found = self._look_up(place)
            if isinstance(source, Store):
                self.reads[place] = found
        return found

    def put(self, store: Store[K, V], key: K, value: V | None) -> None:
        """Set the value of a key once the record's turn comes; None deletes it.

        Raises:
            UsageError: the processor does not use the store, or the value is of another model.
            ValueError, TypeError: the key does not fit the store's type of keys.
        """
        self._state.check(store, key, value)
        self.changes[store, key] = value


class LaneJob(Job):
    """The call of a handler for one record of a partition.

    `position` orders the jobs as their results will be taken: new records by their offsets, all others before them.
    """

    __slots__ = ("context", "owned", "position", "record")

    def __init__(
        self,
        owned: Owned,
        record: RawRecord,
        group: str,
        position: int,
        look_up: Callable[[LaneJob, Place], Any],
        *,
        urgent: bool,
    ) -> None:
        """`look_up` finds a value for this job; what it calls is set when its value is known."""
        size = ENTRY_BYTES + len(record.value or b"") + len(record.key or b"")
        super().__init__(lane_of(record), _nothing, urgent=urgent, size=size)
        self.owned = owned
        self.record = record
        self.position = position
        self.context = LaneContext(owned.task.state, group, record, partial(look_up, self))


def lane_of(record: RawRecord) -> Lane:
    """Return the lane of a record."""
    return record.partition, record.offset if record.key is None else record.key


def _nothing() -> None:
    """Give no outputs, as for a tombstone that the handler does not want."""
