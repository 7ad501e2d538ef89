"""The production handler over throw-away state: tables as they are now, stores that begin empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from streams.assembly import open_state
from streams.avro.codec import Codec
from streams.avro.registry import UnknownIdError
from streams.columnar.task import open_task
from streams.errors import RecordError, StreamsError, UnknownSchemaError
from streams.failures.policy import FailurePolicy, as_failure
from streams.record import RawRecord, TopicPartition, runs
from streams.replay.handlers import in_this_thread
from streams.requests.replies import made_at
from streams.state.backend import Backend
from streams.state.task_state import Changes, TaskState
from streams.topology import Processor

Refusal = tuple[RawRecord, RecordError]


class Schemas(Protocol):
    """What is needed of the registry."""

    def schema(self, schema_id: int) -> str:
        """Return the text of a schema."""


class Handling:
    """The tasks of some partitions of a processor. What fails is reported: nothing waits, nothing is a dead letter."""

    def __init__(
        self,
        processor: Processor,
        codecs: Mapping[str, Codec[Any]],
        schemas: Schemas,
        folder: Path,
        partitions: Iterable[TopicPartition],
        *,
        event_ids: bool = False,
    ) -> None:
        """Open empty state below `folder`; `event_ids` says whether topics that say nothing of ids get them."""
        self._loop = asyncio.Runner()
        handler = in_this_thread(processor.handler, self._loop)
        skipping = as_failure(FailurePolicy.SKIP)
        self._processor = replace(processor, handler=handler, on_failure=skipping, waiting=None)
        self._codecs = codecs
        self._schemas = schemas
        self._states = {tp: _opened(self._processor, codecs, folder, tp.partition) for tp in partitions}
        self._tasks = {
            tp: open_task(self._processor, codecs, state, event_ids=event_ids) for tp, state in self._states.items()
        }

    def tables(self) -> list[TopicPartition]:
        """Return what the tables of these partitions are read from."""
        return [source for state in self._states.values() for source in state.sources() if state.is_table(source)]

    def load(self, rows: Iterable[Sequence[RawRecord]]) -> None:
        """Fill the tables."""
        for batch in rows:
            for source, run in runs(batch):
                state = next(one for one in self._states.values() if source in one.sources())
                state.follow(source, run, run[-1].offset + 1)

    def step(self, records: Sequence[RawRecord], expired: Callable[[], bool]) -> tuple[int, list[RawRecord]]:
        """Handle records of one partition as far as one step goes; return how many, and their outputs.

        Replies are left out: whoever asked has had one, or is gone.

        Raises:
            UnreachableError: the registry does not answer.
        """
        task = self._tasks[records[0].origin]
        while True:
            step = task.step(records, expired, 0)  # nothing waits, so the time does not matter
            if step.consumed or step.hold is None:
                return step.consumed, self._without_replies(step.outputs)
            if not isinstance(step.hold, UnknownSchemaError):
                raise StreamsError(f"the replay cannot go on: {step.hold}", fix="run it again once that has changed")
            self._learn(step.hold.schema_id)

    def take_refusals(self) -> list[Refusal]:
        """Return what failed since the last call."""
        return [(one, error) for task in self._tasks.values() for one, error, _ in task.failures.take_told()]

    def changes(self) -> dict[TopicPartition, list[Changes]]:
        """Serialise what the stores were given.

        Raises:
            EncodeError: a value does not fit its schema.
        """
        return {tp: state.changes() for tp, state in self._states.items()}

    def commit(self, changes: Mapping[TopicPartition, list[Changes]]) -> None:
        """Keep it."""
        for tp, state in self._states.items():
            state.committed(changes[tp], {})

    def discard(self) -> None:
        """Forget what the stores were given since the last commit."""
        for state in self._states.values():
            state.discard()
        self.take_refusals()

    def close(self) -> None:
        """Let go of the state; its folder can be deleted then."""
        self._loop.close()
        for state in self._states.values():
            state.close()

    def _without_replies(self, outputs: list[RawRecord]) -> list[RawRecord]:
        if self._processor.reply is None:
            return outputs
        return [output for output in outputs if made_at(output.topic, self._processor.source.name) is None]

    def _learn(self, schema_id: int) -> None:
        try:
            text = self._schemas.schema(schema_id)
        except UnknownIdError as unknown:
            for codec in self._codecs.values():
                codec.refuse(schema_id, unknown.what)
        else:
            for codec in self._codecs.values():
                codec.learn(schema_id, text)


def _opened(processor: Processor, codecs: Mapping[str, Codec[Any]], folder: Path, number: int) -> TaskState:
    path = folder / f"part-{number}"
    return open_state(processor, codecs, number, path, lambda names: Backend(path, names))
