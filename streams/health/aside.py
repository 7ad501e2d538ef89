"""What a processor has put aside, counted from its topics: what waits, what is parked, open dead letters."""

from __future__ import annotations

from streams.dlq.letter import Letter
from streams.dlq.queue import Queue
from streams.dlq.waiting import Decode, waiting
from streams.failures.waiting_record import WaitingStatus
from streams.health.words import Finding
from streams.kafka.admin import Admin
from streams.record import TopicPartition

MOST_READ = 200_000  # records of a topic; more are not read to count them


def set_aside(queue: Queue, admin: Admin, decode: Decode) -> list[Finding]:
    """Say what waits, is parked or was dead-lettered and is open.

    Raises:
        StreamsError: Kafka or the registry does not answer.
    """
    group, topics = queue.names.group, queue.topics
    said = []
    if queue.names.waiting in topics:
        said += _waiting(queue, decode)
    letters = queue.names.dead_letters
    if letters in topics:
        held = admin.ranges(TopicPartition(letters, number) for number in range(topics[letters]))
        size = sum(span.end - span.start for span in held.values())
        count = f"up to {size}" if size > MOST_READ else str(_open(queue) if size else 0)
        if count != "0":
            said.append(Finding(f"{count} dead letters are open", f"`streams dlq list {group}`, redrive or drop them"))
    return said


def _waiting(queue: Queue, decode: Decode) -> list[Finding]:
    waiters = waiting(queue.waiting_records(), decode).waiters
    parked = [one for one in waiters if one.head.status is WaitingStatus.PARKED]
    retried = [one for one in waiters if one.head.status is not WaitingStatus.PARKED]
    said = []
    if retried:
        last = max(retried, key=lambda one: one.head.failed_ms).head
        records = sum(1 + one.behind for one in retried)
        what = (
            f"{records} records of {len(retried)} keys wait for another attempt, lately for {last.kind}: {last.message}"
        )
        said.append(Finding(what))
    if parked:
        records = sum(1 + one.behind for one in parked)
        fix = f"`streams dlq list {queue.names.group} --parked`, mend the cause, then redrive or drop them"
        said.append(Finding(f"{records} records of {len(parked)} keys are parked", fix))
    return said


def _open(queue: Queue) -> int:
    settled = queue.settled()
    return sum(not isinstance(letter, Letter) or letter.place not in settled for letter in queue.letters())
