"""Carrying out what `streams dlq redrive` and `drop` chose: shown first, then done in transactions."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import typer

from streams import failpoints
from streams.cli import pipe
from streams.cli.eta import Eta
from streams.cli.options import Output
from streams.cli.show import show
from streams.cli.stop import Stop, stoppable
from streams.cli.works import Work
from streams.dlq.notes import Audit
from streams.dlq.run import Pace, Refused, run
from streams.errors import EXIT_FAILED, FencedError
from streams.kafka import config
from streams.kafka.batches import BatchProducer, TakenOverError
from streams.settings import Settings

_NAME = "dlq"  # in STREAMS_FAILPOINTS
_MOST_SHOWN = 20  # rows of a table; JSON shows all
_AGAIN = "run it again: what was done is noted, and nothing is done twice"


class Job(NamedTuple):
    """Whether it is done, how fast (things in a second), what the notes say, and how data is printed."""

    execute: bool
    rate: float | None
    audit: Audit
    output: Output


def do(work: Work, job: Job, settings: Settings) -> None:
    """Show what would be done; with `execute`, do it.

    Raises:
        FencedError: another command of the same group took over, or the outcome of a transaction is unknown.
        typer.Exit: a signal ended it, or the broker refused records.
    """
    with stoppable() as stop:
        total = _surveyed(work, job, stop)
        stop.leave()
        if not job.execute:
            _tell([f"DRY RUN, nothing was written: {total} {work.things} would be {work.deed}", *work.remarks()])
            sys.stderr.write("add --execute to do it\n" if total else "")
            return
        done, refused = _done(work, job, settings, total, stop) if total else (0, [])
    _tell([f"{done} of {total} {work.things} {work.deed}, job {job.audit.job}", *work.remarks(), *_told(refused)])
    if job.output is Output.JSON:
        pipe.write(json.dumps({"job": job.audit.job, "total": total, "done": done, "refused": len(refused)}) + "\n")
    if stop() and done + len(refused) < total:
        sys.stderr.write(f"stopped before the end; {_AGAIN}\n")
        stop.leave()
    if refused:
        raise typer.Exit(EXIT_FAILED)


def _surveyed(work: Work, job: Job, stop: Stop) -> int:
    """Count what is meant; in a dry run, show it."""
    rows = work.survey(stop)
    if job.execute:
        return sum(1 for _ in rows)
    if job.output is Output.JSON:
        count = 0
        for row in rows:
            pipe.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        return count
    first = list(islice(rows, _MOST_SHOWN))
    more = sum(1 for _ in rows)
    show(first, Output.TABLE)
    if more:
        sys.stderr.write(f"… and {more} more; -o json shows all\n")
    return len(first) + more


def _done(work: Work, job: Job, settings: Settings, total: int, stop: Stop) -> tuple[int, list[Refused]]:
    eta = Eta(total, f"{work.things} {work.deed}")
    pace = Pace(job.rate, time.monotonic, time.sleep)
    try:
        with _producer(work, settings) as producer:
            refused = run(producer, work.actions(job.audit.encode()), pace, stop, eta.advance)
    except TakenOverError as error:
        raise FencedError(
            f"another `streams dlq` command of {work.queue.names.group} took over; this one ends after {eta.done} of "
            f"{total} {work.things}",
            where=error.where,
            fix=f"let the other one end, then {_AGAIN}",
        ) from error
    except FencedError as error:
        raise FencedError(
            f"{error.what}; {eta.done} of {total} {work.things} {work.deed}", where=error.where, fix=_AGAIN
        ) from error
    finally:
        eta.finish()
    return eta.done, refused


@contextmanager
def _producer(work: Work, settings: Settings) -> Iterator[BatchProducer]:
    """Take over the group's transactional id; from here on nobody else writes notes."""
    failpoints.arm(_NAME, [_NAME])
    limit = work.queue.smallest_limit(work.topics)
    identity = f"{work.queue.names.redrive}-tool"
    made = config.transactional_producer(settings, identity, limit)
    producer = BatchProducer(made, settings.transaction_timeout.total_seconds())
    yield producer
    producer.close()


def _told(refused: list[Refused]) -> Iterator[str]:
    if refused:
        first = refused[0]
        yield f"{len(refused)} refused by Kafka and left as they are, the first ({first.action.place}): {first.why}"


def _tell(parts: list[str]) -> None:
    sys.stderr.write("; ".join(filter(None, parts)) + "\n")
