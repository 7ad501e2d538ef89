"""Keys that wait, as the commands of `streams dlq` choose and show them."""

from __future__ import annotations

import sys
from typing import Any

from streams.cli.queues import Cluster, describer, left_out, moment, row_decoder
from streams.dlq.fields import Describe
from streams.dlq.letter import Place, short_class
from streams.dlq.plan import Choice
from streams.dlq.queue import Queue
from streams.dlq.waiting import Waiter, waiter_fields, waiting, waiting_at
from streams.errors import UsageError
from streams.failures.waiting_record import WaitingStatus


def chosen_waiters(found: Cluster, queue: Queue, chosen: Choice, *, parked: bool) -> list[Waiter]:
    """Return the keys of a group that wait, only the parked ones if so asked, and tell how many there are."""
    describe = describer(found)
    every, unreadable = waiting(queue.waiting_records(), row_decoder(found))
    meant = [waiter for waiter in every if not parked or waiter.head.status is WaitingStatus.PARKED]

    def taken_in(waiter: Waiter) -> bool:
        return chosen.takes(waiter.head.failed_ms, lambda: waiter_fields(waiter, describe, chosen.uses))

    taken = list(filter(taken_in, meant))
    records = sum(1 + waiter.behind for waiter in taken)
    what = "are parked" if parked else "wait"
    told = [f"{queue.names.group}: {len(taken)} keys {what}, with {records} records"]
    if len(meant) > len(taken):
        told.append(f"{len(meant) - len(taken)} more are not asked for")
    if unreadable:
        told.append(f"{unreadable} rows in {queue.names.waiting} are none of ours")
    sys.stderr.write("; ".join(filter(None, [*told, left_out(chosen.where)])) + "\n")
    return taken


def waiter_row(waiter: Waiter, describe: Describe) -> dict[str, Any]:
    """Return what is shown of a key that waits."""
    head = waiter.head
    return {
        "partition": waiter.partition,
        "offset": waiter.place,
        "key": describe(waiter.record._replace(value=None))["key"],
        "status": str(head.status),
        "attempts": head.attempts,
        "due": None if head.status is WaitingStatus.PARKED else moment(head.due_ms),
        "since": moment(head.failed_ms),
        "behind": waiter.behind,
        "error": short_class(head.kind),
        "message": head.message,
    }


def waiting_whole(found: Cluster, queue: Queue, place: Place) -> dict[str, Any]:
    """Return all that is known of a record that waits.

    Raises:
        UsageError: none waits there.
    """
    waiter = waiting_at(queue.waiting_records(), place, row_decoder(found))
    if waiter is None:
        raise UsageError(
            f"nothing waits at {place} in {queue.names.waiting}", fix="look with `streams dlq list --waiting`"
        )
    head = waiter.head
    return {
        "waiting": str(place),
        "group": queue.names.group,
        "status": str(head.status),
        **describer(found)(waiter.record),
        "timestamp": moment(head.timestamp_ms),
        "failed": {
            "stage": head.stage,
            "kind": head.kind,
            "message": head.message,
            "attempts": head.attempts,
            "since": moment(head.failed_ms),
            "due": None if head.status is WaitingStatus.PARKED else moment(head.due_ms),
        },
    }
