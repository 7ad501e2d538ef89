"""What `--where` may name of a dead letter or of a waiting record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from streams.dlq.letter import Letter
from streams.dlq.where import Where, functions
from streams.record import RawRecord

Describe = Callable[[RawRecord], Mapping[str, Any]]
"""Returns a record as JSON-able values: `key`, `value` and, where there are any, `headers`."""
Moment = Callable[[str], int]
"""Reads a point in time as milliseconds since the epoch, or raises UsageError."""

NAMES: Final[Mapping[str, frozenset[str] | None]] = {
    "value": None,
    "key": None,
    "headers": None,
    "error": frozenset({"kind", "type", "message", "time", "attempts", "handler"}),
    "stage": None,
    "topic": None,
    "partition": None,
    "offset": None,
    "timestamp": None,
    "redrives": None,
}
LETTER_NAMES: Final = {**NAMES, "dead_letter": None}
WAITING_NAMES: Final = {**NAMES, "status": None}


def where(text: str, names: Mapping[str, frozenset[str] | None], moment: Moment) -> Where:
    """Read an expression over one of the sets of names.

    Raises:
        UsageError: it is wrong; says where.
    """
    return Where(text, names, dict(functions(moment)))


def letter_fields(letter: Letter, describe: Describe, uses: set[str]) -> dict[str, Any]:
    """Return the fields of a dead letter; the value is decoded only if it is used."""
    error = {
        "kind": letter.kind,
        "type": letter.type,
        "message": letter.message,
        "time": letter.time_ms,
        "attempts": letter.attempts,
        "handler": letter.handler,
    }
    return {
        **record_fields(letter.original, describe, uses),
        "error": error,
        "stage": letter.stage,
        "redrives": letter.redrives,
        "dead_letter": str(letter.place),
    }


def record_fields(record: RawRecord, describe: Describe, uses: set[str]) -> dict[str, Any]:
    """Return the fields of a record."""
    fields: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
    }
    if uses & {"value", "key", "headers"}:
        shown = describe(record if "value" in uses else record._replace(value=None))
        fields |= {"value": shown["value"], "key": shown["key"], "headers": dict(shown.get("headers", ()))}
    return fields


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
