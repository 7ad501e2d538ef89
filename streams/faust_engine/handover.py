"""What has to be true before the Faust engine takes a group over from the native one."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from streams.errors import IncompatibleError
from streams.kafka.admin import Admin
from streams.record import TopicPartition
from streams.replay.moves import Destination, Kind
from streams.replay.reset import Reset
from streams.replay.subject import subject_of
from streams.settings import Settings
from streams.topology import Processor

_log = structlog.get_logger(__name__)

LOOK = 0.5  # seconds
MARGIN = 10.0  # seconds beyond a session


def take_over(
    processor: Processor, settings: Settings, admin: Admin, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Wait until no native worker is in the group, and see that it left nothing that only it can go on with.

    Raises:
        IncompatibleError: native workers go on, records wait, or records are gone that were not read yet.
    """
    _await_native(processor, settings, admin, stopping)
    reset = Reset(settings, admin, subject_of(processor))
    source = processor.source
    planned = reset.plan(
        Destination(Kind.COMMITTED), [TopicPartition(source.name, number) for number in range(source.partitions)]
    )
    gone = [move for move in planned if move.committed is not None and move.committed < move.held.start]
    if gone:
        raise IncompatibleError(
            f"records were deleted before they were read: the group stands at {gone[0].committed}, the first record "
            f"that is left is {gone[0].held.start}",
            where=f"{source.name}[{gone[0].source.partition}]",
            fix=f"`streams group reset {processor.group} --to committed` shows what is lost, and with --execute goes "
            "on with the first record that is left",
        )
    waiting = reset.waiting(planned)
    if waiting:
        raise IncompatibleError(
            f"{waiting.total()} records wait or are parked in {processor.group}.waiting, where only the native engine "
            "tries them again",
            fix=f"run it until they are done, or `streams dlq redrive {processor.group} --waiting --execute`, or give "
            "them up, `streams dlq drop …`",
        )


def _await_native(processor: Processor, settings: Settings, admin: Admin, stopping: Callable[[], bool]) -> None:
    """Wait for members with a lasting name, which native workers have and leave behind for a session timeout."""
    patience = settings.session_timeout.total_seconds() + MARGIN
    until, told = time.monotonic() + patience, False
    while (natives := _natives(processor.group, admin)) and not stopping():
        if time.monotonic() > until:
            raise IncompatibleError(
                f"group {processor.group} has {natives} workers of the native engine",
                fix="stop them first: the members of a group have to agree on how partitions are shared",
            )
        if not told:
            _log.info("waiting for the native engine's members to time out", members=natives, seconds=patience)
            told = True
        time.sleep(LOOK)


def _natives(group: str, admin: Admin) -> int:
    if group not in admin.groups():
        return 0
    return sum(bool(member.instance_id) for member in admin.group(group).members)
