"""`streams why`: what each processor waits on, in words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from streams.cli import pipe
from streams.cli.options import BootstrapServers, Properties, RegistryUrl, settings_from
from streams.cli.queues import Cluster, row_decoder
from streams.dlq.queue import Queue
from streams.errors import StreamsError, UnreachableError
from streams.health.aside import set_aside
from streams.health.ask import everything
from streams.health.standing import UNKNOWN, Standing, standing
from streams.health.words import Finding, Words, explain
from streams.kafka.admin import Admin
from streams.load import load_app
from streams.settings import Settings

NOT_HEALTHY = 1


def why(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP|GROUP", help="An app, or one consumer group.")],
    processor: Annotated[
        list[str] | None, typer.Option("--processor", "-p", metavar="NAME", help="This one only; repeatable.")
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where the workers' state lies.")] = None,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Say in words how each processor is, what it waits on and what to do; exit 1 where one is not healthy.

    Supervisors of this state folder are asked; what they do not know is told from Kafka alone.
    """
    inputs: dict[str, tuple[str, int] | None] = {target: None}
    code = None
    if ":" in target:
        app = load_app(target)
        code = app.settings
        inputs = {one.group: (one.source.name, one.source.partitions) for one in app.select(processor or [])}
    settings = settings_from(bootstrap_servers, schema_registry_url, properties, code=code, state_dir=state_dir)
    admin = Admin(settings)
    found = [_words(settings, admin, group, source) for group, source in inputs.items()]
    pipe.write("\n".join(line for words in found for line in words.lines()) + "\n")
    raise typer.Exit(0 if all(words.healthy for words in found) else NOT_HEALTHY)


def _words(settings: Settings, admin: Admin, group: str, source: tuple[str, int] | None) -> Words:
    workers, problems = everything(settings.state_dir, [group])
    try:
        stand, unreachable = standing(admin, settings, group, source), []
    except UnreachableError as error:
        stand, unreachable = Standing(group, UNKNOWN, 0, ()), [Finding(error.what, error.fix)]
    now_ms = time.time_ns() // 1_000_000
    words = explain(stand, workers, problems, now_ms, settings.stall_after.total_seconds())
    notes = [] if unreachable else _aside(settings, admin, group)
    return words._replace(wrong=[*unreachable, *words.wrong], notes=[*words.notes, *notes])


def _aside(settings: Settings, admin: Admin, group: str) -> list[Finding]:
    try:
        return set_aside(Queue(settings, group, admin), admin, row_decoder(Cluster(settings, [group], None)))
    except StreamsError as error:
        return [Finding(f"what waits and dead letters cannot be counted: {error.what}", error.fix)]
