"""Every error of the toolkit, by whose fault it is.

StreamsError                 what happened, where, what to do; carries the exit code of a command it stops
├─ UsageError           2    this program, command line or configuration
├─ UnreachableError     3    Kafka or the registry does not answer
├─ IncompatibleError    4    contracts, topics or state do not fit each other
├─ FencedError          5    the client was fenced or is broken for good: start afresh
├─ StoppedError         6    a failure policy said STOP
└─ StalledError         7    nothing was finished for as long as `stall_exit` allows
RecordError                  one record's fault; `stage` says where: decode, process, encode, send
├─ DecodeError               `kind` names the defect of the frame
├─ EncodeError
├─ HandlerError              raised by user code
├─ KilledError               its process died of it, again and again
├─ DroppedError              given up by hand while it waited
└─ SendError                 the broker refuses the record for good
RevokedError                 a handler outlived its worker's claim to the partition; what comes of it is dropped
HoldError                    the next record cannot be dealt with now, through no fault of its own
├─ UnknownSchemaError        its frame names a schema id that this worker has not fetched yet
├─ CircuitOpenError          an outside dependency that its handler needs is down
├─ WaitingFullError          it has to wait, and there is no room for it
└─ RetryLaterError           it failed, and is tried again in its place
ReplyTimeoutError            a request got no reply in time
AbortedError                 the open transaction cannot be committed; nothing of it will be seen
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

EXIT_FAILED = 1


class StreamsError(Exception):
    """A failure told as what happened, where, and what to do about it."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class UsageError(StreamsError):
    """The program, the command line or the configuration is wrong."""

    exit_code = 2


class UnreachableError(StreamsError):
    """Kafka or the schema registry does not answer."""

    exit_code = 3


class IncompatibleError(StreamsError):
    """Contracts, topics or local state do not fit each other."""

    exit_code = 4


class FencedError(StreamsError):
    """The client was fenced or is broken for good; a fresh process takes over."""

    exit_code = 5


class StoppedError(StreamsError):
    """A failure policy said STOP."""

    exit_code = 6


class StalledError(StreamsError):
    """A processor had work and finished nothing for as long as `stall_exit` allows."""

    exit_code = 7


class RecordError(Exception):
    """One record's fault, and nobody else's: the failure policy decides what becomes of the record."""

    stage: ClassVar[str]


class DecodeError(RecordError):
    """The bytes are not a valid frame of the schema they name; `kind` is a short stable name of the defect.

    `before` are the values of the frames before it, where several were to be decoded.
    """

    stage = "decode"

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.before: Sequence[Any] = ()

    def bare(self) -> Self:
        """Take off what leads back to the batch: kept with it, stack frames would keep all of it in a cycle."""
        self.before = ()
        for one in (self, self.__cause__):
            if one is not None:
                one.__traceback__ = None
        return self


class EncodeError(RecordError):
    """A value does not fit the schema of the topic it goes to."""

    stage = "encode"


class HandlerError(RecordError):
    """The handler raised; the user's exception is `__cause__`."""

    stage = "process"


class KilledError(RecordError):
    """The process died of this record, again and again; it was alone in its transaction."""

    stage = "process"
    kind = "killed"

    def __init__(self) -> None:
        super().__init__("the record killed its process each time that it was handled")


class DroppedError(RecordError):
    """Somebody gave a waiting record up by hand."""

    stage = "process"
    kind = "dropped"


class SendError(RecordError):
    """The broker refuses an output of the record for good, as too large for instance."""

    stage = "send"

    def __init__(self, what: str, *, topic: str = "", fix: str = "") -> None:
        """`topic` is where the output was to go, `fix` what would let it in."""
        super().__init__(f"{topic}: {what}" if topic else what)
        self.topic = topic
        self.fix = fix


class HoldError(Exception):
    """A record cannot be dealt with now, through no fault of its own: its partition is held until `ready` says so.

    The message tells people what it waits for, in a word or two.
    """

    def ready(self) -> bool:
        """Tell whether it is worth another try."""
        return True


class UnknownSchemaError(HoldError):
    """A frame names a schema id that has to be fetched first (INV-8: once, by the worker)."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id}")
        self.schema_id = schema_id


class CircuitOpenError(HoldError):
    """An outside dependency is not to be called now; `ready` tells when it may be tried again."""

    def __init__(self, dependency: str, ready: Callable[[], bool]) -> None:
        super().__init__(f"breaker {dependency}")
        self.dependency = dependency
        self._ready = ready

    def ready(self) -> bool:
        """Tell whether the dependency may be tried again."""
        return self._ready()


class WaitingFullError(HoldError):
    """A record of so many bytes has to wait, but the waiting store of its partition is full."""

    def __init__(self, size: int) -> None:
        super().__init__("waiting store full")
        self.size = size


class RetryLaterError(HoldError):
    """A record failed and is tried again in its place, for want of a store to wait in; all behind it wait too."""

    def __init__(self, due_ms: int) -> None:
        """`due_ms` is when, in milliseconds since the epoch."""
        super().__init__("retry")
        self.due_ms = due_ms


class RevokedError(Exception):
    """What the handler works for is another worker's by now, so it gets no state; whatever it gives is dropped."""

    def __init__(self) -> None:
        super().__init__("the partition of this record is no longer read by this worker; its result will be dropped")


class ReplyTimeoutError(TimeoutError):
    """No reply came in time; whether the request was or will be carried out is not known."""


class AbortedError(Exception):
    """The open transaction cannot be committed and has to be aborted; `fault` is set if a record is to blame."""

    def __init__(self, reason: str, fault: RecordError | None = None) -> None:
        super().__init__(reason)
        self.fault = fault
