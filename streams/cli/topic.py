"""`streams topic`: list and make topics, read what they hold."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from datetime import date, time
from itertools import chain
from typing import Annotated, Any

import typer

from streams.avro.plain import decode_plain
from streams.avro.registry import Registry
from streams.avro.wire import split
from streams.cli.options import (
    AppTarget,
    BootstrapServers,
    Output,
    OutputFormat,
    Properties,
    RegistryUrl,
    settings_from,
)
from streams.cli.show import show
from streams.errors import DecodeError, UsageError
from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.kafka.snapshot import read_through
from streams.load import load_app
from streams.record import RawRecord, TopicPartition
from streams.settings import require

app = typer.Typer(help="Topics: list, create, consume.", no_args_is_help=True)

LONG_BYTES = 8


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


@app.command("consume")
def consume(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0, help="Only this partition.")] = None,
    offset: Annotated[
        str, typer.Option("--offset", metavar="N|-N|beginning|end", help="Where to begin; -N is N before the end.")
    ] = "beginning",
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many records.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more at the end.")] = False,
    output: OutputFormat = Output.JSON,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Print committed records, Avro decoded, one JSON object a line."""
    settings = settings_from(bootstrap_servers, schema_registry_url, properties)
    spans = {
        tp: Range(_start(offset, held), held.end) for tp, held in _spans(Admin(settings), topic, partition).items()
    }
    reader = Reader(config.reader(settings, "streams-topic-consume"))
    decoder = _Decoder(Registry(require(settings.schema_registry_url, "schema_registry_url")))
    try:
        for index, record in enumerate(_records(reader, spans, follow=follow), 1):
            _print(decoder.describe(record), output)
            if index == count:
                break
    finally:
        reader.close()


def _spans(admin: Admin, topic: str, partition: int | None) -> dict[TopicPartition, Range]:
    partitions = admin.topics().get(topic)
    if partitions is None:
        raise UsageError(f"there is no topic {topic}", fix="`streams topic list` shows what there is")
    if partition is not None and partition >= partitions:
        raise UsageError(f"topic {topic} has no partition {partition}", fix=f"use 0 to {partitions - 1}")
    chosen = range(partitions) if partition is None else [partition]
    return admin.ranges(TopicPartition(topic, number) for number in chosen)


def _start(offset: str, held: Range) -> int:
    if offset == "beginning":
        return held.start
    if offset == "end":
        return held.end
    try:
        number = int(offset)
    except ValueError:
        raise UsageError(f"--offset {offset}: not an offset", fix="write a number, -N, beginning or end") from None
    start = held.end + number if number < 0 else number
    if start > held.end:
        raise UsageError(f"--offset {offset} is beyond the end, which is {held.end}", fix="choose an earlier one")
    return max(start, held.start)


def _records(reader: Reader, spans: dict[TopicPartition, Range], *, follow: bool) -> Iterator[RawRecord]:
    """Yield records up to the ends that were seen at the start, or for ever."""
    if not follow:
        yield from chain.from_iterable(read_through(reader, spans))
        return
    reader.follow({tp: span.start for tp, span in spans.items()})
    while True:
        yield from reader.poll(1_000, 0.2).records


class _Decoder:
    """Turns records into what JSON can hold; a value that does not decode is shown as bytes with the reason."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._schemas: dict[int, str] = {}

    def describe(self, record: RawRecord) -> dict[str, Any]:
        """Return a record as JSON-able values."""
        shown: dict[str, Any] = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": _key(record.key),
        }
        try:
            shown["value"] = None if record.value is None else self._value(record.value)
        except DecodeError as error:
            shown["value"], shown["error"] = _bytes(record.value or b""), str(error)
        if record.headers:
            shown["headers"] = {name: None if value is None else _text(value) for name, value in record.headers}
        return shown

    def _value(self, frame: bytes) -> Any:
        schema_id = split(frame)
        if schema_id not in self._schemas:
            self._schemas[schema_id] = self._registry.schema(schema_id)
        return decode_plain(self._schemas[schema_id], frame)


def _key(raw: bytes | None) -> Any:
    """Show a key as text where it is text, as a number where it has the eight bytes of one."""
    if raw is None:
        return None
    text = _text(raw)
    if isinstance(text, str) and text.isprintable():
        return text
    return int.from_bytes(raw, "big", signed=True) if len(raw) == LONG_BYTES else _bytes(raw)


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _bytes(raw)


def _plain(value: Any) -> Any:
    """Return what JSON has no form of its own for: bytes as base64, times as ISO 8601, other values as text."""
    if isinstance(value, bytes):
        return _bytes(value)
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _bytes(raw: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(raw).decode()}


def _print(shown: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        sys.stdout.write(json.dumps(shown, default=_plain, ensure_ascii=False) + "\n")
    else:
        place = f"{shown['topic']}[{shown['partition']}]@{shown['offset']}"
        sys.stdout.write(f"{place}  {shown['key']}  {json.dumps(shown['value'], default=_plain, ensure_ascii=False)}\n")
