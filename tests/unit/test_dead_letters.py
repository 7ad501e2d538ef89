"""What a record leaves behind that is given up."""

from __future__ import annotations

import pytest

from streams.errors import DecodeError, EncodeError, HandlerError, RecordError, SendError
from streams.failures.dead_letters import MAX_REASON_BYTES, Origin, Refusal, dead_letter, describe, origin_of
from streams.record import RawRecord, Record

RECORD = Record("in", b"k", b"v", 7, 3, 42, (("trace", b"1"), ("nothing", None), ("streams.error.kind", b"old")))


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot say it")


def caused_by(cause: BaseException) -> HandlerError:
    error = HandlerError()
    error.__cause__ = cause
    return error


def letter_of(error: RecordError, record: RawRecord = RECORD) -> RawRecord:
    return dead_letter(record, Refusal(error, "app.copy", "app.handlers.copy", 3, 1_700_000_000_000), "dlq")


@pytest.mark.parametrize(
    ("error", "stage", "kind", "name", "message"),
    [
        (DecodeError("truncated", "at 5"), "decode", "truncated", "streams.errors.DecodeError", "truncated: at 5"),
        (caused_by(ValueError("negative")), "process", "process", "builtins.ValueError", "ValueError: negative"),
        (EncodeError("no number"), "encode", "encode", "streams.errors.EncodeError", "no number"),
        (SendError("too large"), "send", "send", "streams.errors.SendError", "too large"),
    ],
)
def test_a_dead_letter_keeps_everything_and_says_why(
    error: RecordError, stage: str, kind: str, name: str, message: str
) -> None:
    """INV-4: bytes, key, headers and timestamp as they came, the reason in headers; ours of an earlier life go."""
    letter = letter_of(error)
    assert (letter.topic, letter.key, letter.value, letter.timestamp_ms) == ("dlq", b"k", b"v", 7)
    assert (letter.partition, letter.offset) == (-1, -1)
    assert letter.headers[:2] == (("trace", b"1"), ("nothing", None))
    reason = dict(letter.headers[2:])
    trace = reason.pop("__connect.errors.exception.stacktrace", b"")
    assert (b"negative" in (trace or b"")) == (stage == "process")
    assert reason == {
        "__connect.errors.topic": b"in",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.connector.name": b"app.copy",
        "__connect.errors.task.id": b"3",
        "__connect.errors.stage": stage.encode(),
        "__connect.errors.class.name": b"app.handlers.copy",
        "__connect.errors.exception.class.name": name.encode(),
        "__connect.errors.exception.message": message.encode(),
        "streams.error.kind": kind.encode(),
        "streams.error.attempts": b"3",
        "streams.error.time": b"1700000000000",
    }


def test_the_origin_survives_a_re_drive() -> None:
    """Another failure does not hide where a record came from first."""
    noted = (("streams.origin", b"orders/1/7"), ("streams.redrives", b"2"))
    letter = letter_of(DecodeError("truncated"), RECORD._replace(headers=noted))
    reason = dict(letter.headers)
    assert [reason[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset")] == [b"orders", b"1", b"7"]
    assert reason["streams.redrives"] == b"2"


@pytest.mark.parametrize("noted", [b"", b"orders", b"orders/1", b"orders/x/7", b"/1/7", b"orders/1/-7"])
def test_an_origin_that_is_none_is_passed_over(noted: bytes) -> None:
    assert origin_of(RECORD._replace(headers=(("streams.origin", noted),))) == Origin("in", 3, 42)


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    raise ValueError("ä" * 100_000)


def test_long_reasons_are_cut_to_16_kilobytes() -> None:
    try:
        deep(200)
    except ValueError as raised:
        letter = letter_of(caused_by(raised))
    sizes = {name: len(value or b"") for name, value in letter.headers if name.startswith(("__connect", "streams.e"))}
    assert sizes["__connect.errors.exception.message"] == MAX_REASON_BYTES
    assert sum(sizes.values()) + sum(map(len, sizes)) < 16 << 10
    assert len(sizes) == 13


def test_the_trace_tells_where_and_what_it_came_from() -> None:
    try:
        try:
            int("seven")
        except ValueError as raised:
            raise KeyError("no number") from raised
    except KeyError as raised:
        reason = dict(letter_of(caused_by(raised)).headers)
    trace = (reason["__connect.errors.exception.stacktrace"] or b"").decode()
    assert [part in trace for part in ('int("seven")', "ValueError", "from which came", "KeyError", __file__)] == [
        True
    ] * 5
    assert trace.index("ValueError") < trace.index("KeyError: 'no number'")


@pytest.mark.parametrize("cause", [MuteError(), ValueError("\ud800"), KeyError("k")])
def test_whatever_the_users_exception_says_the_record_is_kept(cause: Exception) -> None:
    """INV-4: an exception that cannot even be shown must not take the worker with it."""
    letter = letter_of(caused_by(cause))
    assert type(cause).__name__.encode() in (dict(letter.headers)["__connect.errors.exception.message"] or b"")
    assert type(cause).__name__ in describe(caused_by(cause))


def test_our_own_words_come_before_those_of_the_cause() -> None:
    error = DecodeError("truncated", "at 5")
    error.__cause__ = IndexError("list index out of range")
    assert describe(error) == "truncated: at 5"
    assert describe(HandlerError("one record gave too much")) == "one record gave too much"
