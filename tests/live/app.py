"""The processors that run in tests. `live.app:NAME` is the app NAME: none shares topics or groups with another."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from live.events import Appended, History, Item, Left, Measured, Right
from streams import DEAD_LETTER, PARK, SKIP, STOP, App, BatchContext, Context, Failure, Retry

PREFIX = "live"
SLOW = 0.002  # seconds
RAISE, EXIT, LARGE, LARGE_STATE, ODD_STATE = "raise", "exit", "large", "large state", "odd state"
HANG, HANG_SECONDS = "hang", 600
HOG = "hog"  # native code that never lets another thread run
CALL, CALL_SECONDS = "call", 9.0  # of something outside, for longer than a transaction lives in a test
CALLS = "LIVE_CALLS"  # the variable that names the file of calls
DOWN, PARKED, KILL = "down", "parked", "kill"
FLAGS = "LIVE_FLAGS"  # the variable that names the folder whose files say what fails now
WAVERING = Failure(Retry(200, "200ms..1s"), by_type={LookupError: PARK}, pauses=False)
MANY = 500  # outputs that together are larger than the limit
LIMIT = "20000"  # bytes that a topic takes, where a test sends it more
LARGE_BYTES = 30_000  # of noise, which no compression makes small


def build(name: str) -> App:  # noqa: C901, PLR0915 - a list of declarations
    """Declare the app; nothing of it is shared with an app of another name."""
    app = App(name, on_failure=DEAD_LETTER)  # at once; tests of retries say so
    items = app.topic(f"{name}.items", Item, key="key")
    copies = app.topic(f"{name}.copies", Item, key="key", config={"max.message.bytes": LIMIT})
    appended = app.topic(f"{name}.appended", Appended, key="key", config={"max.message.bytes": LIMIT})
    left = app.topic(f"{name}.left", Left, key="key")
    right = app.topic(f"{name}.right", Right, key="key", partitions=3)
    app.topic(f"{name}.measured", Measured, key="sensor")
    rows = app.table(f"{name}.rows", Item, key="key")
    histories = app.store("histories", str, History)
    called = app.topic(f"{name}.called", Appended, key="key")
    calls = app.store("calls", str, History)
    tallied = app.topic(f"{name}.tallied", Appended, key="key")
    tallies = app.store("tallies", str, History)

    def copy(item: Item, _ctx: Context) -> Item:
        return _told(item)

    def skip(item: Item, ctx: Context) -> Item:
        return copy(item, ctx)

    def park(item: Item, ctx: Context) -> Item:
        return copy(item, ctx)

    def stop(item: Item, ctx: Context) -> Item:
        return copy(item, ctx)

    def waver(item: Item, ctx: Context) -> Item:
        if item.text in {DOWN, PARKED} and Path(os.environ[FLAGS], item.text).exists():
            raise ConnectionError if item.text == DOWN else LookupError
        _die(item)
        return copy(item, ctx)

    def spread(item: Item, _ctx: Context) -> Iterator[Item]:
        for number in range(MANY):
            yield Item(key=item.key, n=number, text=hashlib.sha512(b"%d" % number).hexdigest())

    def follow(_item: Item, _ctx: Context) -> None:
        """Read what another processor writes in transactions."""

    def look_elsewhere(_item: Item, ctx: Context) -> None:
        for number in range(100):
            ctx.get(rows, f"somebody {number}")

    def pair(item: Item, _ctx: Context) -> Iterator[Left | Right]:
        _told(item)
        yield Left(key=item.key, n=item.n)
        yield Right(key=item.key, n=item.n)
        if item.text == LARGE:
            raise ValueError("after the first outputs")

    def append(item: Item, ctx: Context) -> Appended:
        before = ctx.get(histories, item.key)
        history = (*before.items, item.n) if before else (item.n,)
        ctx.put(histories, item.key, _state(item, history))
        time.sleep(SLOW)
        told = _noise().hex() if item.text == LARGE else digest(history)
        return Appended(key=item.key, n=item.n, size=len(history), digest=told)

    async def call(item: Item, ctx: Context) -> Appended:
        _note_call(item, ctx)
        _die(item)
        await asyncio.sleep(CALL_SECONDS if item.text == CALL else random.random() * 0.05)
        before = ctx.get(calls, item.key)
        history = (*before.items, item.n) if before else (item.n,)
        ctx.put(calls, item.key, History(items=history))
        return Appended(key=item.key, n=item.n, size=len(history), digest=digest(history))

    def tally(batch: pa.RecordBatch, ctx: BatchContext) -> pa.Table:
        rows = []
        for item in batch.to_pylist():
            before = ctx.get(tallies, item["key"])
            history = (*before.items, item["n"]) if before else (item["n"],)
            ctx.put(tallies, item["key"], History(items=history))
            rows.append({"key": item["key"], "n": item["n"], "size": len(history), "digest": digest(history)})
            if item["text"] in {RAISE, KILL}:
                _told(Item(**item))
                _die(Item(**item))
        return pa.Table.from_pylist(rows)

    app.batch(items, to=tallied)(tally)
    app.processor(items, to=called)(call)
    app.processor(items, to=copies, on_failure=DEAD_LETTER)(copy)
    app.processor(items, to=copies, on_failure=SKIP)(skip)
    app.processor(items, to=copies, on_failure=PARK)(park)
    app.processor(items, to=copies, on_failure=STOP)(stop)
    app.processor(items, to=copies, on_failure=WAVERING)(waver)
    app.processor(items, to=copies)(spread)
    app.processor(copies)(follow)
    app.processor(items)(look_elsewhere)
    app.processor(items, to=[left, right])(pair)
    app.processor(items, to=appended)(append)
    return app


def digest(history: Iterable[int]) -> str:
    """Hash a whole list."""
    return hashlib.sha256(repr(tuple(history)).encode()).hexdigest()[:16]


def _note_call(item: Item, ctx: Context) -> None:
    """Leave a line that outlives the process, as an outside service would have."""
    with Path(os.environ[CALLS]).open("ab", buffering=0) as file:
        file.write(f"{item.key} {item.n} {os.getpid()} {ctx.idempotency_key}\n".encode())


def _die(item: Item) -> None:
    if item.text == KILL:
        os.write(2, b"killing itself\n")
        os.kill(os.getpid(), signal.SIGKILL)


def _told(item: Item) -> Item:
    """Do what the item's text says."""
    if item.text == RAISE:
        raise ValueError(f"item {item.n} is not welcome")
    if item.text == EXIT:
        sys.exit(3)
    if item.text == HANG:
        time.sleep(HANG_SECONDS)
    if item.text == HOG:
        ctypes.PyDLL(None).sleep(HANG_SECONDS)  # keeps the interpreter's lock
    return Item(key=item.key, n=item.n, text=_noise().hex()) if item.text == LARGE else item


def _noise() -> bytes:
    return random.Random(1).randbytes(LARGE_BYTES)


def _state(item: Item, history: tuple[int, ...]) -> History:
    if item.text == LARGE_STATE:
        return History(items=tuple(_noise()))
    if item.text == ODD_STATE:
        return History.model_construct(items=("no number",))
    return History(items=history)


def __getattr__(name: str) -> App:
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    return build(name)
