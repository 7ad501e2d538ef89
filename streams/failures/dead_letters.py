"""Dead letters: the bytes of a record as they were read, and why it was given up, in Kafka Connect's headers."""

from __future__ import annotations

import traceback
from typing import NamedTuple

from streams.errors import RecordError
from streams.record import Headers, RawRecord, Record, TopicPartition

ORIGIN = "streams.origin"
"""The header of a re-driven record: the topic, partition and offset where it failed first, with slashes between."""
REDRIVES = "streams.redrives"
"""The header of a re-driven record: how often it was."""

REASONS = ("__connect.errors.", "streams.error.")
MAX_REASON_BYTES = 1024  # of a header; a dead letter must not grow too large because of its reason
MAX_TRACE_BYTES = 8 << 10
MAX_DIGITS = 18  # of an offset: fewer than 63 bits


class Origin(NamedTuple):
    """Where a record was read when it failed first."""

    topic: str
    partition: int
    offset: int


class Refusal(NamedTuple):
    """Why a record was given up, by whom, after how many attempts, and when."""

    error: RecordError
    group: str
    handler: str
    attempts: int
    at_ms: int


def dead_letter(record: RawRecord, refusal: Refusal, topic: str) -> RawRecord:
    """Keep bytes, key, headers and timestamp; the reason goes into headers of at most 16 KB."""
    kept = tuple(header for header in record.headers if not header[0].startswith(REASONS))
    return Record(topic, record.key, record.value, record.timestamp_ms, headers=kept + _reason(record, refusal))


def origin_of(record: RawRecord) -> Origin:
    """Return where a record failed first: what a re-drive noted, else where it was read."""
    noted = next((value for name, value in record.headers if name == ORIGIN), None)
    topic, _, place = (noted or b"").decode(errors="replace").rpartition("/")
    topic, _, partition = topic.rpartition("/")
    number, offset = as_number(partition), as_number(place)
    if topic and number is not None and offset is not None:
        return Origin(topic, number, offset)
    return Origin(*TopicPartition(record.topic, record.partition), record.offset)


def as_number(written: str) -> int | None:
    """Read a number that somebody wrote into a header; None if it is none, or none of Kafka's."""
    return int(written) if written.isascii() and written.isdigit() and len(written) <= MAX_DIGITS else None


def describe(error: RecordError) -> str:
    """Say in one line what went wrong, naming the user's own exception where there is one."""
    cause = error.__cause__
    if cause is None or str(error):
        return str(error)
    return "".join(traceback.format_exception_only(cause)).strip()  # str(cause) is user code and may raise


def kind_of(error: RecordError) -> str:
    """Name what went wrong: the defect of a frame, else the class of what was raised."""
    named = getattr(error, "kind", None)
    return named if isinstance(named, str) else _class(error.__cause__ or error)


def _reason(record: RawRecord, refusal: Refusal) -> Headers:
    error, origin = refusal.error, origin_of(record)
    reason = {
        "__connect.errors.topic": origin.topic,
        "__connect.errors.partition": str(origin.partition),
        "__connect.errors.offset": str(origin.offset),
        "__connect.errors.connector.name": refusal.group,
        "__connect.errors.task.id": str(record.partition),
        "__connect.errors.stage": error.stage,
        "__connect.errors.class.name": refusal.handler,
        "__connect.errors.exception.class.name": _class(error.__cause__ or error),
        "__connect.errors.exception.message": describe(error),
        "streams.error.kind": getattr(error, "kind", error.stage),
        "streams.error.attempts": str(refusal.attempts),
        "streams.error.time": str(refusal.at_ms),
    }
    headers = [(name, text.encode(errors="replace")[:MAX_REASON_BYTES]) for name, text in reason.items()]
    if error.__cause__ is not None:
        trace = _trace(error.__cause__).encode(errors="replace")[-MAX_TRACE_BYTES:]
        headers.append(("__connect.errors.exception.stacktrace", trace))
    return tuple(headers)


def _trace(error: BaseException) -> str:
    """Write a stack trace, that of what an error came from first; without marks below the lines, which cost much."""
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_trace(origin)}\nfrom which came:\n\n" if origin is not None and origin is not error else ""
    stack = "".join(traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__)).format())
    return f"{before}{stack}{''.join(traceback.format_exception_only(error))}"


def _class(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
