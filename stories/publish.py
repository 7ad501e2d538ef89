"""Sending a file's lines: events in portions, and lines that do not parse to the loader's dead-letter topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from stories.files import BadLine
from streams import Publisher, Record, Topic
from streams.topology import TopicSpec

R = TypeVar("R")
V = TypeVar("V")

PORTION = 1_000


def dead_letter_topic(app: str) -> TopicSpec:
    """Name the topic that takes the lines that do not parse."""
    return TopicSpec(f"{app}.load.dlq", 1, {})


def publish(
    publisher: Publisher, app: str, rows: Iterable[R | BadLine], topic: Topic[V], event: Callable[[R], Iterable[V]]
) -> int:
    """Send the events of every row, and every bad line as it was; return how many lines were refused."""
    refused = 0
    for portion in _portions(rows):
        bad = [row for row in portion if isinstance(row, BadLine)]
        good = [row for row in portion if not isinstance(row, BadLine)]
        publisher.send(topic, [value for row in good for value in event(row)])
        publisher.send_raw(_dead_letter(line, dead_letter_topic(app).name) for line in bad)
        refused += len(bad)
    return refused


def _portions(rows: Iterable[R]) -> Iterator[list[R]]:
    remaining = iter(rows)
    while portion := list(islice(remaining, PORTION)):
        yield portion


def _dead_letter(line: BadLine, topic: str) -> Record[bytes | None, bytes | None]:
    headers = {
        "__connect.errors.topic": line.file,
        "__connect.errors.offset": str(line.line_number),
        "__connect.errors.stage": "load",
        "__connect.errors.exception.message": line.reason,
    }
    named = tuple((name, text.encode()[:1024]) for name, text in headers.items())
    return Record(topic, None, line.raw, time.time_ns() // 1_000_000, headers=named)
