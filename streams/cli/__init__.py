"""The command line: `streams`. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import entry_points

import typer

from streams.cli import cluster, group, schema, topic, worker
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
app.add_typer(schema.app, name="schema")
app.add_typer(topic.app, name="topic")
app.add_typer(group.app, name="group")


def main() -> None:
    """Run the command line; every error that is not a bug ends as one message and a defined exit code."""
    for command in entry_points(group="streams.commands"):
        app.command(command.name)(command.load())
    try:
        app()
    except StreamsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
