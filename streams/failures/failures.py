"""Answering failures: a record that fails waits, is given up or stops the worker, as the policy says. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streams.errors import DroppedError, RecordError, RetryLaterError, StoppedError
from streams.failures.dead_letters import Refusal, dead_letter, describe
from streams.failures.judgement import Judgement
from streams.failures.policy import Failure, FailurePolicy, Retry
from streams.failures.waiting import Waiting
from streams.failures.waiting_record import WaitingStatus
from streams.record import UNSET, RawRecord
from streams.topology import Processor

Told = tuple[RawRecord, RecordError, str]
"""A record, what was wrong with it, and what became of it."""

Answer = tuple[list[RawRecord], str]
"""The dead letters of a record, and what became of it: `waiting`, `parked`, `skipped`, or a dead letter's stage."""


class Failures:
    """Answers the failures of one task; what they leave behind goes through the task's own state and outputs."""

    def __init__(
        self, processor: Processor, waiting: Waiting | None, judgement: Judgement, *, in_place: bool = False
    ) -> None:
        """`waiting` is None for a processor whose policy lets nothing wait; `judgement` is shared by its tasks.

        With `in_place` and no `waiting`, a record to be tried again holds its partition: it is not given up at once.
        """
        self.waiting = waiting
        self._in_place = in_place and waiting is None
        self._trying = (UNSET, 0, 0)  # the offset tried in its place, its failures, and when it failed first
        self.judgement = judgement
        self._policy = processor.on_failure
        self._group = processor.group
        self._dead_letter_topic = processor.dead_letter_topic
        self._handler = f"{processor.handler.__module__}.{processor.handler.__qualname__}"
        self._batch: Sequence[RawRecord] = ()
        self._noted = 0
        self._again = False
        self._queued: set[int] = set()  # of the batch
        self._told: list[Told] = []

    def begin(self, batch: Sequence[RawRecord], *, again: bool) -> None:
        """Take up the records that are handled next, in their order; `again` says that they were before."""
        self._batch, self._noted, self._again = batch, 0, again
        self._queued.clear()

    def end(self, consumed: int) -> None:
        """Say that so many of them were dealt with."""
        self._note(consumed, last_failed=False)

    def queue(self, record: RawRecord, now_ms: int) -> bool:
        """Put a record behind the ones of its key that wait, and tell whether that is where it is.

        Raises:
            WaitingFullError: it has to, and there is no room.
        """
        waiting = self.waiting
        if waiting is None or not waiting.blocks(record.key) or waiting.is_first(record.offset):
            return False
        if waiting.find(record.offset) is None:
            waiting.add(record, WaitingStatus.QUEUED, due_ms=now_ms, now_ms=now_ms, error=None)
        self._queued.add(record.offset)
        return True

    def dealt_with(self, record: RawRecord) -> None:
        """Let a record go that waited, if it did."""
        if self.waiting is not None and self.waiting.find(record.offset) is not None:
            self.waiting.done(record.offset)

    def answer(self, record: RawRecord, error: RecordError, now_ms: int) -> Answer:
        """Say what becomes of a record that failed, and do it (INV-4, INV-9).

        Raises:
            StoppedError: the policy is STOP.
            WaitingFullError: it has to wait, and there is no room.
            RetryLaterError: it is tried again in its place.
        """
        answer = self._policy.answer(error)
        if answer.pauses and self.waiting is not None:
            self._note_failure(record)  # what is given up at once is never tried again, so a pause would have no end
        failures, since = self._so_far(record, now_ms)
        then, due_ms = answer.then, self._due(answer, failures, since, now_ms, record.offset)
        if due_ms is not None and self._in_place:
            self._trying = (record.offset, failures, since)
            if failures == 1:
                self._told.append((record, error, "tried again in its place"))
            raise RetryLaterError(due_ms)
        if due_ms is not None:
            return self._wait(record, error, WaitingStatus.RETRYING, due_ms, now_ms)
        if then is FailurePolicy.PARK and self.waiting is not None:
            return self._wait(record, error, WaitingStatus.PARKED, now_ms, now_ms)
        if then is FailurePolicy.STOP:
            raise StoppedError(
                f"a record failed in {error.stage} and the policy is STOP: {describe(error)}",
                where=f"{record.topic}[{record.partition}] offset {record.offset}",
                fix="mend the handler or the record, or choose on_failure=DEAD_LETTER",
            ) from error
        self.dealt_with(record)
        self._told.append((record, error, then.value))
        if then is FailurePolicy.SKIP:
            return [], "skipped"
        return [dead_letter(record, self._refusal(error, failures, now_ms), self._dead_letter_topic)], error.stage

    def release(self, key: bytes | None, offset: int | None, now_ms: int) -> None:
        """Have what waits of a key, or the one record of it, tried at once."""
        for at in self._waiting_of(key, offset):
            assert self.waiting is not None
            self.waiting.release(at, now_ms)

    def drop(self, key: bytes | None, offset: int | None, now_ms: int) -> list[RawRecord]:
        """Give up what waits of a key, or the one record of it; return its dead letters."""
        letters: list[RawRecord] = []
        for at in self._waiting_of(key, offset):
            assert self.waiting is not None
            entry, record = self.waiting.find(at), self.waiting.record(at)
            self.waiting.done(at)
            given_up = self._refusal(DroppedError("given up by hand"), entry.attempts if entry else 0, now_ms)
            letters.append(dead_letter(record, given_up, self._dead_letter_topic))
        return letters

    def take_told(self) -> list[Told]:
        """Return what failed for the first time or for good since the last call, for the log."""
        taken, self._told = self._told, []
        return taken

    def _so_far(self, record: RawRecord, now_ms: int) -> tuple[int, int]:
        """Return which failure of a record this is, and when it failed first."""
        if self._in_place:
            offset, failures, since = self._trying
            return (failures + 1, since) if offset == record.offset else (1, now_ms)
        entry = None if self.waiting is None else self.waiting.find(record.offset)
        if entry is None:
            return 1, now_ms
        return entry.attempts + 1, entry.failed_ms if entry.attempts else now_ms

    def _due(self, answer: Failure, failures: int, since: int, now_ms: int, salt: int) -> int | None:
        """Return when a record is tried again; None if it is given up."""
        if self.waiting is None and not self._in_place:
            return None
        due_ms = None if answer.retry is None else answer.retry.due_ms(failures, since, now_ms, salt)
        if due_ms is None and answer.pauses and self.judgement.suspended:
            return now_ms + (answer.retry or Retry()).delay_ms(failures, salt)
        return due_ms

    def _wait(self, record: RawRecord, error: RecordError, status: WaitingStatus, due_ms: int, now_ms: int) -> Answer:
        assert self.waiting is not None, "a policy that lets records wait comes with a store for them"
        if self.waiting.find(record.offset) is None:
            self.waiting.add(record, status, due_ms=due_ms, now_ms=now_ms, error=error)
            self._told.append((record, error, status.lower()))
        else:
            self.waiting.failed(record.offset, status, due_ms=due_ms, now_ms=now_ms, error=error)
        return [], "parked" if status is WaitingStatus.PARKED else "waiting"

    def _refusal(self, error: RecordError, attempts: int, now_ms: int) -> Refusal:
        return Refusal(error, self._group, self._handler, attempts, now_ms)

    def _waiting_of(self, key: bytes | None, offset: int | None) -> list[int]:
        if self.waiting is None:
            return []
        return [at for at in self.waiting.of_key(key) if offset in {None, at}]

    def _note_failure(self, record: RawRecord) -> None:
        at = next((at for at in range(self._noted, len(self._batch)) if self._batch[at] is record), None)
        if at is not None:
            self._note(at + 1, last_failed=True)

    def _note(self, until: int, *, last_failed: bool) -> None:
        """Tell the judgement how the records fared; those that were queued did not fare at all."""
        handled: Sequence[RawRecord] = self._batch[self._noted : until]
        if self._queued:
            handled = [one for one in handled if one.offset not in self._queued]
        self.judgement.note(handled, last_failed=last_failed, again=self._again)
        self._noted = max(self._noted, until)
