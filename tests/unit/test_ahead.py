"""While a commit is under way records are decoded before their turn, each of them once, and nothing else changes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st
from rig import CODECS, Appended, Item, Rig

from streams import App, Context
from streams.ahead import Ahead, nothing
from streams.avro.codec import Codec
from streams.errors import AbortedError, RetryLaterError
from streams.kafka.beside import Beside
from streams.kafka.producer import AtLeastOnceProducer
from streams.owned import Owned
from streams.record import RawRecord, Record
from streams.state.task_state import TaskState
from streams.stepper import Stepper
from streams.task import Task

app = App("ahead")
source = app.topic("in", Item, key="key")
target = app.topic("out", Appended, key="key")


@app.processor(source, to=target)
def echo(item: Item, ctx: Context) -> Appended:
    if item.n == 3:
        raise RetryLaterError("not now")
    return Appended(key=item.key, n=item.n, size=ctx.record.offset)


def records(count: int, *, bad: int | None = None, start: int = 0) -> list[RawRecord]:
    good = [CODECS["in"].encode([Item(key="k", n=10 + n)])[0] for n in range(count)]
    return [Record("in", b"k", b"bad" if n == bad else good[n], 0, 0, start + n) for n in range(count)]


def after(records: int) -> Callable[[], bool]:
    """Have a step end after so many records, but one."""
    left = iter(range(records))
    return lambda: next(left, None) is None


def fresh() -> Task:
    return Task(app.processors["echo"], CODECS, TaskState())


@contextmanager
def decodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[bytes]]:
    """Count how often each frame is decoded."""
    seen: Counter[bytes] = Counter()
    decode = Codec.decode

    def counted(self: Codec[Item], frames: list[bytes]) -> list[Item]:
        seen.update(frames)
        return decode(self, frames)

    with monkeypatch.context() as patch:
        patch.setattr(Codec, "decode", counted)
        yield seen


@given(
    ahead=st.lists(st.integers(1, 7), max_size=4),
    steps=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=9),
    bad=st.none() | st.integers(0, 19),
)
def test_whatever_is_decoded_ahead_comes_out_as_without_it_and_is_decoded_once(
    ahead: list[int], steps: list[tuple[int, int]], bad: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch, decodes(patch) as seen:
        one, plain = Owned(fresh(), 0), Owned(fresh(), 0)
        one.ready = plain.ready = True
        one.receive(records(20, bad=bad))
        plain.receive(records(20, bad=bad))
        for most in ahead:
            assert one.task.decode_ahead(one.undecoded(most))
        for most, left in [*steps, *[(20, 20)] * 20]:
            batch = one.batch(most)
            step = one.task.step(batch, after(left), 0)
            one.advance(step.consumed)
            expected = plain.task.step(plain.batch(step.consumed), lambda: False, 0)
            plain.advance(expected.consumed)
            assert step == expected
        assert one.done == plain.done == 20
        if bad is None:  # else the strict decoder looks at its batch again
            assert set(seen.values()) == {2}


def test_values_are_those_of_the_very_records_or_none() -> None:
    ahead, first, others = Ahead(), records(4), records(4)
    ahead.add(first, "abcd")
    assert ahead.take(first[:2]) == ["a", "b"]
    assert len(ahead) == 2
    assert ahead.take(others[2:]) == []
    assert len(ahead) == 0
    ahead.add(first, "abcd")
    assert ahead.take([*first[:3], others[3]]) == []
    assert ahead.take([]) == []


def test_what_is_not_read_on_is_forgotten() -> None:
    for forget in (Owned.drop, Owned.rewind, Owned.resume):
        one = Owned(fresh(), 0)
        one.receive(records(4))
        assert one.task.decode_ahead(one.undecoded(3))
        assert len(one.batch(9)) == 3
        assert len(one.undecoded(9)) == 1
        forget(one)
        assert len(one.task.ahead) == 0


def test_a_record_that_waited_leaves_what_is_ahead_alone() -> None:
    task, next_ones = fresh(), records(4)
    assert task.decode_ahead(next_ones)
    assert task.step(records(2, start=50), lambda: False, 0, again=True).consumed == 2
    assert len(task.ahead) == 4
    assert task.step(next_ones, lambda: False, 0).consumed == 4


def test_a_frame_of_an_unknown_schema_is_left_for_its_turn() -> None:
    task = fresh()
    unknown = [Record("in", b"k", b"\0\0\0\x09\x09rest", 0, 0, 0)]
    assert not task.decode_ahead(unknown)
    assert len(task.ahead) == 0
    assert task.step(unknown, lambda: False, 0).hold is not None


def test_a_worker_decodes_while_it_commits_and_not_while_it_narrows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, told = Rig(tmp_path), []
    decode_ahead = Stepper.decode_ahead

    def noted(self: Stepper) -> bool:
        told.append((self._narrowing.narrows, decode_ahead(self)))
        return told[-1][1]

    monkeypatch.setattr(Stepper, "decode_ahead", noted)
    rig.produce([("a", "ok")] * 200)
    rig.cautious = True
    rig.start(0)
    rig.spread()
    rig.run(0, times=300)
    rig.judge()
    assert any(narrows for narrows, _ in told)
    assert not any(decoded for narrows, decoded in told if narrows)
    assert any(decoded for _, decoded in told)


@pytest.mark.parametrize(("bound", "ahead"), [(1 << 20, True), (10, False)])
def test_large_records_are_not_polled_before_their_turn(
    bound: int, ahead: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.worker.MOST_AHEAD_BYTES", bound)
    rig, most = Rig(tmp_path), 0
    rig.produce([("a", "ok")] * 100)
    worker = rig.start(0).worker
    rig.spread()
    for _ in range(100):
        rig.run(0)
        most = max(most, worker._partitions.buffered())
    rig.judge()
    assert (most > 2 * worker._poll_records) is ahead


# ---- waiting for the broker ----


def countdown(count: int, seconds: float = 0.0) -> Callable[[], bool]:
    left = iter(range(count))

    def meanwhile() -> bool:
        time.sleep(seconds)
        return next(left, None) is not None

    return meanwhile


@pytest.mark.parametrize(("work", "alone"), [(0, True), (3, False)])
def test_a_call_waits_beside_work_if_there_is_any(work: int, alone: bool) -> None:
    threads: list[int] = []
    Beside().call(lambda: threads.append(threading.get_ident()), countdown(work))
    assert (threads == [threading.get_ident()]) is alone


@pytest.mark.parametrize("work", [0, 3])
def test_what_a_call_raises_comes_out(work: int) -> None:
    def fails() -> None:
        raise AbortedError("no")

    with pytest.raises(AbortedError, match="no"):
        Beside().call(fails, countdown(work))


def test_work_ends_with_the_call_and_a_failure_of_it_waits_for_the_call() -> None:
    ended: list[str] = []

    def waits() -> None:
        time.sleep(0.05)
        ended.append("call")

    Beside().call(waits, countdown(1_000_000, 0.001))
    calls = iter([True, True])

    def fails() -> bool:
        return next(calls)  # and StopIteration

    with pytest.raises(StopIteration):
        Beside().call(waits, fails)
    assert ended == ["call", "call"]


class Slow:
    """Confluent's producer, whose records arrive with the third call of `flush`."""

    def __init__(self, config: dict[str, object]) -> None:
        self.told, self.waits = config["on_delivery"], []

    def flush(self, timeout: float) -> int:
        self.waits.append(timeout)
        return 3 - len(self.waits)


def test_a_flush_looks_between_work_whether_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.sending.Producer", Slow)
    producer = AtLeastOnceProducer({"client.id": "slot"}, 5.0, lambda _: None)
    producer.flush(countdown(1))
    first, busy, idle = producer._producer.waits
    assert 0 < first < 0.01
    assert (busy, idle) == (0.0, 0.2)


def test_a_refused_commit_is_an_abort_on_either_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.sending.Producer", Slow)

    def refused(_: object) -> None:
        raise AbortedError("rebalance") from KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))

    producer = AtLeastOnceProducer({"client.id": "slot"}, 5.0, refused)
    for meanwhile in (nothing, countdown(5)):
        with pytest.raises(AbortedError, match="rebalance"):
            producer.commit({}, None, meanwhile)
