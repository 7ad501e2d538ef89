"""The inbox, step by step: what is a copy, what is remembered, and what is removed when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from inspect import isasyncgen, isasyncgenfunction, iscoroutinefunction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rig import Appended, Item

from streams import App, Context, Inbox
from streams.avro.codec import Codec
from streams.errors import UsageError
from streams.idempotency.event_ids import EVENT_ID, headers_of, made_of
from streams.idempotency.inbox import LEAST_LOOKED_AT, EventId
from streams.idempotency.inbox_row import InboxRow
from streams.record import Headers, RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.task_state import TaskState
from streams.task import Step, Task
from streams.topology import Processor

HOUR = 3_600_000
START = 1_700_000_000_000
ITEMS = Codec(Item, 1)


def declared(inbox: Inbox, handler: Callable[[Any, Context], Any] | None = None) -> Processor:
    app = App("t")
    inputs = app.topic("in", Item, key="key", event_ids=True)
    out = app.topic("out", Appended, key="key", event_ids=True)

    def handle(item: Item, _ctx: Context) -> Appended:
        if item.n < 0:
            raise ValueError(item.n)
        return Appended(key=item.key, n=item.n, size=1)

    app.processor(inputs, to=out, inbox=inbox)(handler or handle)
    return next(iter(app.processors.values()))


class Bench:
    """A task with an inbox on a disk, and the records that come to it."""

    def __init__(self, folder: Path, inbox: Inbox, handler: Callable[[Any, Context], Any] | None = None) -> None:
        self.folder = folder
        self.inbox = inbox
        self.processor = declared(inbox, handler)
        self.offset = 0
        self.open()

    def open(self) -> None:
        """Begin anew with what is committed."""
        changelog = self.processor.changelog(self.inbox.store)
        codecs: Mapping[str, Codec[Any]] = {"in": ITEMS, "out": Codec(Appended, 2), changelog: Codec(InboxRow, 3)}
        self.backend = Backend(self.folder, [changelog])
        source = {self.inbox.store: TopicPartition(changelog, 0)}
        self.state = TaskState(self.backend, source, {self.inbox.store: codecs[changelog]})
        self.task = Task(self.processor, codecs, self.state)

    def record(
        self, event_id: str | None, at: int = 0, *, n: int = 1, key: str = "a", headers: Headers = ()
    ) -> RawRecord:
        self.offset += 1
        headers = headers if event_id is None else ((EVENT_ID, event_id.encode()), *headers)
        return Record("in", b"a", ITEMS.encode([Item(key=key, n=n)])[0], START + at, 0, self.offset, headers)

    def step(self, *records: RawRecord, now: int | None = None) -> Step:
        return self.task.step(
            list(records), lambda: False, max(r.timestamp_ms for r in records) if now is None else now
        )

    def commit(self) -> None:
        self.state.committed(self.state.changes(), {})

    def rows(self) -> dict[bytes, InboxRow]:
        return dict(self.state.items(self.inbox.store))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def bench(inbox: Inbox | None = None, handler: Callable[[Any, Context], Any] | None = None) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), inbox or Inbox(), handler))
        return made[-1]

    yield bench
    for one in made:
        one.state.close()


def test_a_copy_is_passed_over_within_a_batch_and_after_a_commit(opened: Callable[..., Bench]) -> None:
    bench = opened()
    first = bench.step(bench.record("x"), bench.record("y"), bench.record("x"))
    bench.commit()
    second = bench.step(bench.record("y"), bench.record("z"))

    assert (first.consumed, len(first.outputs)) == (3, 2)
    assert +first.counts == {"processed": 2, "duplicates": 1}
    assert (second.consumed, len(second.outputs)) == (2, 1)
    assert +second.counts == {"processed": 1, "duplicates": 1}


def test_what_has_no_id_is_handled_and_counted(opened: Callable[..., Bench]) -> None:
    bench = opened()
    step = bench.step(bench.record(None), bench.record(None), bench.record("x"))

    assert len(step.outputs) == 3
    assert +step.counts == {"processed": 3, "without_id": 2}
    assert len(bench.state.changes()[0].rows) == 1


def test_a_record_that_fails_leaves_no_id(opened: Callable[..., Bench]) -> None:
    bench = opened()
    failed = bench.step(bench.record("x", n=-1), bench.record("x", n=-2), bench.record("x", n=3), bench.record("x"))

    assert +failed.counts == {"process": 2, "processed": 1, "duplicates": 1}
    bench.commit()
    assert {key: row.offset for key, row in bench.rows().items()} == {b"x": 3}


def test_a_generator_that_fails_at_its_end_leaves_no_id(opened: Callable[..., Bench]) -> None:
    def generate(item: Item, _ctx: Context) -> Iterator[Appended]:
        yield Appended(key=item.key, n=item.n, size=1)
        raise ValueError(item.n)

    bench = opened(handler=generate)
    assert +bench.step(bench.record("x")).counts == {"process": 1}
    assert bench.state.changes() == []


def test_handlers_of_every_kind_have_an_inbox() -> None:
    async def waits(_item: Item, _ctx: Context) -> str:
        return "handled"

    async def yields(_item: Item, _ctx: Context) -> AsyncIterator[str]:
        yield "handled"

    def returns(_item: Item, _ctx: Context) -> str:
        return "handled"

    async def collected(given: Any) -> list[Any]:
        return [value async for value in given] if isasyncgen(given) else [await given]

    class Seen(Context):
        def __init__(self) -> None:
            self.record, self.now_ms = Record("in", None, b"", START, 0, 0, ((EVENT_ID, b"x"),)), START
            self.rows: dict[Any, Any] = {}

        def get(self, _source: Any, key: Any) -> Any:
            return self.rows.get(key)

        def put(self, _store: Any, key: Any, value: Any) -> None:
            self.rows[key] = value

    for handler in (waits, yields, returns):
        around, ctx = Inbox().around(handler), Seen()
        assert iscoroutinefunction(around) == iscoroutinefunction(handler)
        assert isasyncgenfunction(around) == isasyncgenfunction(handler)
        results = [around(None, ctx) for _ in range(2)]
        found = [one if handler is returns else asyncio.run(collected(one)) for one in results]
        assert [one for one in found if one and one != [None]] == ["handled" if handler is returns else ["handled"]]
        assert ctx.outcome == "duplicates"


def test_an_output_that_does_not_encode_leaves_no_id(opened: Callable[..., Bench]) -> None:
    def broken(item: Item, _ctx: Context) -> Appended:
        return Appended.model_construct(key=item.key, n="no number" if item.n < 0 else item.n, size=0)

    bench = opened(handler=broken)
    step = bench.step(bench.record("x", n=-1), bench.record("x", n=1))
    assert +step.counts == {"encode": 1, "processed": 1}


def test_what_was_not_committed_is_forgotten(opened: Callable[..., Bench]) -> None:
    bench = opened()
    bench.step(bench.record("x"))
    bench.task.discard()
    assert +bench.step(bench.record("x")).counts == {"processed": 1}


@pytest.mark.parametrize(
    ("by", "ids"),
    [
        ("key", [b"a", b"b"]),
        ("n", [b"1", b"2"]),
        (lambda item, _record: item.key.encode(), [b"a", b"b"]),
        (lambda item, _record: UUID(int=item.n), [str(UUID(int=n)).encode() for n in (1, 2)]),
        (lambda _item, record: record.offset, [b"1", b"2"]),
    ],
)
def test_the_id_is_what_it_is_said_to_be(
    opened: Callable[..., Bench], by: str | Callable[[Any, RawRecord], EventId], ids: list[bytes]
) -> None:
    bench = opened(Inbox(by=by))
    bench.step(bench.record(None, key="a", n=1), bench.record(None, key="b", n=2))
    bench.commit()
    assert sorted(bench.rows()) == ids


def test_something_that_is_no_id_refuses_its_record(opened: Callable[..., Bench]) -> None:
    bench = opened(Inbox(by=lambda item, _record: item))
    step = bench.step(bench.record(None))
    assert +step.counts == {"process": 1}
    assert b"is no id" in dict(step.outputs[0].headers)["__connect.errors.exception.message"]


@pytest.mark.parametrize(("later", "copies"), [(HOUR - 1, 1), (HOUR, 0), (-HOUR, 1)])
def test_an_id_is_remembered_for_the_retention(opened: Callable[..., Bench], later: int, copies: int) -> None:
    bench = opened(Inbox("1h"))
    bench.step(bench.record("x", 0), bench.record("y", 0))
    bench.commit()
    step = bench.step(bench.record("x", later), now=START + 100 * HOUR)
    assert step.counts["duplicates"] == copies


def test_an_id_counts_from_when_it_was_handled_not_from_its_last_copy(opened: Callable[..., Bench]) -> None:
    bench = opened(Inbox("1h"))
    step = bench.step(*(bench.record("x", at) for at in (0, HOUR // 2, HOUR, HOUR + HOUR // 2)))
    assert +step.counts == {"processed": 2, "duplicates": 2}


def test_old_rows_go_and_younger_ones_stay(opened: Callable[..., Bench]) -> None:
    bench = opened(Inbox("1h"))
    bench.step(*(bench.record(f"old {n}", 0) for n in range(20)))
    bench.step(*(bench.record(f"young {n}", HOUR // 2) for n in range(20)))
    bench.commit()
    bench.step(bench.record("now", HOUR))
    bench.commit()
    assert sorted(bench.rows()) == sorted([b"now", *(b"young %d" % n for n in range(20))])


def test_a_sweep_looks_at_so_many_rows_and_goes_on_where_it_ended(opened: Callable[..., Bench]) -> None:
    bench, rows = opened(Inbox("1h")), 1_000
    for start in range(0, rows, 100):
        bench.step(*(bench.record(f"{start + n:04}", 0) for n in range(100)))
    bench.commit()
    sizes = []
    for n in range(12):
        bench.step(bench.record(f"new {n}", HOUR))
        assert len(bench.state.changes()[0].rows) <= 1 + LEAST_LOOKED_AT
        bench.commit()
        sizes.append(sum(not key.startswith(b"new") for key in bench.rows()))
    assert sizes == [max(0, rows - (n + 1) * LEAST_LOOKED_AT) for n in range(12)]


def test_rows_do_not_pile_up(opened: Callable[..., Bench]) -> None:
    """An hour holds 6,000 ids; with two rows looked at for each record half more is there at the most."""
    bench, most = opened(Inbox("1h")), 0
    for batch in range(60):
        bench.step(*(bench.record(f"{hash((batch, n))}", batch * HOUR // 12) for n in range(500)))
        bench.commit()
        most = max(most, len(bench.rows()))
    assert 6_000 < most <= 6_000 * 3 / 2


def test_a_row_that_is_written_again_in_the_same_batch_is_not_removed(opened: Callable[..., Bench]) -> None:
    bench = opened(Inbox("1h"))
    bench.step(bench.record("x", 0), bench.record("y", 0))
    bench.commit()
    bench.step(bench.record("x", HOUR))  # the sweep behind it finds the old row of x on the disk
    bench.commit()
    assert {key: row.timestamp_ms for key, row in bench.rows().items()} == {b"x": START + HOUR}
    assert bench.step(bench.record("x", HOUR + 1)).counts["duplicates"] == 1


@pytest.mark.parametrize(
    ("stream", "clock"),
    [
        (0, 1_000 * HOUR),  # a worker whose clock jumped, or that catches up with what is old
        (1_000 * HOUR, 0),  # a record whose time is wrong
    ],
)
def test_one_clock_alone_removes_nothing(opened: Callable[..., Bench], stream: int, clock: int) -> None:
    bench = opened(Inbox("1h"))
    bench.step(bench.record("x", 0), now=START)
    bench.commit()
    bench.step(bench.record("y", stream), now=START + clock)
    bench.commit()
    assert bench.step(bench.record("x", 1), now=START + clock + 1).counts["duplicates"] == 1


def test_a_late_record_is_remembered_although_its_time_has_passed(opened: Callable[..., Bench]) -> None:
    """As one that was parked, or comes back as a dead letter, days later."""
    bench = opened(Inbox("1h"))
    now = START + 50 * HOUR
    bench.step(bench.record("y", 50 * HOUR), now=now)
    bench.commit()
    bench.step(bench.record("late", 0), now=now)
    bench.commit()
    bench.step(bench.record("z", 50 * HOUR + 1), now=now + 1)
    bench.commit()
    assert bench.step(bench.record("late", 0), now=now + 2).counts["duplicates"] == 1


def test_a_new_task_goes_on_with_the_rows(opened: Callable[..., Bench]) -> None:
    bench = opened(Inbox("1h"))
    bench.step(bench.record("x", 0), bench.record("y", 0))
    bench.commit()
    bench.state.close()
    bench.open()
    assert bench.step(bench.record("x", 1)).counts["duplicates"] == 1
    bench.step(bench.record("z", HOUR))
    bench.commit()
    assert sorted(bench.rows()) == [b"z"]


# --- ids of what is produced


def test_outputs_carry_where_their_source_was_read_first_and_a_number(opened: Callable[..., Bench]) -> None:
    def several(item: Item, _ctx: Context) -> list[Appended]:
        return [Appended(key=item.key, n=item.n, size=n) for n in range(item.n)]

    bench = opened(handler=several)
    again = ("streams.origin", b"in/0/77")
    step = bench.step(bench.record(None, n=2), bench.record(None, n=0), bench.record(None, n=1, headers=(again,)))

    assert [dict(output.headers)[EVENT_ID] for output in step.outputs] == [
        b"t.several/in/0/1/0",
        b"t.several/in/0/1/1",
        b"t.several/in/0/77/0",
    ]


@pytest.mark.parametrize(
    ("event_ids", "by_guarantee", "wanted"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_a_topic_says_whether_it_gets_ids_or_the_guarantee_does(
    event_ids: bool | None, by_guarantee: bool, wanted: bool
) -> None:
    app = App("t")
    inputs, out = app.topic("in", Item), app.topic("out", Item, event_ids=event_ids)
    other = app.topic("other", Appended, event_ids=True)

    @app.processor(inputs, to=[out, other])
    def both(item: Item, _ctx: Context) -> list[Any]:
        return [Appended(key="a", n=1, size=1), item, Appended(key="a", n=2, size=2)]

    codecs = {"in": ITEMS, "out": ITEMS, "other": Codec(Appended, 2)}
    task = Task(app.processors["both"], codecs, TaskState(), event_ids=by_guarantee)
    record = Record("in", None, ITEMS.encode([Item(key="a", n=1)])[0], START, 0, 5)
    outputs = task.step([record], lambda: False, START).outputs

    assert made_of("t.both", record) == "t.both/in/0/5"
    found = {output.topic: [] for output in outputs}
    for output in outputs:
        found[output.topic] += [value for _, value in output.headers]
    assert found == {"out": [b"t.both/in/0/5/1"] if wanted else [], "other": [b"t.both/in/0/5/0", b"t.both/in/0/5/2"]}


def test_what_comes_from_outside_gets_the_ids_it_is_given_or_new_ones_or_none() -> None:
    new = [UUID(int=1), UUID(int=2)]
    assert list(headers_of(2, ["a", "b"], None)) == [((EVENT_ID, b"a"),), ((EVENT_ID, b"b"),)]
    assert [value for ((_, value),) in headers_of(2, None, iter(new).__next__)] == [str(one).encode() for one in new]
    assert list(zip("ab", headers_of(2, None, None), strict=False)) == [("a", ()), ("b", ())]
    with pytest.raises(UsageError, match="1 ids for 2 events"):
        headers_of(2, ["a"], UUID)


# --- declarations


def test_declarations_that_make_no_sense_are_refused() -> None:
    app = App("t")
    bare = app.topic("bare", Item, key="key")

    def handle(item: Item, _ctx: Context) -> None:
        """Do nothing."""

    for given, said in {
        Inbox(): "is not declared to have them",
        Inbox(by="nothing"): "has no field 'nothing'",
    }.items():
        with pytest.raises(UsageError, match=said):
            app.processor(bare, inbox=given)(handle)
    for wrong, said in [
        (lambda: Inbox("a while"), "not a duration"),
        (lambda: Inbox(timedelta(0)), "not a positive duration"),
        (lambda: Inbox(by=5), r"Inbox\(by=5\)"),  # type: ignore[arg-type] # wrong on purpose
    ]:
        with pytest.raises(UsageError, match=said):
            wrong()


def test_the_changelog_is_deployed_and_reset_with_the_stores() -> None:
    processor = declared(Inbox())
    assert processor.changelogs()[processor.kept[0]] == "t.handle.inbox.changelog"
    assert {spec.name: spec.config for spec in processor.topics()}["t.handle.inbox.changelog"] == {
        "cleanup.policy": "compact"
    }
    assert processor.handler.__qualname__.endswith("handle")
