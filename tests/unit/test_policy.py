"""What a refused record leaves behind."""

from __future__ import annotations

import pytest

from streams.errors import DecodeError, EncodeError, HandlerError, RecordError, SendError, StoppedError
from streams.policy import MAX_REASON_BYTES, FailurePolicy, describe, refuse
from streams.record import Record

RECORD = Record("in", b"k", b"v", 7, 3, 42, (("trace", b"1"), ("nothing", None), ("streams.error.kind", b"old")))


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot say it")


def caused_by(cause: BaseException) -> HandlerError:
    error = HandlerError()
    error.__cause__ = cause
    return error


def test_skip_leaves_nothing() -> None:
    """INV-4, INV-5."""
    assert refuse(FailurePolicy.SKIP, RECORD, DecodeError("bad-magic"), "dlq") == []


def test_stop_says_which_record_and_why() -> None:
    with pytest.raises(StoppedError) as raised:
        refuse(FailurePolicy.STOP, RECORD, caused_by(ValueError("negative")), "dlq")
    assert "negative" in str(raised.value)
    assert "in[3] offset 42" in str(raised.value)
    assert raised.value.exit_code == 6


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
    [letter] = refuse(FailurePolicy.DEAD_LETTER, RECORD, error, "dlq")
    assert (letter.topic, letter.key, letter.value, letter.timestamp_ms) == ("dlq", b"k", b"v", 7)
    assert (letter.partition, letter.offset) == (-1, -1)
    assert letter.headers[:2] == (("trace", b"1"), ("nothing", None))
    assert dict(letter.headers[2:]) == {
        "__connect.errors.topic": b"in",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.stage": stage.encode(),
        "__connect.errors.exception.class.name": name.encode(),
        "__connect.errors.exception.message": message.encode(),
        "streams.error.kind": kind.encode(),
    }


def test_a_long_reason_is_cut() -> None:
    [letter] = refuse(FailurePolicy.DEAD_LETTER, RECORD, caused_by(ValueError("ä" * 100_000)), "dlq")
    assert max(len(value or b"") for _, value in letter.headers) == MAX_REASON_BYTES


@pytest.mark.parametrize("cause", [MuteError(), ValueError("\ud800"), KeyError("k")])
def test_whatever_the_users_exception_says_the_record_is_refused(cause: Exception) -> None:
    """INV-4: an exception that cannot even be shown must not take the worker with it."""
    [letter] = refuse(FailurePolicy.DEAD_LETTER, RECORD, caused_by(cause), "dlq")
    assert type(cause).__name__.encode() in dict(letter.headers)["__connect.errors.exception.message"]
    assert type(cause).__name__ in describe(caused_by(cause))


def test_our_own_words_come_before_those_of_the_cause() -> None:
    error = DecodeError("truncated", "at 5")
    error.__cause__ = IndexError("list index out of range")
    assert describe(error) == "truncated: at 5"
    assert describe(HandlerError("one record gave too much")) == "one record gave too much"
