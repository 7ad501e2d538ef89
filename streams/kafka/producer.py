"""Writing: one producer a worker, for outputs, changelogs and dead letters (INV-9), with or without transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assigned

from streams.errors import AbortedError, FencedError
from streams.failpoints import Failpoint, reach
from streams.kafka.config import Config
from streams.kafka.errors import error_of, refused, translate
from streams.kafka.offsets import Place, assigned
from streams.kafka.sending import Sending
from streams.record import TopicPartition

_log = structlog.get_logger(__name__)

# seconds; the client may refuse at once what the broker is not ready for, and asking on and on takes the broker's cores
_ASK_AGAIN = 0.1


class TransactionalProducer(Sending):
    """Opens a transaction with the first record, and ends it with `commit` or `abort`."""

    def __init__(self, config: Config, timeout: float) -> None:
        """Fence every earlier producer of the same id and roll its open transaction back.

        `timeout` bounds each call in seconds.

        Raises:
            UnreachableError: no broker answers within `timeout`.
            FencedError: the producer cannot be used.
        """
        self._open = False
        super().__init__(config, timeout)

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        """Commit the transaction with the consumed offsets in it; fenced by the group's generation.

        Raises:
            AbortedError: nothing was committed; abort and go back to the last committed offsets.
            FencedError: somebody else owns the id or the partitions, or the outcome is unknown: start afresh.
        """
        self._send_offsets([Assigned(tp.topic, tp.partition, offset) for tp, offset in offsets.items()], group)
        self._commit()

    def commit_places(
        self, places: Mapping[TopicPartition, Place], group: Any, confirm: Callable[[], None] = lambda: None
    ) -> None:
        """Commit the transaction with the places of a group in it that nobody is a member of.

        `confirm` is called while they are sent and not yet committed: what it raises leaves them uncommitted. A worker
        that joins after it waits for this transaction.

        Raises:
            AbortedError, FencedError: as `commit` does.
        """
        self._send_offsets(assigned(places), group)
        confirm()
        self._commit()

    def abort(self) -> None:
        """Roll the open transaction back. The next one gets a fresh producer.

        A refused record leaves the sequence of its partition broken for the producer that sent it (measured).

        Raises:
            FencedError: it could not be done; the broker does it when the id comes back or the time is up.
        """
        if not self._open:
            return
        self._producer.purge()
        reach(Failpoint.ABORTING)
        try:
            self._call(self._producer.abort_transaction, "aborting")
        except AbortedError as error:
            raise FencedError(f"the transaction could not be aborted: {error}") from error
        self._open = False
        self._tainted = True

    def close(self) -> None:
        """Roll back what is open, as far as that works, and let go."""
        try:
            self.abort()
        except FencedError as error:
            _log.warning("transaction left open", reason=str(error))

    def begin(self) -> None:
        """Open a transaction unless one is open.

        After a call that had to be repeated a late request may still be under way; only a new epoch fences it
        (transaction protocol V1, librdkafka#5423).
        """
        if self._open:
            return
        super().begin()
        self._call(lambda _left: self._producer.begin_transaction(), "beginning")
        self._open = True

    def _send_offsets(self, places: list[Assigned], group: Any) -> None:
        self.begin()
        self._call(lambda left: self._producer.send_offsets_to_transaction(places, group, left), "sending offsets")
        reach(Failpoint.OFFSETS_SENT)

    def _commit(self) -> None:
        reach(Failpoint.COMMIT_SENT)
        self._call(self._producer.commit_transaction, "committing")
        self._open = False

    def _start(self) -> None:
        super()._start()
        try:
            self._producer.init_transactions(self._timeout)
        except KafkaException as raised:
            error = error_of(raised)
            raise translate(error, "initialising transactions", self._config["bootstrap.servers"]) from raised

    def _call(self, request: Callable[[float], object], doing: str) -> None:
        """Make a transactional request; a retriable failure means an unknown outcome, so the same call is repeated."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                request(max(0.1, deadline - time.monotonic()))
            except KafkaException as raised:
                error = error_of(raised)
                if not error.retriable() or time.monotonic() >= deadline:
                    raise self._classified(raised, doing) from raised
                if not self._tainted:
                    _log.warning("asking again", doing=doing, reason=error.str())
                self._tainted = True
                time.sleep(_ASK_AGAIN)
            else:
                return

    def _why(self, raised: KafkaException, topic: str) -> AbortedError | FencedError:
        """Say why a record was not taken; after a failed delivery only the commit names the reason."""
        error = error_of(raised)
        if error.code() != KafkaError._STATE:
            return self._classified(raised, "sending") if error.fatal() else refused(error, topic)
        try:
            self.flush()
            self._producer.commit_transaction(self._timeout)
        except KafkaException as reason:
            return self._classified(reason, "sending")
        return FencedError("a transaction was committed that had failed", where=self._id())

    def _classified(self, raised: KafkaException, doing: str) -> AbortedError | FencedError:
        error = error_of(raised)
        if error.txn_requires_abort():
            return refused(error)
        return FencedError(
            f"the producer cannot go on while {doing}: {error.str()}",
            where=self._id(),
            fix="a fresh worker takes over; if this repeats, look for a second worker with the same state folder",
        )

    def _id(self) -> str:
        return f"transactional.id {self._config['transactional.id']}"


class AtLeastOnceProducer(Sending):
    """Sends without a transaction: what is sent stays sent, and an abort means that it is sent again."""

    def __init__(self, config: Config, timeout: float, commit: Callable[[Mapping[TopicPartition, int]], None]) -> None:
        """`commit` commits offsets as a member of the group; `timeout` bounds `flush` in seconds."""
        self._open = False
        self._commit = commit
        super().__init__(config, timeout)

    def begin(self) -> None:
        """Note that there is something to commit, or to abort."""
        super().begin()
        self._open = True

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        """Commit the consumed offsets; everything before them was acknowledged during `flush`.

        Raises:
            AbortedError: they may not be committed; abort and go back to the last committed offsets.
            FencedError: somebody else has this member's id: start afresh.
        """
        del group  # the consumer knows its generation
        reach(Failpoint.OFFSETS_SENT)
        reach(Failpoint.COMMIT_SENT)
        self._commit(offsets)
        self._open = False

    def abort(self) -> None:
        """Drop what was not sent yet. The next record gets a fresh producer.

        A refused record leaves the sequence of its partition broken for the producer that sent it (measured).
        """
        if not self._open:
            return
        self._producer.purge()
        reach(Failpoint.ABORTING)
        self._open = False
        self._tainted = True

    def close(self) -> None:
        """Drop what was not sent, and let go."""
        self.abort()

    def _why(self, raised: KafkaException, topic: str) -> AbortedError:
        return refused(error_of(raised), topic)
