"""The writing clients of a worker: transactional, and without transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streams.errors import AbortedError, FencedError, SendError
from streams.failpoints import Failpoint, reach
from streams.record import RawRecord, TopicPartition
from streams.testing.memory.group import Membership
from streams.testing.memory.log import Log, Outcome, Transaction

TRANSMITTED_AT_ONCE = 3  # records that a producer keeps before it sends them on its own

Delivered = Callable[[int], None]


class OutcomeUnknown(BaseException):
    """Raised at `commit-sent`: the answer to the commit never comes, whether or not the broker did it."""

    def __init__(self, *, committed: bool) -> None:
        super().__init__(committed)
        self.committed = committed


class _Queue:
    """Records that were handed over and not yet sent."""

    def __init__(self, log: Log, takes: Callable[[RawRecord], bool]) -> None:
        self._log = log
        self._takes = takes
        self._waiting: list[tuple[RawRecord, Delivered | None]] = []
        self.refused: SendError | None = None

    def add(self, record: RawRecord, delivered: Delivered | None = None) -> None:
        self._waiting.append((record, delivered))

    def __len__(self) -> int:
        return len(self._waiting)

    def clear(self) -> None:
        self._waiting.clear()
        self.refused = None

    def transmit(self, transaction: Transaction | None, writer: str) -> None:
        waiting, self._waiting = self._waiting, []
        for record, delivered in waiting:
            if not self._takes(record):
                fix = f"raise max.message.bytes of {record.topic}"
                self.refused = self.refused or SendError("too large", topic=record.topic, fix=fix)
                continue
            offset = self._log.append(record, transaction, writer)
            if delivered is not None:
                delivered(offset)


class MemoryProducer:
    """Transactional, as the worker's `Output`; an earlier producer of the same id is fenced.

    `called` hears of every call before it has an effect, and may fail it.
    """

    def __init__(
        self,
        log: Log,
        name: str,
        called: Callable[[str], None] = lambda _name: None,
        *,
        timeout: float = float("inf"),
        takes: Callable[[RawRecord], bool] | None = None,
    ) -> None:
        """`timeout` is how many seconds a transaction may be open; `takes` says what the broker accepts."""
        self._log = log
        self._called = called
        self._timeout = timeout
        self._queue = _Queue(log, takes or log.takes)
        self._fenced = False
        self._last: Transaction | None = None
        self._tainted = False
        self.name = name
        self.transaction: Transaction | None = None
        reach(Failpoint.PRODUCER_STARTING)
        if name in log.producers:
            log.producers[name].fence()
        log.producers[name] = self

    def fence(self) -> None:
        """Roll back what is open; nothing works any more."""
        self._fenced = True
        self._roll_back()

    def expire(self) -> None:
        """Be fenced if the open transaction is too old, as the broker does from time to time."""
        if self.transaction is not None and self._log.seconds() - self.transaction.begun > self._timeout:
            self.fence()

    def send(self, records: list[RawRecord]) -> None:
        """Hand records over."""
        self._begin("send")
        for record in records:
            self._queue.add(record)
        if len(self._queue) > TRANSMITTED_AT_ONCE:
            self._transmit()

    def send_tracked(self, record: RawRecord, delivered: Delivered) -> None:
        """Hand one record over and learn its offset during `flush`."""
        self._begin("send_tracked")
        self._queue.add(record, delivered)

    def flush(self) -> None:
        """Send what waits."""
        self._check("flush")
        self._transmit()

    def commit(self, offsets: Mapping[TopicPartition, int], group: Membership) -> None:
        """Commit the transaction with the offsets in it."""
        self._begin("commit")
        assert self.transaction is not None
        if self._queue.refused:
            raise AbortedError(str(self._queue.refused), self._queue.refused)
        if not group.holds():
            raise AbortedError("unknown member")
        self.transaction.offsets.update(offsets)
        self.transaction.group = group.group
        reach(Failpoint.OFFSETS_SENT)
        try:
            reach(Failpoint.COMMIT_SENT)
        except OutcomeUnknown as unknown:
            self._alive()
            if unknown.committed:
                self._decide(Outcome.COMMITTED)
            raise FencedError("the outcome of a commit is unknown") from None
        self._alive()
        self._decide(Outcome.COMMITTED)
        self._called("committed")

    def abort(self) -> None:
        """Roll the open transaction back; the next one gets a fresh producer."""
        self._check("abort")
        reach(Failpoint.ABORTING)
        self._tainted = self.transaction is not None
        self._roll_back()

    def _roll_back(self) -> None:
        self._queue.clear()
        if self.transaction is not None:
            self._decide(Outcome.ABORTED)

    def _decide(self, outcome: Outcome) -> None:
        assert self.transaction is not None
        self._log.decide(self.transaction, outcome)
        self._last, self.transaction = self.transaction, None

    def _begin(self, name: str) -> None:
        self._check(name)
        if self.transaction is not None:
            return
        if self._tainted:
            reach(Failpoint.PRODUCER_STARTING)
            self._tainted = False
        if self._last is not None:
            self._log.complete(self._last)
        self.transaction = Transaction(self._log.seconds())

    def _check(self, name: str) -> None:
        self._alive()
        self._called(name)

    def _alive(self) -> None:
        self.expire()
        if self._fenced:
            raise FencedError("fenced")

    def _transmit(self) -> None:
        if self.transaction is None:
            self._queue.clear()  # the broker takes no record of a transaction that is over, and flush says nothing
        self._queue.transmit(self.transaction, self.name)


class PlainProducer:
    """Without transactions: what was sent stays sent, and offsets are committed beside it (at least once)."""

    def __init__(
        self,
        log: Log,
        name: str,
        called: Callable[[str], None] = lambda _name: None,
        *,
        takes: Callable[[RawRecord], bool] | None = None,
    ) -> None:
        self._log = log
        self._called = called
        self._queue = _Queue(log, takes or log.takes)
        self.name = name
        self.transaction: None = None
        reach(Failpoint.PRODUCER_STARTING)

    def fence(self) -> None:
        """Have nothing to roll back."""

    def expire(self) -> None:
        """Have no transaction that could be too old."""

    def send(self, records: list[RawRecord]) -> None:
        """Hand records over."""
        self._called("send")
        for record in records:
            self._queue.add(record)
        if len(self._queue) > TRANSMITTED_AT_ONCE:
            self._queue.transmit(None, self.name)

    def send_tracked(self, record: RawRecord, delivered: Delivered) -> None:
        """Hand one record over and learn its offset during `flush`."""
        self._called("send_tracked")
        self._queue.add(record, delivered)

    def flush(self) -> None:
        """Send what waits."""
        self._called("flush")
        self._queue.transmit(None, self.name)
        if self._queue.refused:
            raise AbortedError(str(self._queue.refused), self._queue.refused)

    def commit(self, offsets: Mapping[TopicPartition, int], group: Membership) -> None:
        """Commit the offsets as a member of the group."""
        self._called("commit")
        if not group.holds():
            raise AbortedError("unknown member")
        reach(Failpoint.OFFSETS_SENT)
        try:
            reach(Failpoint.COMMIT_SENT)
        except OutcomeUnknown as unknown:
            if unknown.committed:
                self._commit(offsets, group)
            raise FencedError("the outcome of a commit is unknown") from None
        self._commit(offsets, group)
        self._called("committed")

    def abort(self) -> None:
        """Drop what was not sent."""
        self._called("abort")
        reach(Failpoint.ABORTING)
        self._queue.clear()

    def _commit(self, offsets: Mapping[TopicPartition, int], group: Membership) -> None:
        self._log.offsets.setdefault(group.group, {}).update(offsets)
        self._log.changes += 1
