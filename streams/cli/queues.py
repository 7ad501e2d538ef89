"""What the commands of `streams dlq` share: their options, and finding the group that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

import typer

from streams.avro.codec import Codec
from streams.avro.registry import Registry, UnknownIdError
from streams.cli.envelope import Describer
from streams.cli.moments import FORMS, milliseconds, shown
from streams.cli.options import settings_from
from streams.cli.show import plain
from streams.cli.spans import select
from streams.dlq.fields import LETTER_NAMES, WAITING_NAMES, Describe, now_ms, where
from streams.dlq.plan import Choice
from streams.dlq.queue import Queue
from streams.dlq.waiting import Decode
from streams.dlq.where import Where
from streams.errors import UnknownSchemaError, UsageError
from streams.failures.waiting_record import WaitingRecord
from streams.kafka.admin import Admin
from streams.load import load_app
from streams.logs import configure_logs
from streams.record import RawRecord
from streams.settings import Settings, require

Target = Annotated[
    str, typer.Argument(metavar="MODULE:APP|GROUP", help="The app, or the group of a processor: <app>.<processor>.")
]
ProcessorOption = Annotated[str | None, typer.Option("--processor", metavar="NAME", help="A processor of the app.")]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help='Only those, as in: value.total > 100 and error.type == "ValueError"'),
]
Since = Annotated[str | None, typer.Option("--from", metavar="TIME", help=f"Given up at this time or later: {FORMS}.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Given up before this time.")]
Waits = Annotated[bool, typer.Option("--waiting", help="Of the keys that wait, parked or to be tried again.")]
Parked = Annotated[bool, typer.Option("--parked", help="Of the keys that are parked.")]


class Cluster(NamedTuple):
    """The settings of a command, and the groups that are meant; `target` is MODULE:APP if that named them."""

    settings: Settings
    groups: list[str]
    target: str | None

    def queues(self) -> list[Queue]:
        """Return the topics of each group."""
        admin = Admin(self.settings)
        return [Queue(self.settings, group, admin) for group in self.groups]

    def registry(self) -> Registry:
        """Return the schema registry's client."""
        return Registry(require(self.settings.schema_registry_url, "schema_registry_url"))


def cluster(
    target: str, processor: str | None, servers: str | None, registry: str | None, properties: list[str] | None
) -> Cluster:
    """Find the groups that MODULE:APP or GROUP names.

    Raises:
        UsageError: there is no such app or processor, or a setting is wrong.
    """
    if ":" not in target:
        if processor is not None:
            raise UsageError("--processor belongs to MODULE:APP", fix=f"name the group: {target}.{processor}")
        return _logged(Cluster(settings_from(servers, registry, properties), [target], None))
    app = load_app(target)
    chosen = app.select([processor] if processor else [])
    settings = settings_from(servers, registry, properties, code=app.settings)
    return _logged(Cluster(settings, [one.group for one in chosen], target))


def _logged(found: Cluster) -> Cluster:
    """Have the clients' warnings on stderr in the form that is set."""
    configure_logs(found.settings.log_format, found.settings.log_level)
    return found


def the_only(found: Cluster) -> Queue:
    """Return the topics of the one group that is meant.

    Raises:
        UsageError: there are several.
    """
    if len(found.groups) > 1:
        raise UsageError(
            f"{found.target} has {len(found.groups)} processors, and this is done for one", fix="add --processor NAME"
        )
    return found.queues()[0]


def choice(expression: str | None, since: str | None, until: str | None, *, of_waiting: bool) -> Choice:
    """Read the options that choose.

    Raises:
        UsageError: one of them is wrong.
    """
    bounds = select(partition=None, offset=None, since=since, until=until, follow=False)
    names = WAITING_NAMES if of_waiting else LETTER_NAMES
    chosen = where(expression, names, lambda text: milliseconds(text, "time", now_ms())) if expression else None
    return Choice(chosen, bounds.since_ms, bounds.until_ms)


def describer(found: Cluster) -> Describe:
    """Return what makes JSON of records; the registry is asked only once a value is to be decoded."""

    @cache
    def made() -> Describer:
        return Describer(found.registry())

    def describe(record: RawRecord) -> Mapping[str, Any]:
        return made().describe(record)

    return describe


def row_decoder(found: Cluster) -> Decode:
    """Return what decodes rows of waiting records."""
    codec, registry = Codec(WaitingRecord), found.registry()

    def decode(frame: bytes) -> WaitingRecord:
        try:
            return codec.decode([frame])[0]
        except UnknownSchemaError as unknown:
            try:
                codec.learn(unknown.schema_id, registry.schema(unknown.schema_id))
            except UnknownIdError as error:
                codec.refuse(unknown.schema_id, error.what)
            return codec.decode([frame])[0]

    return decode


def left_out(where: Where | None) -> str:
    """Say how many records the expression could not be applied to, and why."""
    if where is None or not where.left_out:
        return ""
    reasons = "; ".join(f"{plain(why)} ({count})" for why, count in where.left_out.most_common(3))
    return f"{where.left_out.total()} do not match because --where cannot be applied to them: {reasons}"


def moment(time_ms: int) -> str:
    """Show a time, whatever it is."""
    try:
        return shown(time_ms)
    except (OverflowError, ValueError, OSError):
        return str(time_ms)
