"""Several outputs of one record: in order, all or none, through a real transaction."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeVar

import pytest
from live.app import LARGE, MANY, RAISE
from live.events import Left, Right
from live.kcat import Kcat
from live.workers import PATIENCE, Live

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.supervisor import Job, Supervisor

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(20)]
PORTIONS = 24
PORTION = 50
HALF = TypeVar("HALF", Left, Right)


def halves(live: Live, kcat: Kcat, short: str, model: type[HALF]) -> dict[str, list[int]]:
    """Return what one of the two topics holds of each key."""
    topic = live.topic(short)
    codec = Codec(model)
    codec.learn(live.registry.lookup(f"{topic}-value", schema_of(model).text), schema_of(model).text)
    found = defaultdict(list)
    for value in codec.decode([row.value or b"" for row in kcat.read(topic)]):
        found[value.key].append(value.n)
    return found


def text(number: int) -> str:
    """Have some records refused, before or after they gave an output."""
    return RAISE if number % 50 == 7 else LARGE if number % 50 == 8 else ""


def test_two_outputs_are_never_torn(live: Live, kcat: Kcat) -> None:
    live.deploy("pair")
    supervisor = Supervisor([Job(live.target, "pair")], live.settings)
    chance = random.Random(3)
    kills = 0
    supervisor.start()
    try:
        for portion in range(PORTIONS):
            numbers = range(portion * PORTION, (portion + 1) * PORTION)
            live.send(live.item(KEYS[n % len(KEYS)], n, text(n)) for n in numbers)
            time.sleep(chance.uniform(0.05, 0.35))
            if portion % 6 == 5:
                kills += kill(supervisor.pids())
            supervisor.poll(0)
        settle(live, supervisor)
    finally:
        supervisor.stop()

    left, right = halves(live, kcat, "left", Left), halves(live, kcat, "right", Right)
    good = [n for n in range(PORTIONS * PORTION) if not text(n)]
    wanted = {key: [n for n in good if KEYS[n % len(KEYS)] == key] for key in KEYS}
    print(f"{sum(map(len, left.values()))} pairs compared after {kills} kills")
    assert kills >= 3
    assert left == right == wanted
    assert kcat.count(f"{live.name}.pair.dlq") == PORTIONS * PORTION - len(good) > 0


def test_small_outputs_fit_a_topic_of_small_records(live: Live, kcat: Kcat) -> None:
    live.deploy("spread")
    live.send(live.item(key, 0) for key in KEYS)
    with live.worker("spread"):
        live.settle("spread")

    found = defaultdict(list)
    for item in live.items(live.topic("copies")):
        found[item.key].append(item.n)
    assert kcat.count(f"{live.name}.spread.dlq") == 0
    assert found == {key: list(range(MANY)) for key in KEYS}


def kill(pids: Iterable[int]) -> int:
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def settle(live: Live, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(live.lag("pair").values()):
        assert time.monotonic() < deadline
        supervisor.poll(0.1)
