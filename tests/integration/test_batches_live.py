"""Batch processors on a real Kafka: killed anywhere, and with records that fail or kill, every row counts once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pytest
from live.app import KILL, RAISE, digest
from live.events import Appended, Item
from live.workers import Live

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.dlq.letter import read_letter

pytestmark = pytest.mark.integration

KEYS, RECORDS, SLICES = 40, 6_000, 12
POINTS = ["processed", "produced", "flushed", "commit-sent", "committed", "state-written"]


def send(live: Live, numbers: Iterable[int], text: str = "") -> None:
    live.send(live.item(f"k{n % KEYS}", n, text) for n in numbers)


def judge(live: Live, expected: int, without: frozenset[int] = frozenset()) -> None:
    """Every record left its row once, built on those of its key before it."""
    codec = Codec(Appended)
    codec.learn(live.registry.lookup(live.topic("tallied-value"), schema_of(Appended).text), schema_of(Appended).text)
    found = codec.decode([record.value or b"" for record in live.read(live.topic("tallied"))])
    histories: dict[str, list[int]] = defaultdict(list)
    for one in found:
        histories[one.key].append(one.n)
        assert (one.size, one.digest) == (len(histories[one.key]), digest(histories[one.key]))
    assert len(found) == expected
    assert not without & {one.n for one in found}
    assert all(numbers == sorted(numbers) for numbers in histories.values())
    print(f"{len(found)} rows of {len(histories)} keys compared")


@pytest.mark.parametrize("point", POINTS)
def test_kills_lose_no_row_and_double_none(live: Live, point: str) -> None:
    live.deploy("tally")
    live.environment["STREAMS_FAILPOINTS"] = f"tally/{point}=kill@2; tally/{point}=kill@5"
    share = RECORDS // SLICES
    with live.worker("tally") as worker:
        for at in range(SLICES):
            send(live, range(at * share, (at + 1) * share))
        worker.await_log("failpoint")
        live.settle("tally", 90)
        kills = worker.log().count("failpoint")
    print(f"{kills} kills at {point}")
    assert kills
    judge(live, RECORDS)


def test_records_that_fail_or_kill_are_refused_alone(live: Live) -> None:
    live.deploy("tally")
    send(live, range(1_000))
    send(live, [1_000, 1_001], RAISE)
    send(live, range(1_002, 2_000))
    send(live, [2_000], KILL)
    send(live, range(2_001, 3_000))
    with live.worker("tally"):
        live.settle("tally", 120)
    judge(live, 2_997, frozenset({1_000, 1_001, 2_000}))
    letters = [read_letter(record) for record in live.read(live.app.processors["tally"].dead_letter_topic)]
    items = Codec(Item)
    items.learn(live.registry.lookup(live.topic("items-value"), schema_of(Item).text), schema_of(Item).text)
    refused = {items.decode([letter.record.value or b""])[0].n for letter in letters}
    assert refused == {1_000, 1_001, 2_000}
    assert len(letters) == 3
