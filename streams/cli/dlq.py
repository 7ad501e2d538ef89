"""`streams dlq`: what a processor did not deal with, by its errors; the other commands have modules of their own."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from streams.cli.letters import show_dead_letter
from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, RegistryUrl
from streams.cli.queues import (
    Cluster,
    Parked,
    ProcessorOption,
    Since,
    Target,
    Waits,
    WhereOption,
    choice,
    cluster,
    describer,
    left_out,
    moment,
)
from streams.cli.redrive import drop, redrive
from streams.cli.show import show as show_rows
from streams.cli.waits import chosen_waiters, waiter_row
from streams.dlq.fields import letter_fields
from streams.dlq.groups import Group, What, grouped
from streams.dlq.letter import Letter
from streams.dlq.plan import Choice, Plan, Verdict
from streams.dlq.queue import Queue

app = typer.Typer(help="Dead letters, waiting and parked keys: list, show, redrive, drop.", no_args_is_help=True)
app.command("show")(show_dead_letter)
app.command("redrive")(redrive)
app.command("drop")(drop)

BeforeOption = Annotated[
    str | None, typer.Option("--to", "--until", metavar="TIME", help="Given up before this time, written like --from.")
]


@app.command("list")
def list_dead_letters(
    target: Target,
    processor: ProcessorOption = None,
    where: WhereOption = None,
    since: Since = None,
    until: BeforeOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Those re-driven or dropped too.")] = False,
    waiting: Waits = False,
    parked: Parked = False,
    output: OutputFormat = Output.TABLE,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """List open dead letters by their error, or the keys that wait."""
    chosen = choice(where, since, until, of_waiting=waiting or parked)
    found = cluster(target, processor, bootstrap_servers, schema_registry_url, properties)
    queues = found.queues()
    if waiting or parked:
        describe = describer(found)
        waiters = [waiter for queue in queues for waiter in chosen_waiters(found, queue, chosen, parked=parked)]
        show_rows([waiter_row(waiter, describe) for waiter in waiters], output)
        return
    missing = [queue for queue in queues if queue.names.dead_letters not in queue.topics]
    if len(missing) == len(queues):
        queues[0].require(queues[0].names.dead_letters)
    rows = []
    for queue in queues:
        if queue not in missing:
            rows += _groups(found, queue, chosen, everything=everything)
    show_rows([row if len(queues) > 1 or output is Output.JSON else _without(row, "group") for row in rows], output)


def _groups(found: Cluster, queue: Queue, chosen: Choice, *, everything: bool) -> list[dict[str, Any]]:
    """Return the rows of one group's dead letters, and tell the totals."""
    settled, describe = queue.settled(), describer(found)
    plan = Plan(queue.names, None, chosen, lambda letter: letter_fields(letter, describe, chosen.uses), queue.topics)
    tally: Counter[Verdict] = Counter()

    def taken() -> Iterator[Letter]:
        for letter, verdict in plan.decide(queue.letters(), {} if everything else settled):
            tally[verdict] += 1
            if verdict is Verdict.CHOSEN and isinstance(letter, Letter):
                yield letter

    rows = [_group_row(queue.names.group, what, group) for what, group in grouped(taken()).items()]
    what = "dead letters" if everything else "open dead letters"
    rest = [f"{count} {verdict}" for verdict, count in sorted(tally.items()) if verdict is not Verdict.CHOSEN]
    total = f"{queue.names.group}: {tally[Verdict.CHOSEN]} {what} with {len(rows)} kinds of error"
    sys.stderr.write("; ".join(filter(None, [total, *rest, left_out(chosen.where)])) + "\n")
    return rows


def _group_row(name: str, what: What, group: Group) -> dict[str, Any]:
    return {
        "group": name,
        "count": group.count,
        "stage": what.stage,
        "error": what.error,
        "message": what.message,
        "first": moment(group.first_ms),
        "last": moment(group.last_ms),
        "example": str(group.example),
        "handler": what.handler,
    }


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
