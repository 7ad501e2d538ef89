"""`streams topic produce`: JSON lines in, Avro records out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.avro.schema import Schema
from streams.cli.lines import Contract, Lines
from streams.cli.options import BootstrapServers, Properties, RegistryUrl, settings_from
from streams.cli.spans import known_topic
from streams.errors import EncodeError, StreamsError, UsageError
from streams.kafka import config
from streams.kafka.admin import Admin
from streams.kafka.idempotent import IdempotentProducer
from streams.load import load_app
from streams.settings import require

_FLUSH_WITHIN = 30.0  # seconds

Topic = Annotated[str, typer.Argument(help="The topic.")]
File = Annotated[Path | None, typer.Option("--file", help="Read this file, not standard input.")]
WholeRecords = Annotated[
    bool, typer.Option("--envelope", help="Lines are whole records, as `streams topic consume` prints them.")
]
KeyField = Annotated[str | None, typer.Option("--key", metavar="FIELD", help="The field of the value that is the key.")]
Subject = Annotated[str | None, typer.Option(help="Take the newest schema of this subject, not of TOPIC-value.")]
SchemaId = Annotated[int | None, typer.Option(min=0, help="Take the schema with this id.")]
Declared = Annotated[
    str | None, typer.Option("--app", metavar="MODULE:APP", help="Take schema and key from the app's declaration.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Go on after a bad line; the exit code is 1 all the same.")]


def produce(
    topic: Topic,
    file: File = None,
    envelope: WholeRecords = False,
    key: KeyField = None,
    subject: Subject = None,
    schema_id: SchemaId = None,
    app: Declared = None,
    skip_bad: SkipBad = False,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Send lines of JSON as Avro records, each line the value of one.

    The schema is the newest one of TOPIC-value in the registry. A bad line is told with its number and ends the
    command with exit 1; nothing of it is sent. What was sent before it is acknowledged and counted.
    """
    _check_options(key, {"--subject": subject, "--schema-id": schema_id, "--app": app})
    settings = settings_from(bootstrap_servers, schema_registry_url, properties)
    admin = Admin(settings)
    known_topic(admin, topic)
    registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
    contract = _declared(registry, topic, app) if app else _registered(registry, topic, key, subject, schema_id)
    lines = Lines(topic, contract, envelope=envelope)
    limit = int(admin.topic_config([topic])[topic]["max.message.bytes"])  # or a whole batch would be refused
    producer = IdempotentProducer(config.producer(settings, "streams-topic-produce", limit), _FLUSH_WITHIN)
    with _opened(file) as source:
        bad = _send(producer, lines, source, skip_bad=skip_bad)
    if key is None and app is None and not envelope:
        sys.stderr.write("they have no key: name its field with --key, or the app that declares it with --app\n")
    if bad:
        numbers = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")  # noqa: PLR2004 - as many as are shown
        what = f"not sent: {'line' if len(bad) == 1 else 'lines'} {numbers}"
        raise StreamsError(what if skip_bad else f"{what} and what follows", fix=_remedy(bad, skip_bad=skip_bad))


def _check_options(key: str | None, schemas: dict[str, str | int | None]) -> None:
    named = [option for option, value in schemas.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} each name the schema", fix="leave one of them out")
    if key is not None and "--app" in named:
        raise UsageError("--app says what the key is, and --key says it too", fix="leave one of them out")


def _registered(
    registry: Registry, topic: str, key: str | None, subject: str | None, schema_id: int | None
) -> Contract:
    if schema_id is not None:
        return Contract(Schema(registry.schema(schema_id), f"schema {schema_id}"), schema_id, key)
    name = subject or f"{topic}-value"
    newest, text = registry.latest(name)
    return Contract(Schema(text, name), newest, key)


def _declared(registry: Registry, topic: str, target: str) -> Contract:
    topics = load_app(target).declared_topics()
    if topic not in topics:
        known = ", ".join(sorted(topics)) or "none"
        raise UsageError(f"{target} does not declare topic {topic}", fix=f"it declares {known}")
    found = topics[topic]
    schema = schema_of(found.model)
    return Contract(schema, registry.lookup(found.subject, schema.text), found.key)


@contextmanager
def _opened(file: Path | None) -> Iterator[BinaryIO]:
    if file is None:
        if sys.stdin.isatty():
            sys.stderr.write("reading JSON lines from the terminal; Ctrl-D ends\n")
        yield sys.stdin.buffer
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise UsageError(f"--file {file} cannot be read: {error.strerror}", fix="name a file of JSON lines") from error
    with opened:
        yield opened


def _send(producer: IdempotentProducer, lines: Lines, source: Iterable[bytes], *, skip_bad: bool) -> list[int]:
    """Send every good line and wait for Kafka's answer, whatever ends it; return the numbers of the bad ones."""
    sent, bad = 0, []
    try:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            try:
                record = lines.record(line)
            except EncodeError as error:
                bad.append(number)
                sys.stderr.write(f"line {number}: {error}\n")
                if skip_bad:
                    continue
                break
            sent += 1
            producer.send([record], f"line {number}")
    finally:
        _finish(producer, sent)
    return bad


def _finish(producer: IdempotentProducer, sent: int) -> None:
    try:
        producer.flush()
    finally:
        sys.stderr.write(f"{sent} records sent, {producer.acknowledged} acknowledged\n")


def _remedy(bad: list[int], *, skip_bad: bool) -> str:
    again = "send them again" if skip_bad else f"go on from there: tail -n +{bad[0]}"
    return f"correct what is told above and {again}"
