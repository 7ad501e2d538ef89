"""What comes back to a processor: batches of records, commands alone and ahead, notes; and the place of each record."""

from __future__ import annotations

import pytest

from streams.failures.dead_letters import ORIGIN
from streams.failures.redrives import (
    BEHIND_ALL,
    COMMAND,
    DROP,
    MOST_BUFFERED,
    MOST_BYTES,
    OFFSET,
    RELEASE,
    Redrives,
    as_read_first,
    chosen,
    command,
)
from streams.record import RawRecord, Record, TopicPartition

SOURCE = TopicPartition("in", 2)


def back(offset: int, origin: bytes | None = b"in/2/7") -> RawRecord:
    headers = () if origin is None else ((ORIGIN, origin),)
    return Record("g.redrive", b"k", b"v", 5, 2, offset, headers)


def order(offset: int, what: bytes, *, kept_to: bytes | None = None) -> RawRecord:
    headers: tuple[tuple[str, bytes | None], ...] = ((COMMAND, what),)
    return Record("g.redrive", b"k", b"{}", 5, 2, offset, headers if kept_to is None else (*headers, (OFFSET, kept_to)))


def received(*records: RawRecord) -> Redrives:
    made = Redrives(None)
    made.receive(records)
    return made


def offsets(batch: list[RawRecord]) -> list[int]:
    return [one.offset for one in batch]


def test_records_come_together_notes_too_and_each_command_alone() -> None:
    one = received(
        back(0), back(1), order(2, b"redriven"), order(3, b"dropped"), order(4, b"release"), order(5, b"drop"), back(6)
    )
    seen = []
    while one.buffer:
        batch = one.batch(10)
        seen.append(offsets(batch))
        one.advance(len(batch))

    assert seen == [[0, 1], [2, 3], [4], [5], [6]]


def test_a_batch_has_its_bound() -> None:
    assert offsets(received(back(0), back(1), back(2)).batch(2)) == [0, 1]


def test_a_command_is_found_behind_what_it_makes_room_for_and_obeyed_once() -> None:
    one = received(back(0), order(1, b"drop"), order(2, b"release"))
    first = one.order()
    assert first is not None
    assert first.offset == 1
    one.obeyed(first)
    second = one.order()
    assert second is not None
    assert second.offset == 2
    one.obeyed(second)
    assert one.order() is None
    one.advance(1)

    assert offsets(one.batch(10)) == [1, 2]  # as notes


def test_what_was_obeyed_and_not_committed_is_obeyed_again() -> None:
    one = received(order(0, b"drop"))
    first = one.order()
    assert first is not None
    one.obeyed(first)
    one.rewind()
    one.receive([order(0, b"drop")])

    assert one.order() is not None


@pytest.mark.parametrize(
    ("records", "full"),
    [
        ([back(at) for at in range(MOST_BUFFERED)], True),
        ([back(at) for at in range(MOST_BUFFERED - 1)], False),
        ([back(0)._replace(value=b"v" * MOST_BYTES)], True),
        ([back(0)._replace(headers=(("h", b"v" * MOST_BYTES),))], True),
        ([back(0)._replace(value=None)], False),
    ],
    ids=["many", "fewer", "large", "large headers", "none"],
)
def test_so_much_is_read_ahead(records: list[RawRecord], full: bool) -> None:
    assert received(*records).full == full


def test_what_a_record_commands() -> None:
    found = [command(one) for one in (order(0, b"release"), order(0, b"drop"), order(0, b"\xff"), back(0))]

    assert found == [RELEASE, DROP, "\N{REPLACEMENT CHARACTER}", None]


@pytest.mark.parametrize(
    ("written", "meant"), [(None, None), (b"17", 17), (b"x", -1), (b"", -1), (b"9" * 30, -1), ("٣".encode(), -1)]
)
def test_a_command_that_names_no_readable_offset_is_meant_for_no_record(
    written: bytes | None, meant: int | None
) -> None:
    assert chosen(order(0, b"drop", kept_to=written)) == meant


def test_a_record_comes_back_under_its_first_place() -> None:
    [one] = as_read_first([back(3)], SOURCE)

    assert (one.topic, one.partition, one.offset, one.key, one.value) == ("in", 2, 7, b"k", b"v")


@pytest.mark.parametrize("origin", [b"in/1/7", b"other/2/7", b"nonsense", b"in/2/-1", None])
def test_a_record_of_elsewhere_stands_behind_all_and_keeps_what_it_names(origin: bytes | None) -> None:
    """Or it would be taken for the one that waits at that offset."""
    [one] = as_read_first([back(3, origin)], SOURCE)

    assert (one.partition, one.offset) == (2, BEHIND_ALL + 3)
    named = dict(one.headers)[ORIGIN]
    assert named == (origin if origin in {b"in/1/7", b"other/2/7"} else b"g.redrive/2/3")
    assert as_read_first([one], SOURCE)[0].headers == one.headers
