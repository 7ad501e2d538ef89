"""Records that wait, are parked or kill their process, with worker processes on a real Kafka."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import psutil
import pytest
from live.app import DOWN, KILL, PARKED
from live.workers import Command, Live

from streams.avro.codec import Codec
from streams.avro.model import versions_of
from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.record import Headers, RawRecord, Record
from streams.testing.surface import DeadLetter, dead_letter_of

pytestmark = pytest.mark.integration

GUARANTEES = pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
PATIENCE = 90.0  # seconds


def rows(live: Live, processor: str) -> dict[tuple[int, int], WaitingRecord]:
    """Return what waits, by partition and offset."""
    topic = f"{live.name}.{processor}.waiting"
    codec = Codec(WaitingRecord)
    codec.learn(live.registry.lookup(f"{topic}-value", versions_of(WaitingRecord)[-1]), versions_of(WaitingRecord)[-1])
    newest = {(record.partition, record.key): record.value for record in live.read(topic)}
    found = codec.decode([value for value in newest.values() if value is not None])
    return {(row.partition, row.offset): row for row in found}


def letters(live: Live, processor: str) -> list[DeadLetter]:
    return [dead_letter_of(record, processor) for record in live.read(f"{live.name}.{processor}.dlq")]


def until(done: Callable[[], bool], what: str, worker: Command) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"{what} did not happen:\n{worker.log()[-4_000:]}"
        time.sleep(0.2)


def kill(worker: Command) -> None:
    """Kill the supervisor and its workers, and see that they are gone."""
    processes = [*psutil.Process(worker.process.pid).children(recursive=True), psutil.Process(worker.process.pid)]
    for process in processes[::-1]:
        process.send_signal(signal.SIGKILL)
    worker.wait(10)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


def came(live: Live) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for item in live.items(live.topic("copies")):
        numbers[item.key].append(item.n)
    return numbers


def once(numbers: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


@GUARANTEES
def test_keys_wait_and_park_through_kills_and_without_their_disk(live: Live, guarantee: str) -> None:
    """Every record comes out in the order of its key; the parked key once somebody releases it."""
    live.environment["STREAMS_GUARANTEE"] = guarantee
    live.deploy("waver")
    flag, parked = live.flags / DOWN, live.flags / PARKED
    flag.touch()
    parked.touch()
    sent = [("flaky", n) for n in range(20)] + [("parked", n) for n in range(20)]
    sent += [(f"key {n % 7}", n) for n in range(200)]
    live.send([live.item(key, n, {"flaky": DOWN, "parked": PARKED}.get(key, "")) for key, n in sent])

    def kept() -> int:
        return len(rows(live, "waver"))

    with live.worker("waver") as worker:
        until(lambda: sum(live.lag("waver").values()) == 0 and kept() == 40, "all of both keys wait", worker)
        kill(worker)
    statuses = Counter(row.status for row in rows(live, "waver").values())
    assert statuses == {WaitingStatus.RETRYING: 1, WaitingStatus.PARKED: 1, WaitingStatus.QUEUED: 38}
    assert sum(map(len, came(live).values())) == 200

    shutil.rmtree(live.settings.state_dir)
    live.send([live.item("flaky", 20, DOWN), live.item("parked", 20, PARKED), live.item("key 1", 999)])
    with live.worker("waver") as worker:
        until(lambda: sum(live.lag("waver").values()) == 0 and kept() == 42, "what came later queues", worker)
        flag.unlink()
        until(lambda: kept() == 21, "the failing key goes on", worker)
        kill(worker)
    assert once(came(live)["flaky"]) == list(range(21))

    shutil.rmtree(live.settings.state_dir)
    parked.unlink()
    waiting = rows(live, "waver")
    assert {row.key for row in waiting.values()} == {b"parked"}
    headers: Headers = (("streams.command", b"release"),)
    (partition,) = {row.partition for row in waiting.values()}
    release: RawRecord = Record(f"{live.name}.waver.redrive", b"parked", b"{}", 0, partition, headers=headers)
    live.send([release])
    with live.worker("waver") as worker:
        until(lambda: kept() == 0, "the parked key goes on", worker)
        assert worker.end(signal.SIGTERM) in {0, 143}
    numbers = came(live)
    compared = sum(map(len, numbers.values()))
    print(f"\n{guarantee}: {compared} came out, {len(sent) + 3} went in")
    assert {key: once(found) for key, found in numbers.items()} == expected(sent)
    if guarantee == "exactly_once":
        assert compared == len(sent) + 3
    assert letters(live, "waver") == []


def expected(sent: list[tuple[str, int]]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for key, n in [*sent, ("flaky", 20), ("parked", 20), ("key 1", 999)]:
        numbers[key].append(n)
    return numbers


def test_a_record_that_kills_its_process_is_quarantined_and_nothing_else(live: Live) -> None:
    live.deploy("waver")
    sent = [live.item(f"key {n % 5}", n, KILL if n == 37 else "") for n in range(80)]
    live.send(sent)
    with live.worker("waver") as worker:
        until(lambda: sum(live.lag("waver").values()) == 0, "the killer is dealt with", worker)
        assert worker.end(signal.SIGTERM) in {0, 143}
        deaths = worker.log().count("killing itself")
    (letter,) = letters(live, "waver")
    numbers = came(live)
    print(f"\n{deaths} deaths, {sum(map(len, numbers.values()))} of its neighbours came out")
    assert letter.kind == "killed"
    assert letter.record.value == sent[37].value
    assert 3 <= deaths <= 9
    assert numbers == {f"key {key}": [n for n in range(80) if n % 5 == key and n != 37] for key in range(5)}
