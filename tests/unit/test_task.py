"""decode → process → encode: one record's fault is nobody else's, and limits end a step between records."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import ALL_KINDS, BAD_OUTPUT, CHANGELOG, CODECS, DEAD_LETTERS, PROCESSOR, RAISES, Appended, Item, Items, lists

from streams import SKIP, STOP, App, Context, Failure, Retry, UsageError
from streams import task as module
from streams.avro.codec import Codec
from streams.errors import DecodeError, RetryLaterError, SendError, StoppedError
from streams.record import RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.task_state import TaskState
from streams.task import Task
from streams.topology import Processor


def never() -> bool:
    return False


def frames(values: list[Item | bytes | None]) -> list[RawRecord]:
    """Make input records, in the order of their offsets from 100 on."""
    return [
        Record(
            "in",
            b"k%d" % index,
            CODECS["in"].encode([value])[0] if isinstance(value, Item) else value,
            1_000 + index,
            0,
            100 + index,
        )
        for index, value in enumerate(values)
    ]


def stateless(handler: Callable[..., Any], **options: Any) -> Task:
    declared = App("t")
    source = declared.topic("in", Item, key="key")
    output = declared.topic("out", Appended, key="key")
    declared.processor(source, to=output, **options)(handler)
    return Task(declared.processors[handler.__name__], CODECS, TaskState())


@pytest.fixture
def stateful(tmp_path: Path) -> Iterator[Task]:
    task = with_state(PROCESSOR, tmp_path)
    yield task
    task.state.close()


def with_state(processor: Processor, path: Path) -> Task:
    backend = Backend(path / "state", processor.state().values(), boot_id="one")
    sources = {declared: TopicPartition(topic, 0) for declared, topic in processor.state().items()}
    return Task(
        processor, CODECS, TaskState(backend, sources, {declared: CODECS[tp.topic] for declared, tp in sources.items()})
    )


def outputs(records: list[RawRecord]) -> list[Any]:
    return [CODECS["out"].decode([record.value])[0].n for record in records if record.topic == "out"]


def echo(item: Item, ctx: Context) -> Appended:
    return Appended(key=item.key, n=item.n, size=ctx.record.offset)


def test_one_record_in_one_out() -> None:
    step = stateless(echo).step(frames([Item(key="a", n=1), Item(key="b", n=2)]), never, 0)
    assert step.consumed == 2
    assert step.counts == {"processed": 2}
    assert step.hold is None
    assert [(r.topic, r.key, r.timestamp_ms, r.partition, r.offset) for r in step.outputs] == [
        ("out", b"a", 1_000, -1, -1),
        ("out", b"b", 1_001, -1, -1),
    ]
    assert [CODECS["out"].decode([r.value])[0].size for r in step.outputs] == [100, 101]


def test_yield_return_and_nothing_are_all_outputs() -> None:
    def several(item: Item, ctx: Context) -> Any:
        del ctx
        made = [Appended(key=item.key, n=n, size=0) for n in range(item.n)]
        return {0: None, 1: made[0] if made else None, 2: made, 3: iter(made), 4: tuple(made)}[item.n]

    step = stateless(several).step(frames([Item(key="a", n=n) for n in range(5)]), never, 0)
    assert outputs(step.outputs) == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]


@pytest.mark.parametrize("given", ["text", 5, Item(key="a", n=1), [None], [Appended(key="a", n=1, size=1), 7]])
def test_what_no_output_takes_refuses_the_record(given: object) -> None:
    """INV-4."""

    def wrong(item: Item, ctx: Context) -> Any:
        del item, ctx
        return given

    step = stateless(wrong).step(frames([Item(key="a", n=1)]), never, 0)
    assert step.counts == {"process": 1}
    assert [record.topic for record in step.outputs] == ["t.wrong.dlq"]


def test_every_kind_of_failure_leaves_one_dead_letter_and_no_state(stateful: Task) -> None:
    """INV-4, INV-5: the others are as if it had never come."""
    batch = frames(
        [Item(key="a", n=1), b"junk", Item(key="a", n=RAISES), Item(key="a", n=BAD_OUTPUT), None, Item(key="a", n=2)]
    )
    step = stateful.step(batch, never, 0)
    assert step.consumed == 6
    assert step.counts == {"processed": 2, "decode": 1, "process": 1, "encode": 1, "tombstones": 1}
    assert outputs(step.outputs) == [1, 2]
    letters = [record for record in step.outputs if record.topic == DEAD_LETTERS]
    assert [letter.value for letter in letters] == [batch[1].value, batch[2].value, batch[3].value]
    assert [dict(letter.headers)["__connect.errors.stage"] for letter in letters] == [b"decode", b"process", b"encode"]
    assert stateful.state.get(lists, "a") == Items(items=(1, 2))


@given(kinds=st.lists(st.sampled_from(ALL_KINDS), max_size=30), most=st.integers(1, 8), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_limits_and_failures_never_change_what_comes_out(
    kinds: list[str], most: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """INV-4, INV-5: steps that end anywhere and restart there give the same as one step."""
    bad = {"raises": RAISES, "bad-output": BAD_OUTPUT}
    values: list[Item | bytes | None] = [
        b"junk" if kind == "junk" else None if kind == "tombstone" else Item(key="a", n=bad.get(kind, 0) + index)
        for index, kind in enumerate(kinds)
    ]
    task = with_state(PROCESSOR, tmp_path_factory.mktemp("state"))
    batch, records, counts = frames(values), [], Counter[str]()
    while batch:
        step = task.step(batch[:most], lambda: data.draw(st.booleans()), 0)
        assert step.consumed > 0
        records += step.outputs
        counts += step.counts
        batch = batch[step.consumed :]
    good = [index for index, kind in enumerate(kinds) if kind not in {*bad, "junk", "tombstone"}]
    assert outputs(records) == good
    assert task.state.get(lists, "a") == (Items(items=tuple(good)) if good else None)
    letters = [record.key for record in records if record.topic == DEAD_LETTERS]
    refused = [b"k%d" % index for index, kind in enumerate(kinds) if kind in {*bad, "junk"}]
    assert sorted(letters) == sorted(refused)
    assert sum(counts.values()) == len(kinds)
    task.state.close()


def test_no_handler_runs_twice_because_of_somebody_elses_bad_bytes() -> None:
    seen: list[int] = []

    def note(item: Item, ctx: Context) -> None:
        del ctx
        seen.append(item.n)

    values: list[Item | bytes | None] = [Item(key="a", n=n) for n in range(200)]
    values[0] = values[69] = values[70] = values[-1] = b"\x00\x00"
    step = stateless(note).step(frames(values), never, 0)
    assert seen == [n for n, value in enumerate(values) if isinstance(value, Item)]
    assert step.counts == {"processed": 196, "decode": 4}


def test_nothing_of_a_batch_with_failures_is_left_to_the_garbage_collector() -> None:
    def fail(item: Item, ctx: Context) -> None:
        del ctx
        if item.n % 2:
            raise ValueError(item.n)

    values: list[Item | bytes | None] = [Item(key="a", n=n) for n in range(200)]
    values[70] = values[130] = b"\x00\x00"
    task, batch = stateless(fail), frames(values)
    gc.collect()
    gc.disable()
    try:
        step = task.step(batch, never, 0)
        failed = step.counts.total() - step.counts["processed"]
        task.failures.take_told()
        del step
        garbage = gc.collect()
    finally:
        gc.enable()
    print(f"compared what {failed} failures left: {garbage} objects")
    assert failed == 102
    assert garbage < failed / 2


def test_after_an_output_that_does_not_encode_only_what_follows_runs_again(stateful: Task) -> None:
    ran: list[int] = []
    handler = PROCESSOR.handler

    def counted(item: Item, ctx: Context) -> Any:
        ran.append(item.n)
        return handler(item, ctx)

    stateful._handler = counted
    stateful.step(frames([Item(key="a", n=1), Item(key="a", n=BAD_OUTPUT), Item(key="a", n=3)]), never, 0)
    assert ran == [1, BAD_OUTPUT, 3, 3]


def test_a_key_that_cannot_be_encoded_refuses_its_record_alone() -> None:
    def bad_key(item: Item, ctx: Context) -> Appended:
        del ctx
        return Appended.model_construct(key=5 if item.n == 2 else "k", n=item.n, size=0)

    step = stateless(bad_key).step(frames([Item(key="a", n=n) for n in (1, 2, 3)]), never, 0)
    assert outputs(step.outputs) == [1, 3]
    assert step.counts == {"processed": 2, "encode": 1}


def test_a_step_ends_between_records_when_the_time_is_up() -> None:
    step = stateless(echo).step(frames([Item(key="a", n=n) for n in range(9)]), lambda: True, 0)
    assert step.consumed == 1
    assert outputs(step.outputs) == [0]


def test_a_step_ends_between_records_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEP_OUTPUTS", 5)

    def three(item: Item, ctx: Context) -> list[Appended]:
        del ctx
        return [Appended(key=item.key, n=item.n, size=0)] * 3

    step = stateless(three).step(frames([Item(key="a", n=n) for n in range(9)]), never, 0)
    assert step.consumed == 2
    assert outputs(step.outputs) == [0, 0, 0, 1, 1, 1]


def test_a_record_with_too_many_outputs_is_refused_without_running_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORD_OUTPUTS", 5)

    def endless(item: Item, ctx: Context) -> Iterator[Appended]:
        del ctx
        while True:
            yield Appended(key=item.key, n=item.n, size=0)

    step = stateless(endless).step(frames([Item(key="a", n=1)]), never, 0)
    assert step.counts == {"process": 1}
    assert outputs(step.outputs) == []


def test_a_record_with_too_large_outputs_is_refused_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORD_BYTES", 200)

    def long_key(item: Item, ctx: Context) -> Appended:
        del ctx
        return Appended(key="k" * (300 if item.n == 1 else 80), n=item.n, size=0)

    step = stateless(long_key).step(frames([Item(key="a", n=n) for n in range(5)]), never, 0)
    assert outputs(step.outputs) == [0, 2, 3, 4]
    assert step.counts == {"processed": 4, "encode": 1}


def test_skip_leaves_nothing_and_goes_on() -> None:
    """INV-5."""
    step = stateless(echo, on_failure=SKIP).step(frames([b"junk", Item(key="a", n=1)]), never, 0)
    assert step.consumed == 2
    assert [record.topic for record in step.outputs] == ["out"]


def test_stop_ends_the_worker() -> None:
    with pytest.raises(StoppedError, match="offset 101"):
        stateless(echo, on_failure=STOP).step(frames([Item(key="a", n=1), b"junk"]), never, 0)


def test_a_handler_may_ask_for_tombstones() -> None:
    def deleted(item: Item | None, ctx: Context) -> Appended | None:
        return Appended(key="gone", n=ctx.record.offset, size=0) if item is None else None

    step = stateless(deleted).step(frames([Item(key="a", n=1), None]), never, 0)
    assert outputs(step.outputs) == [101]
    assert step.counts == {"processed": 2}


@pytest.mark.parametrize("failure", [SystemExit(0), RecursionError(), StopIteration(), AssertionError()])
def test_whatever_a_handler_raises_its_record_pays(failure: BaseException) -> None:
    def fails(item: Item, ctx: Context) -> None:
        del item, ctx
        raise failure

    step = stateless(fails).step(frames([Item(key="a", n=1)]), never, 0)
    assert step.counts == {"process": 1}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), MemoryError()])
def test_what_concerns_the_process_is_no_record_s_fault(failure: BaseException) -> None:
    def fails(item: Item, ctx: Context) -> None:
        del item, ctx
        raise failure

    with pytest.raises(type(failure)):
        stateless(fails).step(frames([Item(key="a", n=1)]), never, 0)


def test_misuse_of_the_state_ends_the_worker() -> None:
    def misuse(item: Item, ctx: Context) -> None:
        ctx.get(App("x").store("y", str, Items), item.key)

    with pytest.raises(UsageError, match="does not declare"):
        stateless(misuse).step(frames([Item(key="a", n=1)]), never, 0)


def test_an_unknown_schema_consumes_nothing() -> None:
    """INV-1: nothing is marked before the schema is there."""
    task = Task(PROCESSOR, {**CODECS, "in": Codec(Item)}, TaskState())
    step = task.step(frames([Item(key="a", n=1)]), never, 0)
    assert (step.consumed, step.outputs, str(step.hold)) == (0, [], "schema 1")


def test_an_unknown_schema_in_the_state_ends_the_step_before_its_record(tmp_path: Path) -> None:
    """Rows may have been written with another version; what the record did before it met one is taken back."""
    task = with_state(PROCESSOR, tmp_path)
    [row] = CODECS[CHANGELOG].encode([Items(items=(7,))])
    foreign = b"\x00\x00\x00\x00\x63" + row[5:]
    task.state.follow(TopicPartition(CHANGELOG, 0), [Record(CHANGELOG, b"b", foreign, 0, 0, 0)], 1)
    step = task.step(frames([Item(key="a", n=1), Item(key="b", n=2), Item(key="a", n=3)]), never, 0)
    assert (step.consumed, str(step.hold)) == (1, "schema 99")
    assert outputs(step.outputs) == [1]
    assert task.state.get(lists, "a") == Items(items=(1,))
    task.state.close()


def test_refuse_answers_for_the_broker() -> None:
    """INV-9: the dead letter is one more output."""
    [record] = frames([Item(key="a", n=1)])
    [letter] = stateless(echo).refuse(record, SendError("too large"), 0).outputs
    assert letter.topic == "t.echo.dlq"
    assert stateless(echo, on_failure=SKIP).refuse(record, DecodeError("x"), 0).outputs == []


def test_an_empty_batch_is_an_empty_step() -> None:
    assert stateless(echo).step([], never, 0) == (0, [], {}, None)


def in_place(policy: Failure) -> Task:
    declared = App("t")
    source = declared.topic("in", Item, key="key")
    declared.processor(source, on_failure=policy)(choosy)
    return Task(declared.processors["choosy"], CODECS, TaskState(), retries_in_place=True)


def choosy(item: Item, _ctx: Context) -> None:
    if item.n == 1:
        raise KeyError(item.n)


def test_without_a_store_a_record_is_tried_again_in_its_place() -> None:
    task = in_place(Failure(Retry(2, "10s"), by_type={ValueError: SKIP}))
    batch = frames([Item(key="a", n=0), Item(key="b", n=1), Item(key="c", n=0)])
    seen = []
    for _ in range(3):
        step = task.step(batch, never, 50_000)
        batch = batch[step.consumed :]
        seen.append((step.consumed, step.counts))
        if step.hold is not None:
            assert isinstance(step.hold, RetryLaterError)
            assert 55_000 <= step.hold.due_ms <= 60_000
    assert seen == [(1, {"processed": 1}), (0, {}), (2, {"process": 1, "processed": 1})]
    (letter,) = step.outputs
    assert dict(letter.headers)["streams.error.attempts"] == b"3"
    assert [outcome for _, _, outcome in task.failures.take_told()] == ["tried again in its place", "dead-letter"]


def test_attempts_in_place_are_counted_for_each_record_and_from_its_first_failure() -> None:
    first, second = frames([Item(key="a", n=1), Item(key="a", n=1)])
    task = in_place(Failure(Retry(1, "10s")))
    assert [task.step([record], never, 0).consumed for record in (first, first, second, second)] == [0, 1, 0, 1]
    task = in_place(Failure(Retry(5, "10s", within="25s")))
    assert [task.step([first], never, now_ms).consumed for now_ms in (5_000, 15_000, 29_000)] == [0, 0, 1]
