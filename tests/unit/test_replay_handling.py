"""A replay without a broker: its plan, its place, and the loop with an outlet that refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rig import Appended, Item, Items

from streams import App, Context
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import UnknownIdError
from streams.errors import AbortedError, SendError, StreamsError, UsageError
from streams.kafka.admin import Range, partition_of
from streams.kafka.offsets import Place
from streams.record import RawRecord, Record, TopicPartition
from streams.replay.handlers import in_this_thread
from streams.replay.handling import Handling, Refusal
from streams.replay.job import Part, Parts, group_of, noted, parts_of, recalled, resumed
from streams.replay.rerun import Rerun
from streams.replay.run import raw_key
from streams.requests.replies import Address, reply_topic, request_headers
from streams.testing.asking import INSTANCE

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)
ASKED: dict[str, object] = {"--from": "-1h", "--key": None}

app = App("replayed")
source = app.topic("in", Item, key="key")
output = app.topic("out", Appended, key="key")
lists = app.store("lists", str, Items)


@app.processor(source, to=output)
def append(item: Item, ctx: Context) -> Appended:
    """Keep every number of a key."""
    if item.n < 0:
        raise ValueError(f"{item.n} is negative")
    before = ctx.get(lists, item.key)
    items = (*before.items, item.n) if before else (item.n,)
    ctx.put(lists, item.key, Items(items=items))
    return Appended(key=item.key, n=item.n, size=len(items))


PROCESSOR = app.processors["append"]


def test_a_plan_reads_from_its_span_or_from_earlier_for_the_state() -> None:
    spans = {ZERO: Range(10, 20), ONE: Range(5, 5)}
    assert parts_of(spans, {}) == {ZERO: Part(Range(10, 20), 10, 10), ONE: Part(Range(5, 5), 5, 5)}
    assert parts_of(spans, {ZERO: 3, ONE: 9}) == {ZERO: Part(Range(10, 20), 3, 10), ONE: Part(Range(5, 5), 5, 5)}


@pytest.mark.parametrize(("stateful", "read_from"), [(False, 15), (True, 3)])
def test_a_job_is_recalled_from_what_was_noted_with_its_place(stateful: bool, read_from: int) -> None:
    part = Part(Range(10, 20), 3, 10)
    places = {ZERO: Place(15, noted(part, ASKED))}
    known = recalled("j", places, ASKED)
    assert known == {ZERO: part}
    assert resumed(known, places, stateful=stateful) == {ZERO: Part(Range(10, 20), read_from, 15)}
    assert recalled("j", {}, ASKED) == {}


def test_a_job_is_not_gone_on_with_for_another_purpose() -> None:
    places = {ZERO: Place(15, noted(Part(Range(10, 20), 3, 10), ASKED))}
    with pytest.raises(UsageError, match="job j was begun with --key None, now it is a"):
        recalled("j", places, {**ASKED, "--key": "a"})


def test_the_note_of_a_place_fits_into_what_a_broker_takes() -> None:
    asked: dict[str, object] = {"--from": "2026-01-01T00:00:00.000+00:00", "--key": "k" * 500, "--to-topic": "t" * 249}
    assert len(noted(Part(Range(2**62, 2**62), 2**62, 2**62), asked)) < 4096


def test_a_job_has_a_group_of_its_own() -> None:
    assert group_of("shop.ship", "monday-2") == "shop.ship.replay.monday-2"
    with pytest.raises(UsageError, match="cannot name a job"):
        group_of("shop.ship", "a b")


@pytest.mark.parametrize(
    ("key", "model_key", "expected"),
    [
        ("k 1", "key", b"k 1"),
        ("-7", "n", (-7).to_bytes(8, "big", signed=True)),
        ("0x00ff", None, b"\x00\xff"),
        ("x", None, b"x"),
    ],
)
def test_a_key_is_written_by_its_type(key: str, model_key: str | None, expected: bytes) -> None:
    assert raw_key(keyed_by(model_key), key) == expected


@pytest.mark.parametrize(("key", "model_key"), [("seven", "n"), (str(2**63), "n"), ("0xf", None)])
def test_a_key_of_another_type_is_refused(key: str, model_key: str | None) -> None:
    with pytest.raises(UsageError, match="is no key of in"):
        raw_key(keyed_by(model_key), key)


def keyed_by(field: str | None) -> Any:
    one = App("keyed")
    topic = one.topic("in", Item, key=field)

    @one.processor(topic)
    def read(_item: Item, _ctx: Context) -> None:
        """Nothing."""

    return one.processors["read"]


class Outlet:
    """Keeps what is committed; `bad` numbers are refused when they are to be committed."""

    def __init__(self, bad: set[int], *, broken: bool = False) -> None:
        self.committed: list[Appended] = []
        self.places: list[dict[TopicPartition, int]] = []
        self._bad, self._broken = bad, broken
        self._open: list[Appended] = []
        self._codec = Codec(Appended, 2)

    def send(self, outputs: Sequence[RawRecord]) -> None:
        self._open += self._codec.decode([record.value or b"" for record in outputs])

    def commit(self, done: Mapping[TopicPartition, int]) -> None:
        if self._broken:
            raise AbortedError("out of time")
        if any(value.n in self._bad for value in self._open):
            raise AbortedError("too large", SendError("too large"))
        self.committed += self._open
        self._open = []
        self.places.append(dict(done))

    def abort(self) -> None:
        self._open = []


class Registry:
    """Knows one schema."""

    asked = 0

    def schema(self, schema_id: int) -> str:
        self.asked += 1
        if schema_id != 1:
            raise UnknownIdError("no such schema")
        return schema_of(Item).text


@pytest.fixture
def handling(tmp_path: Path) -> Iterator[Handling]:
    codecs: dict[str, Codec[Any]] = {
        "in": Codec(Item),
        "out": Codec(Appended, 2),
        PROCESSOR.changelog(lists): Codec(Items, 3),
    }
    made = Handling(PROCESSOR, codecs, Registry(), tmp_path, [ZERO, ONE])
    yield made
    made.close()


def records(numbers: Sequence[int], partition: int = 0, schema_id: int = 1) -> list[RawRecord]:
    frames = Codec(Item, schema_id).encode([Item(key=f"k{partition}", n=n) for n in numbers])
    return [Record("in", b"k", frame, 0, partition, offset) for offset, frame in enumerate(frames)]


def rerun(handling: Handling, outlet: Outlet, parts: Parts, given: Sequence[RawRecord]) -> tuple[Rerun, list[Refusal]]:
    failed: list[Refusal] = []
    run = Rerun(handling, outlet, parts, failed.append)
    run.handle(given)
    run.finish()
    return run, failed


def test_only_what_lies_in_the_span_counts_but_all_of_it_makes_the_state(handling: Handling) -> None:
    outlet = Outlet(set())
    given = [*records([0, -1, 2, 3, -4, 5]), *records([0, 1], partition=1)]
    run, failed = rerun(handling, outlet, {ZERO: Part(Range(3, 6), 0, 3), ONE: Part(Range(0, 2), 0, 0)}, given)
    assert [(value.n, value.size) for value in outlet.committed] == [(3, 3), (5, 4), (0, 1), (1, 2)]
    assert [record.offset for record, _ in failed] == [4]
    assert run.counts == (5, 4, 1)
    assert outlet.places[-1] == {ZERO: 6, ONE: 2}
    assert all(place.get(ZERO, 3) > 3 for place in outlet.places), "places before the span are never committed"


def test_the_record_that_is_to_blame_is_found_and_leaves_no_state(handling: Handling) -> None:
    outlet = Outlet({3, 7})
    run, failed = rerun(handling, outlet, parts_of({ZERO: Range(0, 10)}, {}), records(range(10)))
    assert [(value.n, value.size) for value in outlet.committed] == [
        (n, size) for size, n in enumerate([0, 1, 2, 4, 5, 6, 8, 9], 1)
    ]
    assert [(record.offset, str(error)) for record, error in failed] == [(3, "too large"), (7, "too large")]
    assert run.counts == (10, 8, 2)


def test_a_transaction_that_fails_by_itself_ends_the_replay(handling: Handling) -> None:
    with pytest.raises(StreamsError, match="rolled back: out of time"):
        rerun(handling, Outlet(set(), broken=True), parts_of({ZERO: Range(0, 2)}, {}), records(range(2)))


def test_a_schema_is_fetched_once_and_an_unknown_one_is_a_failure(handling: Handling) -> None:
    outlet = Outlet(set())
    given = [*records([1, 2]), *records([3], partition=1, schema_id=9)]
    _, failed = rerun(handling, outlet, parts_of({ZERO: Range(0, 2), ONE: Range(0, 1)}, {}), given)
    assert [value.n for value in outlet.committed] == [1, 2]
    assert [str(error) for _, error in failed] == ["schema-unknown: no such schema"]
    registry: Any = handling._schemas
    assert registry.asked == 2


def test_tables_hold_what_their_topics_hold_now(tmp_path: Path) -> None:
    followed = App("followed")
    requests, out = followed.topic("in", Item, key="key"), followed.topic("out", Appended, key="key")
    rows = followed.table("rows", Appended, key="key")

    @followed.processor(requests, to=out)
    def look(item: Item, ctx: Context) -> Appended | None:
        return ctx.get(rows, item.key)

    codecs: dict[str, Codec[Any]] = {"in": Codec(Item, 1), "out": Codec(Appended, 2), "rows": Codec(Appended, 2)}
    number = partition_of(b"k", requests.partitions)
    here = TopicPartition("in", number)
    handling = Handling(followed.processors["look"], codecs, Registry(), tmp_path, [here, TopicPartition("in", 9)])
    assert TopicPartition("rows", number) in handling.tables()
    frames = codecs["rows"].encode([Appended(key="k", n=n, size=0) for n in (1, 2)])
    handling.load([[Record("rows", b"k", frame, 0, number, at) for at, frame in enumerate(frames)]])
    (frame,) = codecs["in"].encode([Item(key="k", n=1)])
    _, (output,) = handling.step([Record("in", b"k", frame, 0, number, 0)], lambda: False)
    assert codecs["out"].decode([output.value or b""])[0].n == 2
    handling.close()


async def awaited(item: Item, ctx: Context) -> Appended:
    """Do the same in a coroutine."""
    await asyncio.sleep(0)
    return append(item, ctx)


async def yielded(item: Item, ctx: Context) -> AsyncIterator[Appended]:
    """Do the same twice."""
    yield append(item, ctx)
    await asyncio.sleep(0)
    yield append(item, ctx)


@pytest.mark.parametrize(("handler", "sizes"), [(append, [1, 2]), (awaited, [1, 2]), (yielded, [1, 2, 3, 4])])
def test_handlers_of_every_kind_run_one_after_the_other(handler: Any, sizes: list[int]) -> None:
    state: dict[str, Items] = {}
    ctx: Any = SimpleNamespace(get=lambda _, key: state.get(key), put=lambda _, key, value: state.update({key: value}))
    with asyncio.Runner() as loop:
        call = in_this_thread(handler, loop)
        given = [call(Item(key="k", n=n), ctx) for n in (5, 6)]
        with pytest.raises(ValueError, match="-1 is negative"):
            call(Item(key="k", n=-1), ctx)
    assert [one.size for each in given for one in (each if isinstance(each, list) else [each])] == sizes


def test_notes_are_json() -> None:
    assert json.loads(noted(Part(Range(1, 2), 0, 1), ASKED)) == {"start": 1, "end": 2, "read_from": 0, "asked": ASKED}


def test_replies_are_not_sent_again(tmp_path: Path) -> None:
    asked = App("asked")
    requests = asked.topic("in", Item, key="key")
    out = asked.topic("out", Items)

    @asked.processor(requests, to=out, reply=Appended)
    def answer(item: Item, _ctx: Context) -> Iterator[Items | Appended]:
        yield Items(items=(item.n,))
        yield Appended(key=item.key, n=item.n, size=1)

    processor = asked.processors["answer"]
    codecs: dict[str, Codec[Any]] = {
        "in": Codec(Item, 1),
        "out": Codec(Items, 2),
        "asked.answer.reply": Codec(Appended, 3),
    }
    handling = Handling(processor, codecs, Registry(), tmp_path, [ZERO])
    headers = request_headers(Address(reply_topic("in", INSTANCE), b"1"))
    (frame,) = codecs["in"].encode([Item(key="a", n=1)])
    consumed, outputs = handling.step([Record("in", b"a", frame, 0, 0, 0, headers)], lambda: False)
    assert (consumed, [one.topic for one in outputs]) == (1, ["out"])
    handling.close()
