"""Reading what partitions hold now, from a start to the ends they had when they were asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streams.kafka.admin import Range
from streams.kafka.consumer import Reader
from streams.record import RawRecord, TopicPartition

BATCH = 5_000
WAIT = 0.2  # seconds
TAIL = 100  # offsets


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


def edge_times(reader: Reader, spans: Mapping[TopicPartition, Range]) -> dict[TopicPartition, tuple[int, int]]:
    """Return the timestamps of the first and of the last committed record of each span; none for one without any.

    The last one is looked for among a span's last 100 offsets, and is the first one's where they hold none.
    """
    first = _first_records(reader, spans)
    tails = {tp: Range(max(spans[tp].end - TAIL, found.offset), spans[tp].end) for tp, found in first.items()}
    last = {record.origin: record for batch in read_through(reader, tails) for record in batch}
    return {tp: (found.timestamp_ms, last.get(tp, found).timestamp_ms) for tp, found in first.items()}


def _first_records(reader: Reader, spans: Mapping[TopicPartition, Range]) -> dict[TopicPartition, RawRecord]:
    found: dict[TopicPartition, RawRecord] = {}
    unfinished = {tp for tp, span in spans.items() if span.start < span.end}
    reader.follow({tp: spans[tp].start for tp in unfinished})
    while unfinished:
        polled = reader.poll(len(unfinished), WAIT)
        for record in polled.records:
            if record.offset < spans[record.origin].end:
                found.setdefault(record.origin, record)
        reached = {record.origin for record in polled.records} | polled.ends.keys()
        unfinished -= reached
        reader.unfollow(reached)
    return found
