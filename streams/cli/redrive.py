"""`streams dlq redrive` and `drop`: dead letters are handed back or given up, parked keys released or given up."""

from __future__ import annotations

import math
import re
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from streams.cli.doing import Job, do
from streams.cli.moments import shown
from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, RegistryUrl
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


def redrive(
    target: Target,
    processor: ProcessorOption = None,
    where: WhereOption = None,
    since: Since = None,
    until: Until = None,
    send_to: SendOption = None,
    most: Most = None,
    rate: Rate = None,
    max_redrives: MaxRedrives = MAX_REDRIVES,
    waiting: Waits = False,
    parked: Parked = False,
    execute: Execute = False,
    job: JobName = None,
    output: OutputFormat = Output.TABLE,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Send open dead letters again, byte for byte; or release keys that wait. Does nothing without --execute."""
    of_waiting = waiting or parked
    if of_waiting and send_to is not None:
        raise UsageError("--to belongs to dead letters: a key that waits is released where it is", fix="leave --to out")
    chosen, pace = choice(where, since, until, of_waiting=of_waiting), per_second(rate)
    goal = "release" if of_waiting else (send_to or SendTo.PROCESSOR).value
    audit = _audit(job, goal, where, chosen)
    found = cluster(target, processor, bootstrap_servers, schema_registry_url, properties)
    queue = the_only(found)
    work: Work
    if of_waiting:
        work = _waits(found, queue, chosen, RELEASE, most, parked=parked)
    else:
        work = _letters(found, queue, chosen, goal, most, max_redrives)
    do(work, Job(execute, pace, audit, output), found.settings)


def drop(
    target: Target,
    processor: ProcessorOption = None,
    where: WhereOption = None,
    since: Since = None,
    until: Until = None,
    most: Most = None,
    rate: Rate = None,
    waiting: Waits = False,
    parked: Parked = False,
    execute: Execute = False,
    job: JobName = None,
    output: OutputFormat = Output.TABLE,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Give open dead letters up, with a note; or all records of keys that wait. Does nothing without --execute."""
    of_waiting = waiting or parked
    chosen, pace = choice(where, since, until, of_waiting=of_waiting), per_second(rate)
    audit = _audit(job, "drop", where, chosen)
    found = cluster(target, processor, bootstrap_servers, schema_registry_url, properties)
    queue = the_only(found)
    work: Work
    if of_waiting:
        work = _waits(found, queue, chosen, DROP, most, parked=parked)
    else:
        work = _letters(found, queue, chosen, None, most, MAX_REDRIVES)
    do(work, Job(execute, pace, audit, output), found.settings)


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


def _waits(found: Cluster, queue: Queue, chosen: Choice, verb: str, most: int | None, *, parked: bool) -> Work:
    queue.require(queue.names.waiting)
    queue.require_redrive(queue.names.waiting)
    waiters = chosen_waiters(found, queue, chosen, parked=parked)
    return WaitWork(queue, verb, waiters[:most], describer(found))


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
