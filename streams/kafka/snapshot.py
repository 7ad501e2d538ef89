"""Reading what partitions hold now, from a start to the ends they had when they were asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streams.kafka.admin import Range
from streams.kafka.consumer import Reader
from streams.record import RawRecord, TopicPartition

BATCH = 5_000
WAIT = 0.2  # seconds


def read_through(reader: Reader, spans: Mapping[TopicPartition, Range]) -> Iterator[list[RawRecord]]:
    """Yield the committed records of the spans in batches; what is appended meanwhile is left out."""
    unfinished = {tp for tp, span in spans.items() if span.start < span.end}
    reader.follow({tp: spans[tp].start for tp in unfinished})
    while unfinished:
        polled = reader.poll(BATCH, WAIT)
        inside = [record for record in polled.records if record.offset < spans[record.origin].end]
        if inside:
            yield inside
        reached = {record.origin for record in polled.records if record.offset + 1 >= spans[record.origin].end}
        reached |= {tp for tp, end in polled.ends.items() if end >= spans[tp].end}
        unfinished -= reached
        reader.unfollow(reached)
