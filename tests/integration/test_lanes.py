"""Handlers in lanes on a real Kafka: beside each other, in order per key, killed, and slower than a transaction."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from live.app import CALL, CALLS, KILL, digest
from live.events import Appended, Item
from live.workers import PATIENCE, Live

from streams import App, Context
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.dlq.letter import Letter, read_letter
from streams.settings import Settings
from streams.testing.live import LiveDriver

pytestmark = pytest.mark.integration

KEYS, RECORDS = 40, 400
PACE = 0.02  # seconds that a call of the outside takes


def test_calls_of_different_keys_run_beside_each_other(settings: Settings) -> None:
    app = App("beside")
    items = app.topic("beside.items", Item, key="key")
    times: dict[str, list[float]] = defaultdict(list)
    running: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    order: dict[tuple[str, str], list[int]] = defaultdict(list)

    async def wait(name: str, item: Item) -> None:
        running[name] += 1
        most[name] = max(most[name], running[name])
        times[name].append(time.monotonic())
        await asyncio.sleep(PACE)
        order[name, item.key].append(item.n)
        times[name].append(time.monotonic())
        running[name] -= 1

    @app.processor(items)
    async def many(item: Item, _ctx: Context) -> None:
        await wait("many", item)

    @app.processor(items, concurrency=1)
    async def one(item: Item, _ctx: Context) -> None:
        await wait("one", item)

    with LiveDriver(app, settings, namespace="beside") as driver:
        driver.send(items, *[Item(key=f"key {n % KEYS}", n=n, text="") for n in range(RECORDS)])
        driver.settle()
        assert set(driver.lag.values()) == {0}
    seconds = {name: max(found) - min(found) for name, found in times.items()}
    print(f"{RECORDS} calls of {PACE} s: {seconds}, {seconds['one'] / seconds['many']:.1f} times as fast, {dict(most)}")
    assert most["one"] == 1
    assert most["many"] > 8
    for (name, key), numbers in order.items():
        assert numbers == sorted(numbers), (name, key)
    assert len(order) == 2 * KEYS


class Called(NamedTuple):
    """One line of what handlers did outside."""

    key: str
    n: int
    pid: int
    idempotency_key: str


def calls(file: Path) -> list[Called]:
    lines = [line.split(" ", 3) for line in file.read_text().splitlines()]
    return [Called(key, int(n), int(pid), again) for key, n, pid, again in lines]


def records(live: Live, numbers: Iterable[int]) -> None:
    live.send(live.item(f"k{n % KEYS}", n) for n in numbers)


def outputs(live: Live) -> list[Appended]:
    codec = Codec(Appended)
    codec.learn(live.registry.lookup(live.topic("called-value"), schema_of(Appended).text), schema_of(Appended).text)
    return codec.decode([record.value or b"" for record in live.read(live.topic("called"))])


def judge(live: Live, expected: int) -> None:
    """Every record left its output once, built on those of its key before it."""
    histories: dict[str, list[int]] = defaultdict(list)
    found = outputs(live)
    for one in found:
        histories[one.key].append(one.n)
        assert (one.size, one.digest) == (len(histories[one.key]), digest(histories[one.key]))
    assert len(found) == expected
    assert all(numbers == sorted(numbers) for numbers in histories.values())
    print(f"{len(found)} outputs of {len(histories)} keys compared")


def test_kills_lose_nothing_and_keep_the_order(live: Live, tmp_path: Path) -> None:
    live.deploy("call")
    live.environment |= {CALLS: str(tmp_path / "calls")}
    live.environment["STREAMS_FAILPOINTS"] = "call/produced=kill@8; call/flushed=kill@13"
    records(live, range(RECORDS))
    with live.worker("call") as worker:
        worker.await_log("failpoint produced hit 8")
        records(live, range(RECORDS, 2 * RECORDS))
        live.settle("call", 120)
        kills = worker.log().count("failpoint")
    judge(live, 2 * RECORDS)
    ran = calls(tmp_path / "calls")
    keys = {(one.key, one.n): one.idempotency_key for one in ran}
    repeated = len(ran) - len(keys)
    print(f"{kills} kills, {len({one.pid for one in ran})} processes, {len(ran)} calls, {repeated} of them again")
    assert kills
    assert len(keys) == len(set(keys.values())) == 2 * RECORDS
    assert all(keys[one.key, one.n] == one.idempotency_key for one in ran)
    assert repeated <= kills * 1_000 * 4  # at most what was in flight


def test_a_worker_that_ends_lets_its_handlers_end(live: Live, tmp_path: Path) -> None:
    live.deploy("call")
    file = tmp_path / "calls"
    live.environment |= {CALLS: str(file)}
    live.send([live.item("slow", 0, CALL)])
    with live.worker("call") as worker:
        until = time.monotonic() + PATIENCE
        while not file.exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        live.send(live.item("slow", n) for n in range(1, 10))
        assert worker.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert len(calls(file)) == 1
    assert sum(live.lag("call").values()) == 9
    with live.worker("call"):
        live.settle("call")
    assert [one.n for one in calls(file)] == list(range(10))
    judge(live, 10)


def test_a_call_that_kills_its_process_is_found_among_those_that_run_beside_it(live: Live, tmp_path: Path) -> None:
    live.deploy("call")
    live.environment |= {CALLS: str(tmp_path / "calls")}
    killers = {150, 151}
    sent = [live.item(f"k{n % KEYS}", n, KILL if n in killers else "") for n in range(RECORDS)]
    live.send(sent)
    with live.worker("call") as worker:
        live.settle("call", 120)
        assert worker.end(signal.SIGTERM) in {0, 128 + signal.SIGTERM}
        deaths = worker.log().count("killing itself")
    letters = [
        letter for record in live.read(live.topic("call.dlq")) if isinstance(letter := read_letter(record), Letter)
    ]
    again = Counter(one.n for one in calls(tmp_path / "calls"))
    beside = sum(count > 1 for n, count in again.items() if n not in killers)
    of_killers = sum(again[n] for n in killers)
    print(f"{deaths} deaths, {of_killers} calls of killers, {beside} of {RECORDS - 2} others ran again")
    assert beside > 0, "nothing ran beside them"
    assert {letter.kind for letter in letters} == {"killed"}
    assert sorted(letter.record.value or b"" for letter in letters) == sorted(sent[n].value or b"" for n in killers)
    assert 3 <= deaths <= 9
    judge(live, RECORDS - 2)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_call_that_takes_longer_than_a_transaction_lives_is_made_once(
    live: Live, tmp_path: Path, guarantee: str
) -> None:
    live.deploy("call")
    live.environment |= {CALLS: str(tmp_path / "calls"), "STREAMS_GUARANTEE": guarantee}
    with live.worker("call") as worker:
        records(live, range(RECORDS))
        live.settle("call")
        live.send([live.item("slow", RECORDS, CALL)])
        time.sleep(1)
        records(live, range(RECORDS + 1, 2 * RECORDS))
        time.sleep(4)
        behind = live.lag("call")
        live.settle("call")
        assert "aborted" not in worker.log()
    ran = [(one.key, one.n) for one in calls(tmp_path / "calls")]
    print(f"behind while it ran: {behind}; {len(ran)} calls")
    assert sum(lag > 0 for lag in behind.values()) == 1  # its own partition waits, the others are committed
    assert len(ran) == len(set(ran)) == 2 * RECORDS
    judge(live, 2 * RECORDS)
