"""What a test may let happen to a worker, at a named step of its straight path or between two turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Protocol

from streams.errors import AbortedError
from streams.failpoints import Failpoint
from streams.testing.memory import OutcomeUnknown


class ProcessDied(BaseException):
    """The process ends here, whatever it was doing."""


ANYWHERE = frozenset(Failpoint)
BEFORE_THE_COMMIT = frozenset(
    {
        Failpoint.PRODUCED,
        Failpoint.CHANGELOG_PRODUCED,
        Failpoint.FLUSHED,
        Failpoint.OFFSETS_SENT,
        Failpoint.COMMIT_SENT,
    }
)


class Host(Protocol):
    """What a fault does its work on: the worker process that reached the step, and the cluster around it."""

    def pass_time(self, by: timedelta) -> None:
        """Let the clock run."""

    def fence(self) -> None:
        """Take the worker's transactional id over."""

    def evict(self) -> None:
        """Stop the worker while the group throws it out and others take over; then let it go on."""

    def redeliver(self, records: int) -> None:
        """Let the worker get its last records once more."""

    def want_workers(self, count: int) -> None:
        """Have the processor run in so many workers from the next turn on."""

    def poison(self, value: bytes) -> None:
        """Append bytes to the processor's input."""

    def registry_down(self, length: timedelta) -> None:
        """Have the registry not answer for a while."""


class Fault(Protocol):
    """One thing that goes wrong."""

    kind: ClassVar[str]
    steps: ClassVar[frozenset[Failpoint]]  # where it can happen

    def __call__(self, host: Host) -> None:
        """Let it happen now; what it raises comes out of the step."""


@dataclass(frozen=True)
class Crash:
    """The worker process is killed; another one takes its slot over."""

    kind: ClassVar[str] = "crash"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE

    def __call__(self, host: Host) -> None:
        """Die."""
        del host
        raise ProcessDied


@dataclass(frozen=True)
class Rebalance:
    """The processor's partitions are shared by another number of workers."""

    kind: ClassVar[str] = "rebalance"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE
    workers: int = 2

    def __call__(self, host: Host) -> None:
        """Let workers join or leave."""
        host.want_workers(self.workers)


@dataclass(frozen=True)
class DuplicateDelivery:
    """Records that were delivered already are delivered again."""

    kind: ClassVar[str] = "duplicate-delivery"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE
    records: int = 3

    def __call__(self, host: Host) -> None:
        """Go back."""
        host.redeliver(self.records)


@dataclass(frozen=True)
class SlowCommit:
    """The step takes long; beyond `transaction_timeout` the broker has rolled the transaction back by then."""

    kind: ClassVar[str] = "slow-commit"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE
    length: timedelta = field(default=timedelta(seconds=1))

    def __call__(self, host: Host) -> None:
        """Wait."""
        host.pass_time(self.length)


@dataclass(frozen=True)
class FencedProducer:
    """Somebody else takes the worker's transactional id over."""

    kind: ClassVar[str] = "fenced"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE

    def __call__(self, host: Host) -> None:
        """Fence."""
        host.fence()


@dataclass(frozen=True)
class Eviction:
    """The worker stands still (as by SIGSTOP) until the group has thrown it out and others went on, and wakes up."""

    kind: ClassVar[str] = "evicted"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE

    def __call__(self, host: Host) -> None:
        """Throw out and wake up."""
        host.evict()


@dataclass(frozen=True)
class Abort:
    """The broker says that the transaction has to be aborted."""

    kind: ClassVar[str] = "abort"
    steps: ClassVar[frozenset[Failpoint]] = BEFORE_THE_COMMIT

    def __call__(self, host: Host) -> None:
        """Abort."""
        del host
        raise AbortedError("the test made it so")


@dataclass(frozen=True)
class UnknownOutcome:
    """The answer to the commit never comes; whether it was `committed` only the broker knows."""

    kind: ClassVar[str] = "unknown-outcome"
    steps: ClassVar[frozenset[Failpoint]] = frozenset({Failpoint.COMMIT_SENT})
    committed: bool = True

    def __call__(self, host: Host) -> None:
        """Leave the producer without an answer."""
        del host
        raise OutcomeUnknown(committed=self.committed)


@dataclass(frozen=True)
class RegistryUnavailable:
    """The schema registry does not answer for a while."""

    kind: ClassVar[str] = "registry-unavailable"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE
    length: timedelta = field(default=timedelta(seconds=1))

    def __call__(self, host: Host) -> None:
        """Go silent."""
        host.registry_down(self.length)


@dataclass(frozen=True)
class PoisonRecord:
    """Bytes that are no frame arrive in the processor's input."""

    kind: ClassVar[str] = "poison"
    steps: ClassVar[frozenset[Failpoint]] = ANYWHERE
    value: bytes = b"poison"

    def __call__(self, host: Host) -> None:
        """Append them."""
        host.poison(self.value)
