"""`streams topic`: list and make topics; reading and writing them has modules of its own."""

from __future__ import annotations

import sys

import typer

from streams.cli.consume import consume
from streams.cli.options import AppTarget, BootstrapServers, Output, OutputFormat, Properties, settings_from
from streams.cli.produce import produce
from streams.cli.show import show
from streams.kafka.admin import Admin
from streams.load import load_app
from streams.record import TopicPartition

app = typer.Typer(help="Topics: list, create, consume, produce.", no_args_is_help=True)
app.command("consume")(consume)
app.command("produce")(produce)


@app.command("list")
def list_topics(
    output: OutputFormat = Output.TABLE, bootstrap_servers: BootstrapServers = None, properties: Properties = None
) -> None:
    """List every topic with its partitions and the offsets they span."""
    admin = Admin(settings_from(bootstrap_servers, None, properties))
    topics = {name: count for name, count in admin.topics().items() if not name.startswith("__")}
    spans = admin.ranges(TopicPartition(name, number) for name, count in topics.items() for number in range(count))
    show(
        [
            {
                "topic": name,
                "partitions": count,
                "offsets": sum(held.end - held.start for tp, held in spans.items() if tp.topic == name),
            }
            for name, count in sorted(topics.items())
        ],
        output,
    )


@app.command("create")
def create(target: AppTarget, bootstrap_servers: BootstrapServers = None, properties: Properties = None) -> None:
    """Make every topic of an app that does not exist yet, its changelogs and dead-letter topics too."""
    declared = load_app(target)
    admin = Admin(settings_from(bootstrap_servers, None, properties, code=declared.settings))
    made = admin.create_topics(declared.topics())
    for name in sorted(made):
        sys.stdout.write(name + "\n")
    sys.stderr.write(f"{len(made)} topics made, {len(declared.topics()) - len(made)} were there\n")
