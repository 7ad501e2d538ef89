"""Ids of events, in a header: whoever reads an event can tell a second copy of it from another event. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from uuid import UUID

from streams.errors import UsageError
from streams.failures.dead_letters import origin_of
from streams.record import Headers, RawRecord

EVENT_ID = "streams.event.id"
"""The header with the id of an event, as text."""


def event_id(record: RawRecord) -> bytes | None:
    """Return the id that an event carries; None if it has none."""
    return next((value for name, value in record.headers if name == EVENT_ID), None)


def made_of(group: str, record: RawRecord) -> str:
    """Name what a group makes of a record: the same whenever and wherever it handles the record again.

    It goes by the place where the record was read first, which retries, restarts, re-drives and replays keep. The id of
    an output is this, and its number among the outputs of the record.
    """
    topic, partition, offset = origin_of(record) if record.headers else (record.topic, record.partition, record.offset)
    return f"{group}/{topic}/{partition}/{offset}"


def headers_of(events: int, ids: Sequence[str] | None, new: Callable[[], UUID] | None) -> Iterable[Headers]:
    """Return the headers of so many events that come from outside: with the `ids`, else with new ones, else with none.

    Raises:
        UsageError: there are not as many ids as events.
    """
    if ids is not None and len(ids) != events:
        raise UsageError(f"{len(ids)} ids for {events} events", fix="give as many ids as events, or none")
    made = ids
    if made is None:
        if new is None:
            return repeat(())
        made = [str(new()) for _ in range(events)]
    return [((EVENT_ID, one.encode()),) for one in made]
