"""`streams group reset`: let a group go on elsewhere, told in advance."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from streams.cli.destinations import FORMS, destination
from streams.cli.moments import shown
from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, settings_from
from streams.cli.show import show
from streams.cli.spans import known_topic
from streams.duration import duration
from streams.errors import IncompatibleError, UsageError
from streams.kafka.admin import Admin
from streams.load import load_app
from streams.record import TopicPartition
from streams.replay.moves import Move
from streams.replay.reset import Reset
from streams.replay.subject import Subject, aside, subject_named, subject_of
from streams.topology import Processor

Target = Annotated[str, typer.Argument(metavar="MODULE:APP|GROUP", help="An app, or a group by its name.")]
ProcessorName = Annotated[
    str | None, typer.Option("--processor", metavar="NAME", help="The app's processor, where it has several.")
]
To = Annotated[str | None, typer.Option("--to", metavar="PLACE", help=f"Go on there: {FORMS}.")]
Shift = Annotated[int | None, typer.Option("--shift", metavar="N", help="Go N records on, or back (-N).")]
OnlyTopic = Annotated[str | None, typer.Option("--topic", help="Another topic of the group, as <group>.redrive.")]
Partitions = Annotated[list[int] | None, typer.Option("--partition", min=0, help="Only this partition; repeatable.")]
WithState = Annotated[bool, typer.Option("--with-state", help="Empty the processor's state too.")]
KeepState = Annotated[bool, typer.Option("--keep-state", help="Go on with the state as it is; only forwards.")]
Wait = Annotated[str | None, typer.Option("--wait", metavar="TIME", help="Wait so long for members to be gone.")]
Execute = Annotated[bool, typer.Option("--execute", help="Do it; without it nothing is changed.")]


def reset(
    target: Target,
    processor: ProcessorName = None,
    to: To = None,
    shift: Shift = None,
    topic: OnlyTopic = None,
    partition: Partitions = None,
    with_state: WithState = False,
    keep_state: KeepState = False,
    wait: Wait = None,
    execute: Execute = False,
    output: OutputFormat = Output.TABLE,
    bootstrap_servers: BootstrapServers = None,
    properties: Properties = None,
) -> None:
    """Let a group go on elsewhere. Shows what is read again or skipped; only --execute changes anything.

    The group's workers have to be stopped. What the reset would be refused for is told in the dry run too (exit 4).
    """
    place = destination(to, shift)
    if with_state and (keep_state or topic):
        raise UsageError("--with-state goes neither with --keep-state nor with --topic", fix="leave one of them out")
    patience = None if wait is None else duration(wait).total_seconds()
    chosen = _processor(target, processor)
    code = load_app(target).settings if chosen else None
    settings = settings_from(bootstrap_servers, None, properties, code=code)
    admin = Admin(settings)
    subject = subject_of(chosen) if chosen else subject_named(admin, target)
    if topic is not None and topic not in subject.topics:
        subject = aside(admin, subject, topic)
    job = Reset(settings, admin, subject)
    planned = job.plan(place, _partitions(admin, subject, partition or []))
    times = job.times(planned)
    show([_row(move, times) for move in planned], output)
    _tell(job, subject, planned, with_state=with_state)
    if patience is not None:
        job.await_empty(patience)
    obstacles = list(job.obstacles(planned, with_state=with_state, keep_state=keep_state))
    if obstacles:
        raise IncompatibleError(
            f"group {subject.group} cannot be reset:\n" + "\n".join(f"  - {found}" for found in obstacles)
        )
    if not execute:
        sys.stderr.write("nothing was changed; --execute does it\n")
        return
    job.execute(planned, with_state=with_state)
    sys.stderr.write(f"group {subject.group} goes on there\n")


def _processor(target: str, name: str | None) -> Processor | None:
    """Return the processor that is meant; None where a group is named."""
    if ":" not in target:
        if name is not None:
            raise UsageError(f"--processor {name} belongs to an app, {target} is a group", fix="leave it out")
        return None
    found = load_app(target).select([name] if name else [])
    if len(found) > 1:
        known = ", ".join(sorted(one.name for one in found))
        raise UsageError(f"{target} has several processors", fix=f"add --processor with one of {known}")
    return found[0]


def _partitions(admin: Admin, subject: Subject, numbers: Sequence[int]) -> list[TopicPartition]:
    partitions = []
    for topic in subject.topics:
        count = known_topic(admin, topic)
        wrong = [number for number in numbers if number >= count]
        if wrong:
            raise UsageError(f"topic {topic} has no partition {wrong[0]}", fix=f"use 0 to {count - 1}")
        partitions += [TopicPartition(topic, number) for number in numbers or range(count)]
    return partitions


def _row(move: Move, times: Mapping[TopicPartition, tuple[int, int]]) -> dict[str, Any]:
    first, last = times.get(move.source, (None, None))
    return {
        "topic": move.source.topic,
        "partition": move.source.partition,
        "committed": move.committed,
        "new": move.to,
        "again": move.again,
        "skipped": move.skipped,
        "first_record": None if first is None else shown(first),
        "last_record": None if last is None else shown(last),
        "note": "; ".join(move.notes()) or None,
    }


def _tell(job: Reset, subject: Subject, planned: Sequence[Move], *, with_state: bool) -> None:
    """Sum it up on stderr. Offsets are counted: a few of them are markers of transactions or were compacted away."""
    again, skipped = sum(move.again for move in planned), sum(move.skipped for move in planned)
    sys.stderr.write(
        f"{again:,} offsets are read again, {skipped:,} unread ones are skipped (transaction markers count too)\n"
    )
    if with_state:
        rows = job.rows(planned)
        told = ", ".join(f"{count:,} of {name}" for name, count in sorted(rows.items())) or "none"
        sys.stderr.write(f"rows of state that are deleted: {told}\n")
    if not subject.complete:
        sys.stderr.write(
            f"stores whose changelog does not begin with {subject.group} are not seen; MODULE:APP knows all\n"
        )
