"""Dead letters by their headers, the records that are sent again, notes, and groups: whatever the headers hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dlq.groups import MOST_GROUPS, OTHERS, grouped, normalised
from streams.dlq.history import history
from streams.dlq.letter import Letter, NotALetter, Place, own_headers, read_letter, read_place, redrives_of
from streams.dlq.notes import Audit, Names, Note, again, note, read_note, settled, somebody
from streams.record import Headers, RawRecord, Record

REASON = {
    "__connect.errors.topic": "orders",
    "__connect.errors.partition": "2",
    "__connect.errors.offset": "17",
    "__connect.errors.stage": "process",
    "__connect.errors.exception.class.name": "builtins.ValueError",
    "__connect.errors.exception.message": "ValueError: order 5",
    "streams.error.kind": "ValueError",
    "streams.error.attempts": "6",
    "streams.error.time": "5000",
}
OWN: Headers = (("trace", b"\xff"), ("trace", b""), ("none", None), ("streams", b"x"), ("streams.errors", b"y"))
PLACE = Place(1, 9)
NAMES = Names("shop.ship")
NAMES_OF_HEADERS = st.sampled_from([*REASON, "streams.redrives", "streams.dead_letter", "streams.command", "trace"])
ANY_HEADERS = st.lists(st.tuples(NAMES_OF_HEADERS, st.none() | st.binary() | st.integers().map(lambda n: b"%d" % n)))


def dead(own: Headers = OWN, place: Place = PLACE, without: str = "", **more: str) -> RawRecord:
    reason = {name: text for name, text in {**REASON, **more}.items() if name != without}
    headers = (*own, *((name, text.encode()) for name, text in reason.items()))
    return Record("shop.ship.dlq", b"\x00key", b"\xffvalue", 1_000, place.partition, place.offset, headers)


def letter(record: RawRecord | None = None, **more: str) -> Letter:
    read = read_letter(record or dead(**more))
    assert isinstance(read, Letter), read
    return read


def test_a_dead_letter_is_the_record_of_its_first_origin() -> None:
    read = letter(**{"streams.redrives": "2", "streams.origin": "other/9/9", "streams.dead_letter": "0/0"})
    assert read.original == Record("orders", b"\x00key", b"\xffvalue", 1_000, 2, 17, OWN)
    assert (read.stage, read.kind, read.type, read.message) == (
        "process",
        "ValueError",
        "ValueError",
        "ValueError: order 5",
    )
    assert (read.attempts, read.time_ms, read.redrives, read.place) == (6, 5_000, 2, Place(1, 9))


@pytest.mark.parametrize(
    ("kind", "stage", "error"),
    [("bad-magic", "decode", "bad-magic"), ("process", "process", "ValueError"), ("", "send", "ValueError")],
)
def test_an_error_has_one_name(kind: str, stage: str, error: str) -> None:
    assert letter(**{"streams.error.kind": kind, "__connect.errors.stage": stage}).error == error


def test_what_an_older_dead_letter_does_not_say_is_left_open() -> None:
    read = letter(dead(without="streams.error.time"))
    assert (read.time_ms, read.handler, read.stacktrace, read.redrives) == (1_000, "", "", 0)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Record("d", None, None, 0, 0, 0), "it has no header __connect.errors.topic"),
        (dead(without="__connect.errors.stage"), "it has no header __connect.errors.stage"),
        (dead(**{"__connect.errors.partition": "-1"}), "header __connect.errors.partition: '-1' is not a number"),
        (dead(**{"__connect.errors.partition": str(2**31)}), "is not a number from 0"),
        (dead(**{"__connect.errors.offset": "9" * 5_000}), "is not a number from 0"),
        (dead(**{"__connect.errors.offset": "\uff11"}), "is not a number from 0"),
        (dead(**{"streams.redrives": "many"}), "header streams.redrives: 'many' is not a number"),
    ],
)
def test_a_record_of_somebody_else_is_told(record: RawRecord, why: str) -> None:
    read = read_letter(record)
    assert isinstance(read, NotALetter)
    assert why in read.why
    assert read.place == Place(record.partition, record.offset)


@given(ANY_HEADERS, st.none() | st.binary())
def test_no_headers_make_reading_fail(headers: list[tuple[str, bytes | None]], value: bytes | None) -> None:
    record: RawRecord = Record("shop.ship.dlq", None, value, -1, 0, 3, tuple(headers))
    assert read_letter(record)
    assert redrives_of(record) >= 0
    found = read_note(record)
    assert found is None or isinstance(found.audit, dict)


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=20))))
def test_a_record_is_sent_again_as_it_was(own: list[tuple[str, bytes | None]]) -> None:
    before = own_headers(tuple(own))
    read = letter(dead(own=before, **{"streams.redrives": "2"}))
    sent = again(read, NAMES.redrive, noted=True)
    added = (("streams.origin", b"orders/2/17"), ("streams.redrives", b"3"), ("streams.dead_letter", b"1/9"))
    assert sent == Record(NAMES.redrive, b"\x00key", b"\xffvalue", 1_000, 2, headers=(*before, *added))
    to_origin = again(read, "orders", noted=False)
    assert to_origin == Record("orders", b"\x00key", b"\xffvalue", 1_000, 2, headers=(*before, *added[:2]))


def test_a_note_says_who_did_what_and_settles_the_dead_letter() -> None:
    audit = Audit("me@here", "2026-01-01", "job", "processor", 'key == "größer"')
    written = note(letter(), NAMES.redrive, "dropped", audit.encode(), 77)
    assert (written.topic, written.partition, written.key, written.timestamp_ms) == (NAMES.redrive, 1, b"\x00key", 77)
    read = read_note(written)
    assert read == Note(Place(1, 9), "dropped", written.value)
    assert read.audit == audit._asdict()
    sent = again(letter(dead(place=Place(0, 4))), NAMES.redrive, noted=True)
    odd = (("streams.command", b"release"), ("streams.dead_letter", b"0/7"))
    released: RawRecord = Record(NAMES.redrive, b"k", b"{}", 0, 0, headers=odd)
    assert settled([written, sent, released]) == {Place(1, 9): "dropped", Place(0, 4): "redriven"}
    assert "@" in somebody()


@pytest.mark.parametrize("value", [None, b"", b"[1]", b"\xff", b"[" * 100_000, b"1" * 10_000])
def test_an_audit_that_cannot_be_read_is_none(value: bytes | None) -> None:
    assert Note(Place(0, 0), "dropped", value).audit == {}


def test_the_history_goes_over_all_dead_letters_of_one_origin() -> None:
    first, second = letter(dead(place=Place(1, 1))), letter(dead(place=Place(1, 2), **{"streams.redrives": "1"}))
    other = letter(dead(place=Place(1, 3), **{"__connect.errors.offset": "18"}))
    notes = [note(one, NAMES.redrive, "redriven", json.dumps({"when": when}).encode(), 0) for when, one in
             (("3", second), ("1", first), ("2", other))]  # fmt: skip
    sent = again(first, NAMES.redrive, noted=True)
    told = history(second, [first, second, other], [*notes, sent])
    assert told == [
        {"dead_letter": "1/1", "action": "redriven", "when": "1"},
        {"dead_letter": "1/2", "action": "redriven", "when": "3"},
    ]


@pytest.mark.parametrize("text", ["", "1", "1/", "/1", "1/2/3", "-1/2", "1/-2", "a/b", " 1/2", f"{2**31}/0"])
def test_a_place_is_partition_and_offset(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        read_place(text)
    assert read_place("1/22") == Place(1, 22)


@pytest.mark.parametrize(
    ("message", "same"),
    [
        ("ValueError: order 5 of 3.25", "ValueError: order <n> of <n>"),
        ("no 0b7a8a3e-93b2-4c7f-a8a7-4b5f6c7d8e9f here", "no <uuid> here"),
        ("object at 0x7ff433e5e890", "object at <hex>"),
        ("hash deadbeef0123 of defaced facade", "hash <hex> of defaced facade"),
        ("KeyError: 'colour'\nand more", "KeyError: 'colour'"),
        ("x" * 500, "x" * 159 + "…"),
        ("", ""),
    ],
)
def test_messages_are_the_same_but_for_what_varies(message: str, same: str) -> None:
    assert normalised(message) == same


def test_groups_are_counted_and_bounded() -> None:
    letters = [letter(dead(place=Place(0, n), **{"streams.error.time": str(n)})) for n in (6, 5, 7)]
    ((what, group),) = grouped(letters).items()
    assert what.message == "ValueError: order <n>"
    assert (group.count, group.first_ms, group.last_ms, group.example) == (3, 5, 7, Place(0, 7))

    word = "abcdefghij"
    many = [
        letter(**{"__connect.errors.exception.message": "".join(word[int(c)] for c in str(n))})
        for n in range(MOST_GROUPS + 50)
    ]
    found = grouped(many)
    assert len(found) == MOST_GROUPS + 1
    assert next(iter(found)).message == OTHERS
    assert sum(group.count for group in found.values()) == len(many)
