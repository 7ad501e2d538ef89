"""Stamps: without a transaction, what a changelog record says of the commit that it was sent for.

It can be in its topic although that commit never came. Whoever reads the topic leaves such rows out, and the task
writes the committed value of their keys again: once later offsets are committed, nobody could tell them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streams.record import RawRecord, TopicPartition

SOURCE = "streams.source"
"""The header of a changelog record: the offset of the task's input that was to be committed with it."""

SOURCE_BACK = "streams.source.back"
"""The same for the offset of what came back to the task, if that was to be committed too."""

RESET = "streams.reset"
"""The header of a changelog record that a reset of the group left: the offset of the input that it went to."""


class Committed(NamedTuple):
    """What is committed of a task: the offset of its input, and that of what came back to it."""

    source: int = 0
    back: int = 0


def committed_rows(
    records: Sequence[RawRecord], newest: int, committed: Committed, doubtful: dict[bytes, int] | None = None
) -> tuple[list[RawRecord], int]:
    """Return the rows of a changelog that belong to the state, and the newest offset of the input they stand for.

    Rows without a stamp were committed in a transaction. The others were sent before their commit, which may not
    have come; and an owner that was replaced without knowing it may have sent some after its successor. `newest` is
    the newest offset before these records. The keys of rows whose commit did not come are put into `doubtful`, each
    with the offset from which on its row would count; and so are those of rows behind them with a lower stamp, which
    would not count from then on. What a reset left behind it has dealt with itself.
    """
    rows = []
    doubtful = {} if doubtful is None else doubtful
    horizon = max(doubtful.values(), default=0)
    for record in records:
        if not record.headers:
            rows.append(record)
            continue
        if (reset := _number(record, RESET)) is not None:
            newest = reset
            doubtful.clear()
            horizon = 0
        stamp, back = _number(record, SOURCE), _number(record, SOURCE_BACK) or 0
        if back > committed.back or (stamp or 0) > committed.source:
            horizon = max(horizon, stamp or 0)
            if record.key is not None:
                doubtful[record.key] = max(stamp or 0, doubtful.get(record.key, 0))
        elif stamp is None or newest <= stamp:
            newest = newest if stamp is None else stamp
            rows.append(record)
            if stamp is not None and stamp < horizon and record.key is not None:
                doubtful[record.key] = horizon
    return rows, newest


def committed_by_partition(offsets: Mapping[TopicPartition, int], redrive: str) -> dict[int, Committed]:
    """Sort a group's committed offsets by partition: those of topic `redrive`, and those of its input.

    Of an input that had another name once, the higher offset counts: rather too many rows than too few.
    """
    found: dict[int, Committed] = {}
    for (topic, number), at in offsets.items():
        source, back = found.get(number, Committed())
        found[number] = Committed(source, at) if topic == redrive else Committed(max(source, at), back)
    return found


def only_committed(records: Iterable[RawRecord], committed: Mapping[int, Committed]) -> Iterator[RawRecord]:
    """Yield the committed rows of a changelog from its beginning; `committed` is by partition."""
    newest = Counter[int]()
    for record in records:
        number = record.partition
        rows, newest[number] = committed_rows([record], newest[number], committed.get(number, Committed()))
        yield from rows


def _number(record: RawRecord, header: str) -> int | None:
    written = next((value for name, value in record.headers if name == header), None)
    return int(written) if written is not None and written.isdigit() else None
