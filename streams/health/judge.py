"""What snapshots mean: who stands still, on what, and what to do about it. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streams.health.board import PartitionView, WorkerView

MOST_DEATHS = 3  # in a row; the first restart is a matter of course
SILENT_AFTER = 5.0  # seconds; a snapshot comes every second

ADVICE = {
    "handler": "see what the handler waits for there; raise stall_after if it may take that long",
    "schema": "see whether the registry answers and knows that id",
    "waiting store full": "mend why records fail, then release or drop what waits",
    "dependency": "most keys fail: mend what their handler depends on; nothing is dead-lettered meanwhile",
    "retry": "mend why that record fails: the faust engine tries it again in its place, and those behind it wait",
    "breaker": "see whether that service is up; the breaker closes by itself when it answers",
    "restore": "see whether Kafka delivers the changelog",
    "rebalance": "see whether other members of the group hang: `streams group describe`",
    "its worker": "see that partition",
    "commit": "see the worker's log and whether the brokers answer",
    "its commit": "see the worker's log and whether the brokers answer",
    "records": "see whether a producer left a transaction open, and whether the partition's leader answers",
}


class Problem(NamedTuple):
    """Something that is not as it should be: whose, what, for how many seconds, and what to do."""

    group: str
    what: str
    seconds: float
    fix: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.group}: {self.what}"


def stalls(views: Iterable[WorkerView], bound: float) -> list[Problem]:
    """Return what has had work and finished nothing for `bound` seconds; what a record is to blame for first.

    Then the longest comes first. A worker's own commit interval is added to the bound: before it nothing can be safe.
    """
    found = [problem for view in views for problem in _stalls(view, bound)]
    return sorted(found, key=lambda problem: (problem.offset is None, -problem.seconds))


def problems(views: Iterable[WorkerView], bound: float) -> list[Problem]:
    """Return all that makes the supervisor unhealthy: stalls, and workers that die over and over."""
    listed = list(views)
    dying = [_dying(view) for view in listed if view.deaths >= MOST_DEATHS]
    return stalls(listed, bound) + dying


def unready(views: Iterable[WorkerView]) -> list[str]:
    """Return what is not ready yet, in words: not started, not in its group, not restored."""
    return [f"{view.group}: {_missing(view)}" for view in views if not view.ready]


def spell(seconds: float) -> str:
    """Write a duration for people."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:.0f} ms"


def _stalls(view: WorkerView, bound: float) -> Iterator[Problem]:
    last = view.progress
    if view.alive and view.silent >= bound:
        yield _silent(view)
    elif last is not None and not last.joined and last.running >= bound:
        what = f"worker {last.pid} has not joined its group for {spell(last.running)}"
        yield Problem(view.group, what, last.running, "see whether Kafka answers, and the worker's log")
    elif last is not None and last.unanswered >= bound:
        what = f"Kafka has not answered worker {last.pid} for {spell(last.unanswered)}"
        yield Problem(view.group, what, last.unanswered, "see whether the brokers are up and reachable from here")
    patience = bound + (last.commit_every if last else 0.0)
    yield from (_stalled(view, one) for one in view.partitions if one.stalled >= patience)


def _silent(view: WorkerView) -> Problem:
    if view.progress is None:
        what = f"a worker was started {spell(view.silent)} ago and has not said anything"
        return Problem(view.group, what, view.silent, "see the worker's log; its app may hang while it is imported")
    what = f"worker {view.progress.pid} has not answered for {spell(view.silent)}"
    fix = "it is stopped, or native code holds the interpreter: look at it with a debugger, or kill the process"
    return Problem(view.group, what, view.silent, fix)


def _stalled(view: WorkerView, one: PartitionView) -> Problem:
    at = one.progress
    what = f"{at.name} finished nothing for {spell(one.stalled)}, {at.lag} records behind, {waiting_for(view, one)}"
    known = next((advice for word, advice in ADVICE.items() if at.waits_on.startswith(word)), "see the worker's log")
    return Problem(view.group, what, one.stalled, known, at.topic, at.partition, at.offset, at.key)


def waiting_for(view: WorkerView, one: PartitionView) -> str:
    """Say what a partition waits on."""
    at = one.progress
    if not view.alive:
        return "waits on its worker, which is down"
    if view.progress is None:
        return "waits on its worker, which starts"
    if view.silent >= SILENT_AFTER:
        return f"waits on its worker, which has not answered for {spell(view.silent)}"
    if not at.waits_on:
        return "waits on nothing known"
    record = f" at {at.record}" if at.record else ""
    return f"waits on {at.waits_on} since {spell(at.waited)}{record}"


def _dying(view: WorkerView) -> Problem:
    what = f"a worker died {view.deaths} times in a row"
    return Problem(view.group, what, 0.0, "see the worker's log for what ends it")


def _missing(view: WorkerView) -> str:
    if not view.alive:
        return "its worker is down"
    if view.progress is None:
        return "its worker starts"
    if not view.progress.joined:
        return "its worker has not joined the group yet"
    restoring = [one.progress for one in view.partitions if one.progress.state == "restoring"]
    return f"restoring {sum(one.remaining for one in restoring)} records of {', '.join(one.name for one in restoring)}"
