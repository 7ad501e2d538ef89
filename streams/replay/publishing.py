"""Publishing what a replay gives, in transactions that carry its place: what was published is never published again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from streams.kafka import config
from streams.kafka.offsets import GroupOffsets, Place
from streams.kafka.producer import TransactionalProducer
from streams.record import RawRecord, TopicPartition
from streams.replay.job import Parts, noted, recalled, resumed
from streams.settings import Settings

TIMEOUT = 30.0  # seconds


class PublishOutlet:
    """The outlet of a job; a second process with the same job fences the first. As a context it closes itself."""

    def __init__(self, settings: Settings, group: str, batch_bytes: int, topic: str | None) -> None:
        """Take the job over; `topic` takes all outputs, instead of their own topics."""
        self._topic = topic
        self._notes: dict[TopicPartition, str] = {}
        client = config.transactional_producer(settings, group, batch_bytes)
        self._producer = TransactionalProducer(client, settings.transaction_timeout.total_seconds())
        self._offsets = GroupOffsets(settings, group, TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()
        self._offsets.__exit__()

    def begin(
        self,
        job: str,
        asked: Mapping[str, object],
        planned: Parts,
        *,
        stateful: bool,
    ) -> Parts:
        """Go on with the job where it stands, or begin it as `planned`; return what is to be done.

        Raises:
            UsageError: the job was begun with other options.
        """
        places = self._offsets.committed(planned)
        known = recalled(job, places, asked)
        parts = known or planned
        self._notes = {tp: noted(part, asked) for tp, part in parts.items()}
        if known:
            return resumed(known, places, stateful=stateful)
        self.commit({tp: part.span.start for tp, part in parts.items()})
        return parts

    def send(self, outputs: Sequence[RawRecord]) -> None:
        """Hand outputs over."""
        topic = self._topic
        self._producer.send(outputs if topic is None else [output._replace(topic=topic) for output in outputs])

    def commit(self, done: Mapping[TopicPartition, int]) -> None:
        """Commit outputs and places together.

        Raises:
            AbortedError: nothing was committed.
            FencedError: another process goes on with the job.
        """
        if not done:
            return
        self._producer.flush()
        places = {tp: Place(offset, self._notes[tp]) for tp, offset in done.items()}
        self._producer.commit_places(places, self._offsets.membership())

    def abort(self) -> None:
        """Take back what was sent since the last commit."""
        self._producer.abort()
