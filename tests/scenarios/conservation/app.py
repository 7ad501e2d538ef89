"""The topology of the run. `app:NAME` is the app NAME, so that runs share neither topics nor groups."""

from __future__ import annotations

import time
import zlib
from typing import ClassVar

from streams import DEAD_LETTER, PARK, SKIP, App, Context, Failure, Retry
from streams.avro.model import AvroModel

PREFIX = "conserve"
PARTITIONS = 8
OK, FOREVER, MOMENT, UNWANTED, STUCK = "ok", "forever", "moment", "unwanted", "stuck"
MOMENT_SECONDS = 1.5


class Item(AvroModel):
    __avro_name__: ClassVar[str] = "conserve.Item"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Item","namespace":"conserve","fields":[{"name":"key","type":"string"},'
            '{"name":"n","type":"long"},{"name":"kind","type":"string"}]}'
        ),
    )
    key: str
    n: int
    kind: str


class Chain(AvroModel):
    __avro_name__: ClassVar[str] = "conserve.Chain"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Chain","namespace":"conserve","fields":[{"name":"key","type":"string"},'
            '{"name":"n","type":"long"},{"name":"size","type":"long"},{"name":"digest","type":"long"}]}'
        ),
    )
    key: str
    n: int
    size: int
    digest: int


class UnwantedError(Exception):
    """Answered by SKIP."""


class StuckError(Exception):
    """Answered by PARK."""


POLICY = Failure(
    Retry(4, "200ms..2s"),
    then=DEAD_LETTER,
    by_type={
        ConnectionError: Failure(Retry(100, "200ms..1s"), then=DEAD_LETTER),
        UnwantedError: SKIP,
        StuckError: Failure(Retry(2, "100ms..300ms"), then=PARK),
    },
)

_first_seen: dict[int, float] = {}


def build(name: str) -> App:
    """Declare the app: the chain of each key grows by every record that is handled."""
    app = App(name)
    items = app.topic(f"{name}.items", Item, key="key", partitions=PARTITIONS)
    handled = app.topic(f"{name}.handled", Chain, key="key", partitions=PARTITIONS)
    chains = app.store("chains", str, Chain)

    def handle(item: Item, ctx: Context) -> Chain:
        before = ctx.get(chains, item.key)
        size, digest = (before.size, before.digest) if before else (0, 0)
        after = Chain(key=item.key, n=item.n, size=size + 1, digest=linked(digest, item.n))
        ctx.put(chains, item.key, after)
        if item.kind != OK:
            _fail(item)  # after it has left its traces
        return after

    app.processor(items, to=handled, on_failure=POLICY)(handle)
    return app


def linked(digest: int, n: int) -> int:
    """Return the digest of a chain with one record more."""
    return zlib.crc32(b"%d" % n, digest)


def _fail(item: Item) -> None:
    if item.kind == FOREVER:
        raise ValueError(item.n)
    if item.kind == UNWANTED:
        raise UnwantedError(item.n)
    if item.kind == STUCK:
        raise StuckError(item.n)
    if time.monotonic() - _first_seen.setdefault(item.n, time.monotonic()) < MOMENT_SECONDS:
        raise ConnectionError(item.n)


def __getattr__(name: str) -> App:
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    return build(name)
