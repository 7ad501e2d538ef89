"""What a processor still has to try again, told from the committed rows of its waiting records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.record import Record, TopicPartition


def tried_again(records: Iterable[Record[bytes | None, WaitingRecord | None]]) -> dict[TopicPartition, int]:
    """Count the records that are tried again or stand behind one that is, by partition; what is parked stays."""
    newest = {(record.origin, record.key): record.value for record in records}
    rows = [(at, row) for (at, _), row in newest.items() if row is not None]
    parked = {(at, row.key) for at, row in rows if row.status is WaitingStatus.PARKED}
    return dict(Counter(at for at, row in rows if (at, row.key) not in parked))
