"""How a supervisor stands, as `/healthz` answers it: verdict, problems, and every worker with its partitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streams.health.board import Board, PartitionView, WorkerView
from streams.health.judge import Problem, problems, spell, unready, waiting_for
from streams.health.metrics import Metrics, oldest_age

UNRESPONSIVE = 60.0  # seconds without a turn of the supervisor itself; it drains for half of that


class Answer(NamedTuple):
    """What to say, and whether it is good news."""

    good: bool
    content: dict[str, Any]


class Report:
    """Answers the questions of probes, people and Prometheus from the board. Thread-safe."""

    def __init__(self, board: Board, stall_after: float, clock: Callable[[], float], now_ms: Callable[[], int]) -> None:
        """A partition with work at hand may finish nothing for `stall_after` seconds."""
        self._board = board
        self._stall_after = stall_after
        self._clock = clock
        self._now_ms = now_ms
        self._metrics = Metrics(board.views, lambda views: not self._problems(views), now_ms)

    def live(self) -> Answer:
        """Tell whether the supervisor itself goes on."""
        still = self._clock() - self._board.ticked
        return Answer(still < UNRESPONSIVE, {"supervisor": f"its last turn was {spell(still)} ago"})

    def ready(self) -> Answer:
        """Tell whether every worker is started, in its group and restored."""
        missing = unready(self._board.views())
        return Answer(not missing, {"ready": not missing, "missing": missing})

    def health(self) -> Answer:
        """Tell what stands still, and how everything else is."""
        views = self._board.views()
        found, missing, now = self._problems(views), unready(views), self._now_ms()
        return Answer(
            not found,
            {
                "healthy": not found,
                "ready": not missing,
                "problems": [problem._asdict() for problem in found],
                "missing": missing,
                "workers": [_worker(view, now) for view in views],
            },
        )

    def metrics(self) -> bytes:
        """Return everything for Prometheus."""
        return self._metrics.text()

    def _problems(self, views: list[WorkerView]) -> list[Problem]:
        return problems(views, self._stall_after)


def _worker(view: WorkerView, now_ms: int) -> dict[str, Any]:
    last = view.progress
    return {
        "processor": view.processor,
        "group": view.group,
        "topic": view.topic,
        "state": "ready" if view.ready else "starting" if view.alive else "down",
        "pid": last.pid if last else None,
        "slot": last.slot if last else None,
        "doing": last.doing if last else "",
        "running_seconds": round(last.running, 1) if last else None,
        "silent_seconds": round(view.silent, 1),
        "commit_age_seconds": round(last.commit_age, 1) if last and last.commit_age is not None else None,
        "restarts": view.restarts,
        "start_seconds": round(view.start_seconds, 2) if view.start_seconds is not None else None,
        "cpu_seconds": round(view.totals.cpu_seconds, 2),
        "cores": round(view.cores, 3),
        "memory_bytes": last.memory_bytes if last else 0,
        "records_per_second": round(view.rate, 1),
        "counts": dict(view.totals.counts),
        "dead_letters": view.totals.dead_letters,
        "commits": view.totals.commits,
        "aborts": view.totals.aborts,
        "partitions": [_partition(view, one, now_ms) for one in view.partitions],
    }


def _partition(view: WorkerView, one: PartitionView, now_ms: int) -> dict[str, Any]:
    at = one.progress
    return {
        "topic": at.topic,
        "partition": at.partition,
        "state": at.state if view.progress else "down",
        "position": at.position,
        "committed": at.committed,
        "end": at.end,
        "lag": at.lag,
        "lag_seconds": round(oldest_age(at, now_ms), 1),
        "stalled_seconds": round(one.stalled, 1),
        "waits_on": waiting_for(view, one).removeprefix("waits on ") if at.waits_on or not view.progress else "",
        "waiting": at.waiting,
        "parked": at.parked,
        "remaining": at.remaining,
    }
