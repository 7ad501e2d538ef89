"""`streams group`: consumer groups, their members and their lag; moving them has a module of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, settings_from
from streams.cli.reset import reset
from streams.cli.show import show
from streams.kafka.admin import Admin

app = typer.Typer(help="Consumer groups: list, describe, reset.", no_args_is_help=True)
app.command("reset")(reset)


@app.command("list")
def list_groups(
    output: OutputFormat = Output.TABLE, bootstrap_servers: BootstrapServers = None, properties: Properties = None
) -> None:
    """List every group with its state."""
    admin = Admin(settings_from(bootstrap_servers, None, properties))
    show([{"group": name, "state": state} for name, state in sorted(admin.groups().items())], output)


@app.command("describe")
def describe(
    group: Annotated[str, typer.Argument(help="The group, <app>.<processor>.")],
    output: OutputFormat = Output.TABLE,
    bootstrap_servers: BootstrapServers = None,
    properties: Properties = None,
) -> None:
    """Show where a group stands in every partition, and who reads it."""
    admin = Admin(settings_from(bootstrap_servers, None, properties))
    owners = {tp: member for member in admin.group(group).members for tp in member.partitions}
    committed = admin.committed(group)
    ranges = admin.ranges({*owners, *committed})
    rows = []
    for tp, held in sorted(ranges.items()):
        member = owners.get(tp)
        at = committed.get(tp)
        rows.append(
            {
                "topic": tp.topic,
                "partition": tp.partition,
                "committed": at,
                "end": held.end,
                "lag": held.end - (held.start if at is None else at),
                "member": member.instance_id or member.member_id if member else None,
                "host": member.host if member else None,
            }
        )
    show(rows, output)
