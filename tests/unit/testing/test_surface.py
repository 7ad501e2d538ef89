"""What the headers of a dead letter say."""

from __future__ import annotations

import pytest

from streams.errors import DecodeError, HandlerError, RecordError
from streams.failures.dead_letters import Refusal, dead_letter
from streams.record import RawRecord, Record
from streams.testing.surface import dead_letter_of

RECORD = Record("posts", b"7", b"junk", 1_000, 2, 40, (("trace", b"1"), ("trace", None)))


def refused(error: RecordError) -> RawRecord:
    return dead_letter(RECORD, Refusal(error, "app.copy", "app.copy", 1, 0), "app.copy.dlq")


def test_a_dead_letter_gives_the_record_back_and_says_why() -> None:
    written = refused(DecodeError("bad-magic", "first byte is 106"))

    letter = dead_letter_of(written, "copy")

    assert letter.record == RECORD
    assert letter[2:] == ("decode", "bad-magic", "bad-magic: first byte is 106", "posts", 2, 40)
    assert letter.processor == "copy"


def test_the_message_is_that_of_the_handler() -> None:
    error = HandlerError()
    error.__cause__ = ValueError("no such friend")
    written = refused(error)

    assert dead_letter_of(written, "copy").message == "ValueError: no such friend"


def test_a_record_without_a_reason_is_no_dead_letter() -> None:
    with pytest.raises(KeyError):
        dead_letter_of(RECORD, "copy")
