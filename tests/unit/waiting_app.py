"""An app whose handler fails as a test wants it to, and what people send to its re-drive topic."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rig import Appended, Item, Items

from streams import App, Context, Failure, FailurePolicy, Store, Topic
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.record import Headers, RawRecord, Record
from streams.testing import Crash, MemoryDriver
from streams.topic import qualified
from streams.topology import Processor


class BrokenError(Exception):
    """What the handler raises."""


class OtherError(Exception):
    """What it raises for other items."""


@dataclass
class Flaky:
    """An app with one processor, `append`: it adds to the list of the key, then fails if it is told to."""

    app: App
    source: Topic[Item]
    out: Topic[Appended]
    lists: Store[str, Items]
    down: bool = False
    failing: set[str] = field(default_factory=set)  # keys
    poison: set[int] = field(default_factory=set)  # items that fail for ever
    other: set[int] = field(default_factory=set)  # items that fail with another error
    odd: set[int] = field(default_factory=set)  # items whose output does not encode
    large: set[int] = field(default_factory=set)  # items whose key in the output takes 6,000 bytes
    raising: Exception | None = None  # what fails whatever comes
    calls: list[tuple[str, int]] = field(default_factory=list)

    def attempts(self) -> Counter[int]:
        """Count how often each item was handled."""
        return Counter(n for _, n in self.calls)

    def handle(self, item: Item, ctx: Context) -> Appended:
        """Leave traces, and fail perhaps."""
        before = ctx.get(self.lists, item.key)
        items = (*(before.items if before else ()), item.n)
        ctx.put(self.lists, item.key, Items(items=items))
        self.calls.append((item.key, item.n))
        if self.raising is not None:
            raise self.raising
        if item.n in self.other:
            raise OtherError(item.n)
        if self.down or item.key in self.failing or item.n in self.poison:
            raise BrokenError(item.n)
        if item.n in self.odd:
            return Appended.model_construct(key=item.key, n="no number", size=0)
        return Appended(key=item.key + ("x" * 6_000 if item.n in self.large else ""), n=item.n, size=len(items))

    def frame(self, driver: MemoryDriver, item: Item) -> bytes:
        """Encode an item as its topic has it."""
        schema_id = driver.cluster.registry.register(self.source.subject, schema_of(Item).text)
        (frame,) = Codec(Item, schema_id).encode([item])
        return frame

    def record(self, driver: MemoryDriver, item: Item) -> RawRecord:
        """Make an item's record, for the workers to find."""
        return Record(self.source.name, item.key.encode(), self.frame(driver, item), driver.clock.now_ms())

    def log(self, driver: MemoryDriver, item: Item, partition: int) -> None:
        """Append an item to a partition, for the workers to find."""
        driver.cluster.log.append(self.record(driver, item)._replace(partition=partition))

    def crash(self, driver: MemoryDriver) -> None:
        """Kill the worker, and all that it keeps on its disk with it."""
        driver.inject(Crash())
        shutil.rmtree(driver.cluster.folder / "append")

    def redrive(self, driver: MemoryDriver, letter: RawRecord, count: int = 1) -> None:
        """Send a dead letter back as the tool does."""
        reason = dict(letter.headers)
        topic, at, offset = ((reason[f"__connect.errors.{name}"] or b"") for name in ("topic", "partition", "offset"))
        own = tuple(header for header in letter.headers if not header[0].startswith(("__connect.", "streams.")))
        added: Headers = (
            ("streams.origin", b"%b/%b/%b" % (topic, at, offset)),
            ("streams.redrives", b"%d" % count),
            ("streams.dead_letter", b"%d/%d" % (letter.partition, letter.offset)),
        )
        self.come_back(driver, letter.key, letter.value, own + added, int(at))

    def command(
        self,
        driver: MemoryDriver,
        what: str,
        key: bytes | None,
        *,
        offset: int | None = None,
        partition: int = 0,
        namespace: str = "",
    ) -> None:
        """Release or drop what waits of a key."""
        headers: Headers = (("streams.command", what.encode()),)
        if offset is not None:
            headers = (*headers, ("streams.offset", b"%d" % offset))
        self.come_back(driver, key, b"{}", headers, partition, namespace)

    def come_back(
        self,
        driver: MemoryDriver,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int = 0,
        namespace: str = "",
    ) -> None:
        """Append a record to the re-drive topic."""
        topic = qualified(namespace, self.processor.redrive_topic)
        driver.cluster.log.append(Record(topic, key, value, driver.clock.now_ms(), partition, headers=headers))

    @property
    def processor(self) -> Processor:
        """The processor, as Kafka knows it."""
        return self.app.processors["append"]

    def behind(self, driver: MemoryDriver) -> int:
        """Count what came back and is not committed."""
        return driver.cluster.log.lag(self.processor.group, self.processor.redrive_topic)

    def letters(self, driver: MemoryDriver) -> list[RawRecord]:
        """Return the dead letters as they lie in their topic."""
        return driver.cluster.log.committed(self.processor.dead_letter_topic)

    def came(self, driver: MemoryDriver) -> dict[str, list[int]]:
        """Return the items that came out, by key."""
        came: dict[str, list[int]] = {}
        for one in driver.published(self.out):
            came.setdefault(one.key, []).append(one.n)
        return came


def flaky(
    policy: Failure | FailurePolicy | None = None,
    *,
    partitions: int = 1,
    config: dict[str, str] | None = None,
    **settings: Any,
) -> Flaky:
    """Build the app; without a policy the default one holds."""
    app = App("flaky", settings=settings)
    source = app.topic("in", Item, key="key", partitions=partitions)
    out = app.topic("out", Appended, key="key", partitions=partitions, config=config or {})
    lists = app.store("lists", str, Items)
    made = Flaky(app, source, out, lists)

    def append(item: Item, ctx: Context) -> Appended:
        return made.handle(item, ctx)

    chosen = {} if policy is None else {"on_failure": policy}
    app.processor(source, to=out, uses=[lists], **chosen)(append)
    return made


def statuses(rows: list[WaitingRecord]) -> dict[int, WaitingStatus]:
    """Return the statuses of what waits by offset."""
    return {row.offset: row.status for row in rows}
