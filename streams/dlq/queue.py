"""Reading what a processor's group did not deal with: its dead letters, what was done with them, what waits."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from streams.dlq.letter import Letter, NotALetter, Place, read_letter
from streams.dlq.notes import Names, settled
from streams.errors import IncompatibleError, UsageError
from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.kafka.snapshot import read_through
from streams.record import RawRecord, TopicPartition
from streams.settings import Settings
from streams.state.stamps import committed_by_partition, only_committed


class Queue:
    """The topics of one group. What is read ends where it ended when it was first asked for.

    Every call may raise UnreachableError or another StreamsError of the cluster.
    """

    def __init__(self, settings: Settings, group: str, admin: Admin | None = None) -> None:
        self._settings = settings
        self._admin = admin or Admin(settings)
        self.names = Names(group)
        self.topics = self._admin.topics()
        """Every topic of the cluster with its number of partitions."""
        self._ends: dict[str, dict[TopicPartition, Range]] = {}

    def letters(self) -> Iterator[Letter | NotALetter]:
        """Yield what the dead-letter topic holds, in the order of each partition."""
        return map(read_letter, self._records(self.names.dead_letters))

    def letter(self, place: Place) -> Letter | NotALetter:
        """Return one dead letter.

        Raises:
            UsageError: there is none at the place.
        """
        topic = self.names.dead_letters
        found = self._one(topic, place)
        if found is None:
            raise UsageError(
                f"there is no dead letter {place} in {topic}", fix="`streams dlq list` shows where some lie"
            )
        return read_letter(found)

    def settled(self) -> dict[Place, str]:
        """Return the dead letters that are no longer open, and what was done with each."""
        return settled(self.redrive_records())

    def redrive_records(self) -> Iterator[RawRecord]:
        """Yield what the redrive topic holds: notes, commands and re-driven records."""
        return self._records(self.names.redrive) if self.names.redrive in self.topics else iter(())

    def waiting_records(self) -> Iterator[RawRecord]:
        """Yield the committed rows of what waits; the newest of each key counts.

        Without transactions others may lie between them, of a worker that died before it could commit them.
        """
        rows = self._records(self.names.waiting)
        offsets = self._admin.committed(self.names.group)  # asked once it is known where the rows end
        return only_committed(rows, committed_by_partition(offsets, self.names.redrive))

    def look_again(self) -> None:
        """Read notes up to where they end now; everything else still ends where it ended."""
        self._ends.pop(self.names.redrive, None)

    def require(self, topic: str) -> None:
        """Check that a topic exists.

        Raises:
            UsageError: it does not; says which groups have one of the kind.
        """
        if topic in self.topics:
            return
        kind = topic.rpartition(".")[2]
        groups = sorted(name.removesuffix(f".{kind}") for name in self.topics if name.endswith(f".{kind}"))
        near = difflib.get_close_matches(self.names.group, groups, 1)
        known = f"did you mean {near[0]}?" if near else f"groups that have one: {', '.join(groups[:10]) or 'none'}"
        raise UsageError(f"there is no topic {topic}", fix=f"{known}; `streams topic create MODULE:APP` makes topics")

    def require_redrive(self, topic: str) -> None:
        """Check that notes about the records of `topic` can be written.

        Raises:
            IncompatibleError: the redrive topic does not exist, or has fewer partitions.
        """
        redrive, needed = self.names.redrive, self.topics[topic]
        if self.topics.get(redrive, 0) < needed:
            found = f"has {self.topics[redrive]} partitions" if redrive in self.topics else "does not exist"
            raise IncompatibleError(
                f"topic {redrive} {found}, and {topic} has {needed}: there is no place to note what is done",
                fix="make it with `streams topic create MODULE:APP`, with as many partitions as the processor's input",
            )

    def smallest_limit(self, topics: set[str]) -> int:
        """Return the `max.message.bytes` of the topic that takes the least."""
        configs = self._admin.topic_config(sorted(topics & self.topics.keys()))
        return min(int(found["max.message.bytes"]) for found in configs.values())

    def _spans(self, topic: str) -> dict[TopicPartition, Range]:
        if topic not in self._ends:
            self._ends[topic] = self._admin.ranges(TopicPartition(topic, p) for p in range(self.topics[topic]))
        return self._ends[topic]

    def _records(self, topic: str) -> Iterator[RawRecord]:
        self.require(topic)
        return self._read(self._spans(topic))

    def _one(self, topic: str, place: Place) -> RawRecord | None:
        self.require(topic)
        span = self._spans(topic).get(TopicPartition(topic, place.partition))
        if span is None or not span.start <= place.offset < span.end:
            return None
        wanted = {TopicPartition(topic, place.partition): Range(place.offset, place.offset + 1)}
        return next(self._read(wanted), None)

    def _read(self, spans: dict[TopicPartition, Range]) -> Iterator[RawRecord]:
        reader = Reader(config.reader(self._settings, "streams-dlq"))
        try:
            for batch in read_through(reader, spans):
                yield from batch
        finally:
            reader.close()
