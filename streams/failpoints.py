"""Places in the straight path where a test lets a worker die, wait or fail. They do nothing unless a hook is installed.

Tests in one process use `installed`. Worker processes read STREAMS_FAILPOINTS once, when they start:

    STREAMS_FAILPOINTS="flushed=kill@3; offsets-known=sleep:5s; notify/commit-sent=kill+2ms"

`kill` ends the process by SIGKILL, `kill+2ms` does so from a thread after that time, `sleep:5s` waits. `@3` names the
hit that counts (the first if left out), `notify/` keeps a rule to the workers of one processor.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from streams.duration import duration
from streams.errors import UsageError

VARIABLE = "STREAMS_FAILPOINTS"

_WRITTEN = re.compile(
    r"(?:(?P<processor>[^/=]+)/)?(?P<point>[a-z-]+)=(?P<action>kill|sleep)(?:[+:](?P<length>[^@+:]+))?(?:@(?P<hit>[1-9]\d*))?"
)


class Failpoint(StrEnum):
    """A place in the straight path, in the order in which a worker comes by."""

    POLLED = "polled"  # before any handler
    PROCESSED = "processed"  # handlers are done, before produce
    PRODUCED = "produced"  # outputs are handed over
    CHANGELOG_PRODUCED = "changelog-produced"
    FLUSHED = "flushed"  # everything is acknowledged
    OFFSETS_SENT = "offsets-sent"  # into the transaction
    COMMIT_SENT = "commit-sent"  # directly before the commit is asked for
    COMMITTED = "committed"  # before the local store is written
    STATE_WRITING = "state-writing"  # inside the atomic write, between rows and positions
    STATE_WRITTEN = "state-written"
    ABORTING = "aborting"  # before the abort is asked for
    REVOKING = "revoking"  # before the commit of a revoke
    REVOKED = "revoked"  # after it, before the partitions are given up
    RESTORING = "restoring"  # after each batch that is restored
    OFFSETS_KNOWN = "offsets-known"  # before the bounds of changelogs are asked for
    PRODUCER_STARTING = "producer-starting"  # before transactions are initialised


Hook = Callable[[Failpoint], None]

_hooks: list[Hook] = []


def reach(point: Failpoint) -> None:
    """Tell the installed hooks that this place is reached; what they raise comes out of it."""
    for hook in _hooks:
        hook(point)


@contextmanager
def installed(hook: Hook) -> Iterator[None]:
    """Have `hook` called at every failpoint that this process reaches."""
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)


def arm(processor: str, known: Iterable[str]) -> None:
    """Install what STREAMS_FAILPOINTS says for the workers of `processor`, for the life of this process.

    Raises:
        UsageError: it cannot be understood, or names a point or a processor that is not there.
    """
    rules = [_read(part, known) for part in os.environ.get(VARIABLE, "").split(";") if part.strip()]
    mine = [rule for rule in rules if rule.processor in {None, processor}]
    if mine:
        _hooks.append(_Armed(mine))


class _Rule(NamedTuple):
    """What happens at the `hit`-th time that a point is reached; `seconds` is how long to wait first."""

    processor: str | None
    point: Failpoint
    kills: bool
    seconds: float
    hit: int


class _Armed:
    """Counts hits and does what the rules say."""

    def __init__(self, rules: list[_Rule]) -> None:
        self._rules = rules
        self._hits: Counter[Failpoint] = Counter()

    def __call__(self, point: Failpoint) -> None:
        self._hits[point] += 1
        for rule in self._rules:
            if rule.point is point and rule.hit == self._hits[point]:
                _act(rule)


def _act(rule: _Rule) -> None:
    if rule.kills and rule.seconds:
        threading.Timer(rule.seconds, _kill, [rule]).start()
    elif rule.kills:
        _kill(rule)
    else:
        _tell(rule, "sleep")
        time.sleep(rule.seconds)


def _kill(rule: _Rule) -> None:
    _tell(rule, "kill")
    os.kill(os.getpid(), signal.SIGKILL)


def _tell(rule: _Rule, action: str) -> None:
    """Leave a proof that the place was reached; unbuffered, for nothing is flushed by a kill."""
    os.write(2, f"failpoint {rule.point} hit {rule.hit} in {os.getpid()}: {action} {rule.seconds:g}\n".encode())


def _read(part: str, known: Iterable[str]) -> _Rule:
    match = _WRITTEN.fullmatch(part.strip())
    points = [str(point) for point in Failpoint]
    if match is None or match["point"] not in points or (match["action"] == "sleep") > bool(match["length"]):
        raise UsageError(
            f"{VARIABLE}: {part.strip()!r} is no failpoint with something to do",
            fix=f"write POINT=kill, kill+2ms or sleep:5s, with @N for the N-th hit; the points are {', '.join(points)}",
        )
    processor = match["processor"]
    if processor is not None and processor not in set(known):
        raise UsageError(f"{VARIABLE}: there is no processor {processor}", fix=f"name one of {', '.join(known)}")
    seconds = duration(match["length"]).total_seconds() if match["length"] else 0.0
    return _Rule(processor, Failpoint(match["point"]), match["action"] == "kill", seconds, int(match["hit"] or 1))
