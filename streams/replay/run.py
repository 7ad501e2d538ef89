"""A replay from its parts: reader, handler, outlet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from streams.avro.registry import Registry
from streams.errors import UsageError
from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.kafka.snapshot import read_through
from streams.preflight import load_codecs
from streams.record import RawRecord
from streams.replay.handling import Handling, Refusal
from streams.replay.job import Parts
from streams.replay.rerun import Counts, Outlet, Rerun
from streams.settings import Settings
from streams.topology import Processor


class Hearing(NamedTuple):
    """Who is told what while a replay runs: refused records, offsets that are done with; and who may stop it."""

    refused: Callable[[Refusal], None]
    advanced: Callable[[int], None]
    stopping: Callable[[], bool]


def replay(
    processor: Processor, parts: Parts, outlet: Outlet, key: bytes | None, settings: Settings, hearing: Hearing
) -> Counts:
    """Run the processor's handler over the parts, of one key perhaps; return what was done.

    The group of the processor, its state and its topics are left alone; tables are read as they are now. If it was
    stopped, what was done counts.

    Raises:
        StreamsError: it cannot go on.
    """
    admin = Admin(settings, settings.start_timeout.total_seconds())
    with ExitStack() as resources:
        registry = resources.enter_context(closing(Registry(settings.schema_registry_url or "")))
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="streams-replay-")))
        codecs, event_ids = load_codecs(registry, processor), settings.guarantee == "at_least_once"
        handling = Handling(processor, codecs, registry, folder, parts, event_ids=event_ids)
        resources.callback(handling.close)
        reader = resources.enter_context(closing(Reader(config.reader(settings, f"{processor.group}.replay"))))
        handling.load(read_through(reader, admin.ranges(handling.tables())))
        rerun = Rerun(handling, outlet, parts, hearing.refused)
        for batch in _batches(reader, parts, hearing):
            rerun.handle([record for record in batch if key in {None, record.key}])
            if hearing.stopping():
                return rerun.counts
        rerun.finish()
        return rerun.counts


def raw_key(processor: Processor, written: str) -> bytes:
    """Return the bytes of a key as people write it: text, a number, or `0x…` for bytes.

    Raises:
        UsageError: it is no key of the processor's input.
    """
    codec = processor.source.key_codec
    try:
        if codec.type is bytes:
            return bytes.fromhex(written.removeprefix("0x")) if written.startswith("0x") else written.encode()
        return codec.encode(int(written) if codec.type is int else written)
    except ValueError as error:
        raise UsageError(
            f"{written!r} is no key of {processor.source.name}: {error}",
            fix="write a whole number" if codec.type is int else "write 0x and an even number of hex digits",
        ) from error


def _batches(reader: Reader, parts: Parts, hearing: Hearing) -> Iterator[list[RawRecord]]:
    """Read the parts, and tell of every offset once: of markers and what was compacted away too."""
    at = {tp: part.read_from for tp, part in parts.items()}
    for batch in read_through(reader, {tp: Range(part.read_from, part.span.end) for tp, part in parts.items()}):
        yield batch
        before = sum(at.values())
        at.update({record.origin: record.offset + 1 for record in batch})
        hearing.advanced(sum(at.values()) - before)
    hearing.advanced(sum(part.span.end - at[tp] for tp, part in parts.items()))
