"""`streams worker`: run the processors of an app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams import engines
from streams.avro.registry import Registry
from streams.cli.options import AppTarget, BootstrapServers, Properties, RegistryUrl, settings_from
from streams.health.endpoint import health_endpoint
from streams.kafka.admin import Admin
from streams.load import load_app
from streams.logs import configure_logs
from streams.preflight import check_topics
from streams.settings import Settings, require
from streams.supervisor import Job, Supervisor, supervise
from streams.topology import Processor


def worker(
    target: AppTarget,
    processor: Annotated[
        list[str] | None, typer.Option("--processor", "-p", metavar="NAME", help="Run this one only; repeatable.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes for each processor.")] = 1,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="native (as it is), or faust: stateless, at least once.")
    ] = None,
    guarantee: Annotated[str | None, typer.Option(help="exactly_once (as it is) or at_least_once.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where local state lives.")] = None,
    health_port: Annotated[
        str | None, typer.Option(help="Where /healthz and /metrics are: a port, 0 for a free one, or off.")
    ] = None,
    health_host: Annotated[str | None, typer.Option(help="The address they listen on.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Run the processors of an app until SIGTERM or Ctrl-C, each in processes of its own.

    A worker that crashes is started again. The first signal commits what is done and ends (exit 143 or 130), the
    second one ends at once.
    """
    app = load_app(target)
    chosen = app.select(processor or [])
    settings = settings_from(
        bootstrap_servers,
        schema_registry_url,
        properties,
        code=app.settings,
        engine=engine,
        guarantee=guarantee,
        state_dir=state_dir,
        health_port=health_port,
        health_host=health_host,
        log_format=log_format,
        log_level=log_level,
    )
    configure_logs(settings.log_format, settings.log_level)
    engines.engine(chosen, settings)
    _check(chosen, settings)
    supervisor = Supervisor([Job(target, one.name, workers, one.group) for one in chosen], settings)
    with health_endpoint(supervisor.board, settings):
        raise typer.Exit(supervise(supervisor))


def _check(processors: list[Processor], settings: Settings) -> None:
    """Say once what every worker would stumble on."""
    admin = Admin(settings, settings.start_timeout.total_seconds())
    Registry(require(settings.schema_registry_url, "schema_registry_url")).ping()
    for processor in processors:
        check_topics(admin, processor)
