"""What becomes of a record that fails: one policy for decode, process, encode and send. Pure: time is passed in."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache

from streams.duration import duration
from streams.errors import HandlerError, RecordError, UsageError

_JITTER = 1000  # steps between half of a delay and all of it


class FailurePolicy(Enum):
    """What becomes, in the end, of a record that cannot be decoded, processed, encoded or sent."""

    DEAD_LETTER = "dead-letter"  # its bytes go to the dead-letter topic, in the same transaction
    PARK = "park"  # it waits, and its key with it, until somebody releases it
    SKIP = "skip"  # it is counted and passed over
    STOP = "stop"  # the worker ends with exit code 6; nothing is committed past the record


@cache
def _range_ms(backoff: str) -> tuple[int, int]:
    first, _, last = backoff.partition("..")
    low, high = duration(first), duration(last or first)
    return round(low.total_seconds() * 1000), round(high.total_seconds() * 1000)


@dataclass(frozen=True)
class Retry:
    """How often, how soon and for how long a failed record is tried again; it waits durably, and its key with it.

    Delays double from the first one of `backoff` ("1s..1m") to the last one; each is shortened by up to a half, so that
    many failures do not come back at once. `within` ends the attempts by time, counted from the first failure.
    """

    attempts: int = 5
    backoff: str = "500ms..30s"
    within: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be understood.

        Raises:
            UsageError: it has no attempts, or a duration is none.
        """
        if self.attempts < 1:
            raise UsageError(f"Retry({self.attempts}) tries nothing again", fix="give 1 or more, or leave Retry out")
        first, last = _range_ms(self.backoff)
        if not 0 < first <= last:
            raise UsageError(f"backoff {self.backoff!r} goes from {first} to {last} ms", fix='write it as "1s..1m"')
        if self.within is not None:
            duration(self.within)

    def due_ms(self, failures: int, failed_ms: int, now_ms: int, salt: int) -> int | None:
        """Return when a record that failed so often is due again, in milliseconds; None when the budget is spent.

        `salt` decides the jitter, so that the same record gets the same delays wherever it runs.
        """
        due = now_ms + self.delay_ms(failures, salt)
        late = self.within is not None and due - failed_ms > duration(self.within).total_seconds() * 1000
        return None if failures > self.attempts or late else due

    def delay_ms(self, failures: int, salt: int) -> int:
        """Return the delay after the so-manieth failure."""
        first, last = _range_ms(self.backoff)
        whole = min(last, first << min(failures - 1, 40))
        jitter = zlib.crc32(b"%d/%d" % (salt, failures)) % _JITTER
        return max(1, round(whole * (1 - jitter / _JITTER / 2)))


@dataclass(frozen=True)
class Failure:
    """The answer to failures: `retry` first, `then` the rest; `by_type` answers some exceptions otherwise.

    A retry answers what handlers raise. Bytes that do not decode, outputs that do not fit and records that kill their
    process do not get better by waiting: they go to `then` at once, unless `by_type` names their error (`DecodeError`,
    `EncodeError`, `SendError`, `KilledError`).

    With `pauses`, a processor whose handler failed for most of the last 100 keys (of fewer, if it met fewer; of 5 at
    least) does not give records up: something that they all need is down. It pauses until that works again.
    """

    retry: Retry | None = None
    then: FailurePolicy = FailurePolicy.DEAD_LETTER
    by_type: Mapping[type[BaseException], Failure | FailurePolicy] = field(default_factory=dict)
    pauses: bool = True

    def __post_init__(self) -> None:
        """Refuse what is not a policy.

        Raises:
            UsageError: `then`, `retry` or an entry of `by_type` is something else.
        """
        if not isinstance(self.then, FailurePolicy):
            raise UsageError(f"then={self.then!r}", fix="use DEAD_LETTER, PARK, SKIP or STOP of streams")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise UsageError(f"{self.retry!r} is no Retry", fix='write Failure(Retry(5, "1s..1m"), then=PARK)')
        for kind, answer in self.by_type.items():
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise UsageError(f"by_type names {kind!r}, which is no exception", fix="give exception classes")
            as_failure(answer)

    def answers(self) -> Iterator[Failure]:
        """Yield every answer that this policy may give, itself first."""
        yield self
        for answer in self.by_type.values():
            yield from as_failure(answer).answers()

    def answer(self, error: RecordError) -> Failure:
        """Return what answers this error: the most specific class counts, the user's own exception before ours."""
        handled = isinstance(error, HandlerError)
        for raised in (error.__cause__, error) if handled else (error,):  # what causes the others is none of the user's
            for kind in type(raised).__mro__ if raised is not None else ():
                if kind in self.by_type:
                    named = as_failure(self.by_type[kind])
                    named = named.answer(error) if named.by_type else named
                    return named if handled else replace(named, pauses=False)
        return self if handled else Failure(None, self.then, pauses=False)


def as_failure(given: Failure | FailurePolicy) -> Failure:
    """Return a policy; a bare DEAD_LETTER, PARK, SKIP or STOP means: at once, and whatever else fails.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(given, FailurePolicy):
        return Failure(None, given, pauses=False)
    if not isinstance(given, Failure):
        raise UsageError(f"on_failure={given!r}", fix="use DEAD_LETTER, PARK, SKIP or STOP of streams, or a Failure")
    return given


DEFAULT = Failure(Retry(), then=FailurePolicy.DEAD_LETTER)
