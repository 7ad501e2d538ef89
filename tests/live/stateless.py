"""Processors without state, which every engine runs; `live.stateless:NAME` is the app NAME."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from live.app import EXIT, FLAGS, LARGE, LARGE_BYTES, LIMIT, PREFIX
from live.events import Item, Left, Right
from streams import DEAD_LETTER, SKIP, STOP, App, Context, Failure, Retry

FILTER, FAN, BOTH, PASS_OVER, REFUSE, FLAKY, DOOMED = "filter", "fan", "both", "skip", "refuse", "flaky", "doomed"
FANNED = 3
FLAKY_FAILURES, ATTEMPTS = 2, 3
SLOW, SLOW_SECONDS = "slow", 0.005
ANSWERS = Failure(
    Retry(ATTEMPTS, "50ms"), then=DEAD_LETTER, by_type={ValueError: SKIP, LookupError: DEAD_LETTER}, pauses=False
)


def build(name: str) -> App:
    """Declare the app; nothing of it is shared with an app of another name."""
    app = App(name, on_failure=DEAD_LETTER)
    items = app.topic(f"{name}.items", Item, key="key")
    copies = app.topic(f"{name}.copies", Item, key="key", config={"max.message.bytes": LIMIT}, event_ids=True)
    left = app.topic(f"{name}.left", Left, key="key", event_ids=True)
    right = app.topic(f"{name}.right", Right, key="key", partitions=3, event_ids=True)

    def work(item: Item | None, ctx: Context) -> Iterator[Item | Left | Right]:
        if item is None:
            yield Left(key=(ctx.record.key or b"none").decode(), n=-1)
        else:
            _fail(item)
            yield from _outputs(item)

    def copy(item: Item, _ctx: Context) -> Item:
        if item.text == SLOW:
            time.sleep(SLOW_SECONDS)
        return item

    def stop(item: Item, _ctx: Context) -> None:
        if item.text == REFUSE:
            raise KeyError(f"item {item.n} is refused")

    app.processor(items, to=[copies, left, right], on_failure=ANSWERS)(work)
    app.processor(items, to=copies)(copy)
    app.processor(items, on_failure=STOP)(stop)
    return app


def _outputs(item: Item) -> Iterator[Item | Left | Right]:
    """Give what the item's text asks for."""
    if item.text == BOTH:
        yield Left(key=item.key, n=item.n)
        yield Right(key=item.key, n=item.n)
    elif item.text == FAN:
        yield from (Item(key=f"{item.key}/{number}", n=item.n, text="") for number in range(FANNED))
    elif item.text == LARGE:
        yield Item(key=item.key, n=item.n, text=random.Random(1).randbytes(LARGE_BYTES).hex())
    elif item.text != FILTER:
        yield item


def _fail(item: Item) -> None:
    """Fail as the item's text says."""
    if item.text == PASS_OVER:
        raise ValueError(f"item {item.n} is passed over")
    if item.text == REFUSE:
        raise KeyError(f"item {item.n} is refused")
    if item.text == EXIT:
        sys.exit(3)
    if item.text == DOOMED or (item.text == FLAKY and _attempts(item) <= FLAKY_FAILURES):
        raise ConnectionError(f"item {item.n} finds nobody")


def _attempts(item: Item) -> int:
    """Count the attempts at an item, over processes."""
    with Path(os.environ[FLAGS], f"attempts-{item.n}").open("a+") as file:
        file.write("x")
        return file.tell()


def __getattr__(name: str) -> App:
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    return build(name)
