"""What becomes of a record that fails: one policy for decode, process, encode and send."""

from __future__ import annotations

import traceback
from enum import Enum

from streams.errors import RecordError, StoppedError
from streams.record import Headers, RawRecord, Record

MAX_REASON_BYTES = 1024  # of a header; a dead letter must not grow too large because of its reason
_OWN_PREFIXES = ("__connect.errors.", "streams.error.")


class FailurePolicy(Enum):
    """The answer to a record that cannot be decoded, processed, encoded or sent."""

    DEAD_LETTER = "dead-letter"  # its bytes go to the dead-letter topic, in the same transaction
    SKIP = "skip"  # it is counted and passed over
    STOP = "stop"  # the worker ends with exit code 6; nothing is committed past the record


def refuse(policy: FailurePolicy, record: RawRecord, error: RecordError, dead_letter_topic: str) -> list[RawRecord]:
    """Return what a refused record leaves behind: nothing, or its dead letter (INV-4, INV-9).

    Raises:
        StoppedError: the policy is STOP.
    """
    if policy is FailurePolicy.SKIP:
        return []
    if policy is FailurePolicy.STOP:
        raise StoppedError(
            f"a record failed in {error.stage} and the policy is STOP: {describe(error)}",
            where=f"{record.topic}[{record.partition}] offset {record.offset}",
            fix="mend the handler or the record, or choose on_failure=DEAD_LETTER",
        ) from error
    return [_dead_letter(record, error, dead_letter_topic)]


def describe(error: RecordError) -> str:
    """Say in one line what went wrong, naming the user's own exception where there is one."""
    cause = error.__cause__
    if cause is None or str(error):
        return str(error)
    return "".join(traceback.format_exception_only(cause)).strip()  # str(cause) is user code and may raise


def _dead_letter(record: RawRecord, error: RecordError, topic: str) -> RawRecord:
    """Keep bytes, key, headers and timestamp; the reason goes into Kafka Connect's header names."""
    kept = tuple(header for header in record.headers if not header[0].startswith(_OWN_PREFIXES))
    return Record(topic, record.key, record.value, record.timestamp_ms, headers=kept + _reason(record, error))


def _reason(record: RawRecord, error: RecordError) -> Headers:
    cause = error.__cause__ or error
    reason = {
        "__connect.errors.topic": record.topic,
        "__connect.errors.partition": str(record.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.stage": error.stage,
        "__connect.errors.exception.class.name": f"{type(cause).__module__}.{type(cause).__qualname__}",
        "__connect.errors.exception.message": describe(error),
        "streams.error.kind": getattr(error, "kind", error.stage),
    }
    return tuple((name, text.encode(errors="replace")[:MAX_REASON_BYTES]) for name, text in reason.items())
