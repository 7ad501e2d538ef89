"""The command line: `streams`. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import entry_points

import typer

from streams.cli import cluster, dlq, group, pipe, replay, schema, top, topic, topology, why, worker
from streams.errors import StreamsError

app = typer.Typer(
    name="streams",
    help="Typed, exactly-once event streaming on Apache Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("up")(cluster.up)
app.command("down")(cluster.down)
app.command("status")(cluster.status)
app.command("worker")(worker.worker)
app.command("topology")(topology.topology)
app.command("why")(why.why)
app.command("top")(top.top)
app.command("replay")(replay.command)
app.add_typer(schema.app, name="schema")
app.add_typer(topic.app, name="topic")
app.add_typer(group.app, name="group")
app.add_typer(dlq.app, name="dlq")


def main() -> None:
    """Run the command line; every error that is not a bug ends as one message and a defined exit code."""
    for command in entry_points(group="streams.commands"):
        try:
            app.command(command.name)(command.load())
        except Exception as error:  # noqa: BLE001 - another package's fault must not take our commands away
            sys.stderr.write(f"warning: the command {command.name} cannot be loaded: {type(error).__name__}: {error}\n")
    try:
        app()
    except StreamsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        pipe.flush()
