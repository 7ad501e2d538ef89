"""Options that every command which talks to a cluster shares, and the settings they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import update_wrapper
from typing import Annotated, Any, Concatenate, TypeVar, get_type_hints

import typer

from streams.local import with_local_cluster
from streams.settings import Settings, load_settings, parse_properties

S = TypeVar("S")

BootstrapServers = Annotated[
    str | None, typer.Option("--bootstrap-servers", "-b", help="Kafka's addresses, host:port[,host:port…].")
]
RegistryUrl = Annotated[str | None, typer.Option("--schema-registry-url", help="The schema registry's address.")]
Properties = Annotated[
    list[str] | None, typer.Option("-X", metavar="NAME=VALUE", help="Pass a librdkafka property through; repeatable.")
]
AppTarget = Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, for example shop.orders:app.")]


class Output(StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    JSON = "json"


OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="How data is printed.")]


def settings_from(
    servers: str | None,
    registry: str | None,
    properties: list[str] | None,
    *,
    code: Mapping[str, Any] | None = None,
    **more: Any,
) -> Settings:
    """Put a command's settings together; where nothing names a cluster, the local one of this folder is used.

    Raises:
        UsageError: a setting is unknown or wrong.
    """
    given = {"bootstrap_servers": servers, "schema_registry_url": registry, **more}
    if properties:
        given["kafka"] = parse_properties(properties)
    return with_local_cluster(load_settings(command_line=given, code=code))


def with_options(shared: Callable[..., S]) -> Callable[[Callable[Concatenate[S, ...], None]], Callable[..., None]]:
    """Have a command take the fields of a named tuple as options, beside its own, and get the tuple first."""
    fields = list(inspect.signature(shared).parameters.values())
    hints = get_type_hints(shared, include_extras=True)

    def decorate(command: Callable[Concatenate[S, ...], None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            command(shared(**{field.name: given.pop(field.name) for field in fields}), **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        taken = [field.replace(annotation=hints[field.name], kind=field.KEYWORD_ONLY) for field in fields] + own
        update_wrapper(run, command)
        run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined] # what typer reads
        run.__annotations__ = {one.name: one.annotation for one in taken}
        return run

    return decorate
