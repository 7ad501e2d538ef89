"""`streams dlq redrive` and `drop`: dead letters are handed back or given up, parked keys released or given up."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, NamedTuple

import typer

from streams.cli.doing import Job, do
from streams.cli.moments import shown
from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, RegistryUrl, with_options
from streams.cli.queues import (
    Cluster,
    Parked,
    ProcessorOption,
    Since,
    Target,
    Until,
    Waits,
    WhereOption,
    choice,
    cluster,
    describer,
    the_only,
)
from streams.cli.waits import chosen_waiters
from streams.cli.works import LetterWork, WaitWork, Work
from streams.dlq.fields import letter_fields
from streams.dlq.notes import Audit, somebody
from streams.dlq.plan import MAX_REDRIVES, Choice, Plan
from streams.dlq.queue import Queue
from streams.errors import UsageError
from streams.failures.redrives import DROP, RELEASE


class SendTo(StrEnum):
    """Where a dead letter is sent."""

    PROCESSOR = "processor"
    ORIGIN = "origin"


Execute = Annotated[bool, typer.Option("--execute", help="Do it; without it, only show what would be done.")]
Most = Annotated[int | None, typer.Option("--max", min=1, metavar="N", help="At most so many.")]
Rate = Annotated[str | None, typer.Option("--rate", metavar="N/s", help="At most so many a second (or N/m).")]
JobName = Annotated[str | None, typer.Option("--job", metavar="NAME", help="The name of the job in the notes.")]
SendOption = Annotated[
    SendTo | None,
    typer.Option("--to", help="The processor alone, which is the default, or the topic where they came from."),
]
MaxRedrives = Annotated[
    int, typer.Option("--max-redrives", min=1, metavar="N", help="Hold back what was sent again so often.")
]


class Asked(NamedTuple):
    """What both commands are asked: which things of which group, how many, how fast, and whether to do it."""

    target: Target
    processor: ProcessorOption = None
    where: WhereOption = None
    since: Since = None
    until: Until = None
    most: Most = None
    rate: Rate = None
    waiting: Waits = False
    parked: Parked = False
    execute: Execute = False
    job: JobName = None
    output: OutputFormat = Output.TABLE
    bootstrap_servers: BootstrapServers = None
    schema_registry_url: RegistryUrl = None
    properties: Properties = None

    @property
    def of_waiting(self) -> bool:
        """Tell whether keys that wait are meant, and not dead letters."""
        return self.waiting or self.parked


@with_options(Asked)
def redrive(asked: Asked, *, send_to: SendOption = None, max_redrives: MaxRedrives = MAX_REDRIVES) -> None:
    """Send open dead letters again, byte for byte; or release keys that wait. Does nothing without --execute."""
    if asked.of_waiting and send_to is not None:
        raise UsageError("--to belongs to dead letters: a key that waits is released where it is", fix="leave --to out")
    goal = (send_to or SendTo.PROCESSOR).value
    if asked.of_waiting:
        _do(asked, RELEASE, lambda found, queue, chosen: _waits(found, queue, chosen, RELEASE, asked))
    else:
        _do(asked, goal, lambda found, queue, chosen: _letters(found, queue, chosen, goal, asked.most, max_redrives))


@with_options(Asked)
def drop(asked: Asked) -> None:
    """Give open dead letters up, with a note; or all records of keys that wait. Does nothing without --execute."""
    if asked.of_waiting:
        _do(asked, DROP, lambda found, queue, chosen: _waits(found, queue, chosen, DROP, asked))
    else:
        _do(asked, DROP, lambda found, queue, chosen: _letters(found, queue, chosen, None, asked.most, MAX_REDRIVES))


def _do(asked: Asked, goal: str, work: Callable[[Cluster, Queue, Choice], Work]) -> None:
    chosen = choice(asked.where, asked.since, asked.until, of_waiting=asked.of_waiting)
    pace = per_second(asked.rate)
    audit = _audit(asked.job, goal, asked.where, chosen)
    found = cluster(asked.target, asked.processor, asked.bootstrap_servers, asked.schema_registry_url, asked.properties)
    do(work(found, the_only(found), chosen), Job(asked.execute, pace, audit, asked.output), found.settings)


def per_second(rate: str | None) -> float | None:
    """Read a rate, as in 100/s, 30/m or 100.

    Raises:
        UsageError: it is none.
    """
    if rate is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/(s|m))?", rate.strip())
    read = float(match[1]) / (60 if match[2] == "m" else 1) if match else 0.0
    if not (read > 0 and math.isfinite(read)):
        raise UsageError(f"--rate {rate}: not a rate", fix="write it as in 100/s or 30/m")
    return read


def _letters(
    found: Cluster, queue: Queue, chosen: Choice, target: str | None, most: int | None, max_redrives: int
) -> Work:
    queue.require(queue.names.dead_letters)
    queue.require_redrive(queue.names.dead_letters)
    describe = describer(found)
    plan = Plan(
        queue.names,
        target,
        chosen,
        lambda letter: letter_fields(letter, describe, chosen.uses),
        queue.topics,
        most,
        max_redrives,
    )
    return LetterWork(queue, plan, describe)


def _waits(found: Cluster, queue: Queue, chosen: Choice, verb: str, asked: Asked) -> Work:
    queue.require(queue.names.waiting)
    queue.require_redrive(queue.names.waiting)
    waiters = chosen_waiters(found, queue, chosen, parked=asked.parked)
    return WaitWork(queue, verb, waiters[: asked.most], describer(found))


def _audit(job: str | None, target: str, where: str | None, chosen: Choice) -> Audit:
    """Say for the notes who does this, and what was asked for."""
    now = datetime.now(UTC)
    asked = [
        where or "",
        f"from {shown(chosen.since_ms)}" if chosen.since_ms is not None else "",
        f"until {shown(chosen.until_ms)}" if chosen.until_ms is not None else "",
    ]
    name = job or f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:4]}"
    return Audit(somebody(), now.isoformat(timespec="seconds"), name, target, "; ".join(filter(None, asked)))
