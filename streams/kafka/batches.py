"""Writing in transactions of its own, without consumed offsets: a batch of records is committed whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException

from streams.errors import AbortedError, FencedError, StreamsError
from streams.failpoints import Failpoint, reach
from streams.kafka.errors import error_of
from streams.kafka.producer import TransactionalProducer
from streams.record import RawRecord

_TRIES = 3
_TAKEN_OVER = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - librdkafka's local error codes are spelled so
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)


class TakenOverError(FencedError):
    """Somebody else started with the same transactional id."""


class BatchProducer(TransactionalProducer):
    """Commits batch after batch; whoever starts later with the same transactional id ends it."""

    def commit_batch(self, records: Sequence[RawRecord]) -> None:
        """Send records and commit them.

        A transaction that fails for a reason outside of the records is tried again.

        Raises:
            SendError: the broker refuses one of them for good; none was committed.
            TakenOverError: another producer has the id.
            FencedError: it is not known whether they were committed.
            StreamsError: they could not be committed; none was.
        """
        try:
            for left in reversed(range(_TRIES)):
                if self._committed(records, last=not left):
                    return
        except FencedError as error:
            if _fenced(error):
                raise TakenOverError(error.what, where=error.where) from error
            raise

    def _committed(self, records: Sequence[RawRecord], *, last: bool) -> bool:
        """Try once; an aborted transaction is nobody's fault unless a record is to blame, or it is the last try."""
        try:
            self._send_and_commit(records)
        except AbortedError as error:
            self.abort()
            if error.fault is not None:
                raise error.fault from error
            if last:
                raise StreamsError(
                    f"Kafka does not take the records: {error}",
                    fix="check the permissions of the topics and the broker, and run it again",
                ) from error
            return False
        return True

    def _send_and_commit(self, records: Sequence[RawRecord]) -> None:
        self.send(records)
        reach(Failpoint.PRODUCED)
        self.flush()
        reach(Failpoint.FLUSHED)
        reach(Failpoint.COMMIT_SENT)
        self._call(self._producer.commit_transaction, "committing")
        self._open = False
        reach(Failpoint.COMMITTED)


def _fenced(error: BaseException | None) -> bool:
    """Tell whether the client said that another one has its id, anywhere on the way to this error."""
    while error is not None:
        if isinstance(error, KafkaException) and error_of(error).code() in _TAKEN_OVER:
            return True
        error = error.__cause__ or error.__context__
    return False
