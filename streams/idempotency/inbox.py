"""The inbox of a processor: the ids of the events it has dealt with, so that a second copy of one is passed over. Pure.

It is a store like any other and a few lines around the handler. So an id is remembered in the transaction of its
record, and a record that fails, waits or becomes a dead letter leaves none.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, wraps
from itertools import islice
from typing import Any
from uuid import UUID

from streams.context import PROCESSED, Context
from streams.duration import duration
from streams.errors import UsageError
from streams.idempotency.event_ids import event_id
from streams.idempotency.inbox_row import InboxRow
from streams.record import RawRecord
from streams.state.task_state import TaskState
from streams.topic import Store, Topic

EventId = str | bytes | int | UUID
Handler = Callable[[Any, Context], Any]

LOOKED_AT = 2  # rows for every record of a step, in search of old ones
LEAST_LOOKED_AT = 100  # in a step

DUPLICATES, WITHOUT_ID = "duplicates", "without_id"


@dataclass(frozen=True, eq=False)
class Inbox:
    """Has a processor pass over events that it has dealt with: those of the same id, within `retention`.

    An event's id is its header `streams.event.id`, or what `by` says: the name of a field, or a function of the event
    and the record. What has none (the header is missing, the field is None) is handled as if there were no inbox, and
    counted as `without_id`. Ids are known in their partition alone: copies of an event have to have the same key.

    `retention` ("24h") counts by the times of the records from the one that was handled to its copy, so neither a
    worker that is behind nor a clock that is wrong forgets too early. Rows that are older by the records' times and by
    the worker's clock are removed bit by bit.
    """

    retention: str | timedelta = "24h"
    by: str | Callable[[Any, RawRecord], EventId | None] | None = None
    store: Store[bytes, InboxRow] = field(init=False, default_factory=lambda: Store("inbox", bytes, InboxRow))

    def __post_init__(self) -> None:
        """Refuse what cannot be understood.

        Raises:
            UsageError: `retention` is no duration, or `by` is something else than said.
        """
        duration(self.retention)
        if not (self.by is None or isinstance(self.by, str) or callable(self.by)):
            raise UsageError(f"Inbox(by={self.by!r})", fix="name a field, give a function, or leave it out")

    @cached_property
    def retention_ms(self) -> int:
        """How long an id is remembered."""
        return round(duration(self.retention).total_seconds() * 1000)

    def check(self, processor: str, source: Topic[Any]) -> None:
        """Refuse an input that has no such ids.

        Raises:
            UsageError: its events have no such field, or it was not declared with event ids.
        """
        fields = getattr(source.model, "model_fields", {})
        if isinstance(self.by, str) and self.by not in fields:
            raise UsageError(
                f"processor {processor}: {source.model.__name__} has no field {self.by!r} for its inbox",
                fix=f"use one of {', '.join(fields)}, or leave `by` out to go by the header streams.event.id",
            )
        if self.by is None and not source.event_ids:
            raise UsageError(
                f"processor {processor} has an inbox by event ids, but {source.name} is not declared to have them",
                fix="declare the topic with event_ids=True, or name a field: Inbox(by=…)",
            )

    def id_of(self, event: Any, record: RawRecord) -> bytes | None:
        """Return the id of an event; None if it has none.

        Raises:
            TypeError: it is something that is no id.
        """
        if self.by is None:
            return event_id(record)
        found = self.by(event, record) if callable(self.by) else getattr(event, self.by, None)
        if found is None or isinstance(found, bytes):
            return found
        if not isinstance(found, str | int | UUID):
            raise TypeError(f"{found!r} is no id: use str, bytes, int or UUID")
        return str(found).encode()

    def admits(self, event: Any, ctx: Context) -> bool:
        """Tell whether an event is to be handled, and take its id in; `Context.outcome` says what the inbox made of it.

        Raises:
            TypeError: its id is none.
        """
        record, ctx.outcome = ctx.record, PROCESSED
        found = self.id_of(event, record)
        if found is None:
            ctx.outcome = WITHOUT_ID
            return True
        row = ctx.get(self.store, found)
        if row is not None and record.timestamp_ms - row.timestamp_ms < self.retention_ms:
            ctx.outcome = DUPLICATES
            return False
        row = InboxRow(offset=record.offset, timestamp_ms=record.timestamp_ms, handled_ms=ctx.now_ms)
        ctx.put(self.store, found, row)
        return True

    def around(self, handler: Handler) -> Handler:
        """Return the handler with the inbox before it; a coroutine stays one, and an asynchronous generator too."""
        if inspect.iscoroutinefunction(handler):

            @wraps(handler)
            async def awaited(event: Any, ctx: Context) -> Any:
                return await handler(event, ctx) if self.admits(event, ctx) else None

            return awaited
        if inspect.isasyncgenfunction(handler):

            @wraps(handler)
            async def iterated(event: Any, ctx: Context) -> AsyncIterator[Any]:
                if self.admits(event, ctx):
                    async for value in handler(event, ctx):
                        yield value

            return iterated

        @wraps(handler)
        def called(event: Any, ctx: Context) -> Any:
            return handler(event, ctx) if self.admits(event, ctx) else None

        return called


class Sweep:
    """Removes the old rows of one task's inbox: with each step it looks at some, in their order, round and round.

    Two rows for every record are enough: there are at most half more than have to be kept.
    """

    def __init__(self, state: TaskState, inbox: Inbox) -> None:
        self._state = state
        self._store = inbox.store
        self._retention_ms = inbox.retention_ms
        self._newest_ms = 0  # of the records that came by since the task was opened
        self._after: bytes | None = None

    def step(self, records: Sequence[RawRecord], now_ms: int) -> None:
        """Look at some rows behind records that were dealt with."""
        self._newest_ms = max(self._newest_ms, *(record.timestamp_ms for record in records), 0)
        most = max(LEAST_LOOKED_AT, LOOKED_AT * len(records))
        rows = list(islice(self._state.items(self._store, self._after), most))
        self._after = rows[-1][0] if len(rows) == most else None
        by_record, by_clock = self._newest_ms - self._retention_ms, now_ms - self._retention_ms
        for key, row in rows:  # newest values: an id that was handled again since the last commit is not old
            if row.timestamp_ms <= by_record and row.handled_ms <= by_clock:  # one of the clocks may be wrong
                self._state.put(self._store, key, None)
