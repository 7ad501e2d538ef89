"""`streams up`, `streams down`, `streams status`: the embedded cluster from the command line."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from streams.embedded import Addresses, Cluster, Status
from streams.errors import UnreachableError
from streams.settings import PREFIX

DATA_HELP = "Folder of the cluster's data; by default the last one used from here, else .streams/cluster."
PORT_HELP = "Kafka's port, 9092 by default; the two after it are the controller's and the registry's."

Data = Annotated[Path | None, typer.Option(help=DATA_HELP)]
Port = Annotated[int | None, typer.Option(help=PORT_HELP)]
Wipe = Annotated[bool, typer.Option("--wipe", help="Delete the topics, schemas and logs as well.")]


class Output(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]


def up(data: Data = None, port: Port = None) -> None:
    """Start a real Kafka and schema registry on this machine, for development.

    They run until `streams down`; other commands find them without configuration. Needs neither Docker nor Java.
    """
    cluster = _cluster(data, port)
    if not cluster.status().running:
        _tell("starting Kafka and the schema registry")
    cluster.up()
    cluster.announce()
    _print_addresses(cluster.addresses)


def down(data: Data = None, wipe: Wipe = False) -> None:
    """Stop the cluster that `streams up` started; its data stays, unless --wipe."""
    cluster = _cluster(data, None)
    stopped = cluster.down(wipe=wipe)
    _tell("stopped" if stopped else f"nothing runs in {cluster.data}")
    if wipe:
        _tell(f"deleted the data in {cluster.data}")


def status(data: Data = None, output: OutputOption = Output.TABLE) -> None:
    """Show the cluster's servers; the exit code is 0 if all of them serve, else 3."""
    found = _cluster(data, None).status()
    if output is Output.JSON:
        typer.echo(json.dumps(_as_json(found), indent=2))
    else:
        Console().print(_as_table(found))
    if not found.running:
        raise UnreachableError(
            "the cluster does not serve: " + ", ".join(f"{s.name} is {s.state}" for s in found.servers),
            where=str(found.data),
            fix="streams up",
        )


def _cluster(data: Path | None, port: int | None) -> Cluster:
    return Cluster(data, port, say=_tell)


def _tell(message: str) -> None:
    typer.echo(message, err=True)


def _print_addresses(addresses: Addresses) -> None:
    for name, value in asdict(addresses).items():
        typer.echo(f"{PREFIX}{name.upper()}={value}")


def _as_json(found: Status) -> dict[str, object]:
    servers = [{**asdict(server), "log": str(server.log)} for server in found.servers]
    return {"running": found.running, "data": str(found.data), **asdict(found.addresses), "servers": servers}


def _as_table(found: Status) -> Table:
    table = Table("server", "state", "address", "pid", "log", box=None)
    for server in found.servers:
        pid = "" if server.pid is None else str(server.pid)
        table.add_row(server.name, server.state, server.address, pid, str(server.log))
    return table
