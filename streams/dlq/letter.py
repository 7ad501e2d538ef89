"""A dead letter: a record as it was read, and why it was given up, out of the headers that the worker wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.failures.dead_letters import ORIGIN, REASONS, REDRIVES
from streams.record import Headers, RawRecord, Record

DEAD_LETTER: Final = "streams.dead_letter"
"""The header of a record that is sent again to its processor, and of notes: the place of the dead letter."""

MOST_PARTITION: Final = 2**31 - 1
MOST_OFFSET: Final = 2**63 - 1


class Place(NamedTuple):
    """Where a dead letter lies in its topic; written `partition/offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


class Letter(NamedTuple):
    """A dead letter.

    `record` is what lies in the dead-letter topic. `original` is the record as it was first read: topic, partition and
    offset of its first origin, the headers without those that a dead letter adds. `time_ms` says when it was given up,
    `redrives` how often it had been sent again. The class of an exception has no module where Python brings it.
    """

    record: RawRecord
    original: RawRecord
    stage: str
    kind: str
    type: str
    message: str
    stacktrace: str
    handler: str
    attempts: int
    time_ms: int
    redrives: int

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.record.partition, self.record.offset)

    @property
    def error(self) -> str:
        """What went wrong in one word: the defect of a frame, else the exception's class."""
        return self.kind if self.kind and self.kind != self.stage else self.type


class NotALetter(NamedTuple):
    """A record in a dead-letter topic that is none: somebody else wrote it."""

    place: Place
    why: str


def read_place(text: str) -> Place:
    """Read `partition/offset`.

    Raises:
        ValueError: it is something else.
    """
    partition, slash, offset = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not PARTITION/OFFSET")
    return Place(_number(partition, MOST_PARTITION), _number(offset, MOST_OFFSET))


def read_letter(record: RawRecord) -> Letter | NotALetter:
    """Read a record of a dead-letter topic; whatever it holds, nothing is raised."""
    place = Place(record.partition, record.offset)
    reason = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        return _letter(record, reason)
    except KeyError as missing:
        return NotALetter(place, f"it has no header {missing.args[0]}")
    except ValueError as error:
        return NotALetter(place, str(error))


def redrives_of(record: RawRecord) -> int:
    """Return how often a record had been sent again; 0 where that cannot be read."""
    reason = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        return _header(reason, REDRIVES, MOST_PARTITION, 0)
    except ValueError:
        return 0


def own_headers(headers: Headers) -> Headers:
    """Return the headers that a record had before it failed for the first time."""
    ours = {ORIGIN, REDRIVES, DEAD_LETTER}
    return tuple(header for header in headers if not header[0].startswith(REASONS) and header[0] not in ours)


def short_class(name: str) -> str:
    """Return the name of an exception's class as people write it."""
    return name.removeprefix("builtins.")


def _letter(record: RawRecord, reason: Mapping[str, str]) -> Letter:
    return Letter(
        record=record,
        original=Record(
            reason["__connect.errors.topic"],
            record.key,
            record.value,
            record.timestamp_ms,
            _header(reason, "__connect.errors.partition", MOST_PARTITION),
            _header(reason, "__connect.errors.offset", MOST_OFFSET),
            own_headers(record.headers),
        ),
        stage=reason["__connect.errors.stage"],
        kind=reason.get("streams.error.kind", ""),
        type=short_class(reason.get("__connect.errors.exception.class.name", "")),
        message=reason.get("__connect.errors.exception.message", ""),
        stacktrace=reason.get("__connect.errors.exception.stacktrace", ""),
        handler=reason.get("__connect.errors.class.name", ""),
        attempts=_header(reason, "streams.error.attempts", MOST_OFFSET, 1),
        time_ms=_header(reason, "streams.error.time", MOST_OFFSET, record.timestamp_ms),
        redrives=_header(reason, REDRIVES, MOST_PARTITION, 0),
    )


def _header(reason: Mapping[str, str], name: str, most: int, default: int | None = None) -> int:
    if default is not None and name not in reason:
        return default
    try:
        return _number(reason[name], most)
    except ValueError as error:
        raise ValueError(f"header {name}: {error}") from None


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))) or int(text) > most:
        raise ValueError(f"{text[:40]!r} is not a number from 0 to {most}")
    return int(text)
