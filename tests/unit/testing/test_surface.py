"""What the headers of a dead letter say."""

from __future__ import annotations

import pytest

from streams.errors import DecodeError, HandlerError
from streams.policy import FailurePolicy, refuse
from streams.record import Record
from streams.testing.surface import dead_letter_of

RECORD = Record("posts", b"7", b"junk", 1_000, 2, 40, (("trace", b"1"), ("trace", None)))


def test_a_dead_letter_gives_the_record_back_and_says_why() -> None:
    [written] = refuse(FailurePolicy.DEAD_LETTER, RECORD, DecodeError("bad-magic", "first byte is 106"), "app.copy.dlq")

    letter = dead_letter_of(written, "copy")

    assert letter.record == RECORD
    assert letter[2:] == ("decode", "bad-magic", "bad-magic: first byte is 106", "posts", 2, 40)
    assert letter.processor == "copy"


def test_the_message_is_that_of_the_handler() -> None:
    error = HandlerError()
    error.__cause__ = ValueError("no such friend")
    [written] = refuse(FailurePolicy.DEAD_LETTER, RECORD, error, "app.copy.dlq")

    assert dead_letter_of(written, "copy").message == "ValueError: no such friend"


def test_a_record_without_a_reason_is_no_dead_letter() -> None:
    with pytest.raises(KeyError):
        dead_letter_of(RECORD, "copy")
