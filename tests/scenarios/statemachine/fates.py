"""What became of every record, told by the log alone: it came out, was given up, or waits; and each key in its order.

At least once may try a record twice that waited, and then a list is not exact: this holds in both guarantees.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from streams import Topic
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import DecodeError, UnknownSchemaError
from streams.record import RawRecord
from streams.testing import MemoryDriver
from streams.testing.surface import dead_letter_of

from .workload import app, appended, items

Place = tuple[int, int]


def conserved(driver: MemoryDriver) -> int:
    """Return how many records were looked at.

    Raises:
        AssertionError: a record is gone, or a key's records came out in another order than they were read.
    """
    came: dict[int, int] = {}  # of each item the first record that came of it
    log, processor = driver.cluster.log, app.processors["append"]
    for at, record in enumerate(log.committed(appended.name)):
        made = _number(driver, appended, record)
        if made is not None:
            came.setdefault(made, at)
    letters = [dead_letter_of(one, "append") for one in log.committed(processor.dead_letter_topic)]
    given_up = {(letter.partition, letter.offset) for letter in letters}
    waiting = {(row.partition, row.offset) for row in driver.waiting}
    latest: dict[bytes | None, int] = defaultdict(lambda: -1)
    compared = 0
    for record in log.committed(items.name):
        if record.value is None:
            continue
        compared += 1
        number = _number(driver, items, record)
        place = record.partition, record.offset
        if number not in came and place not in given_up and place not in waiting:
            raise AssertionError(f"{items.name}[{place[0]}] offset {place[1]} is gone (seed {driver.seed})")
        if number in came and place not in given_up:  # what was given up may have come back at any time
            if came[number] < latest[record.key]:
                raise AssertionError(f"key {record.key!r} is out of order at offset {place[1]} (seed {driver.seed})")
            latest[record.key] = came[number]
    return compared


def _number(driver: MemoryDriver, topic: Topic[Any], record: RawRecord) -> int | None:
    """Return the number of an item; None for bytes that are none."""
    text = schema_of(topic.model).text
    codec = Codec(topic.model, driver.cluster.registry.register(topic.subject, text))
    codec.learn(driver.cluster.registry.register(topic.subject, text), text)
    try:
        return int(codec.decode([record.value or b""])[0].n)
    except (DecodeError, UnknownSchemaError):
        return None
