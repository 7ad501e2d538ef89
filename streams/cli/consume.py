"""`streams topic consume`: what a topic holds, decoded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.avro.registry import Registry
from streams.cli import pipe
from streams.cli.as_test import plan, write_test
from streams.cli.envelope import Describer
from streams.cli.moments import FORMS
from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, RegistryUrl, settings_from
from streams.cli.spans import select, spans
from streams.errors import UsageError
from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.kafka.snapshot import read_through
from streams.record import RawRecord, TopicPartition
from streams.settings import require

_WAIT = 0.2  # seconds

Topic = Annotated[str, typer.Argument(help="The topic.")]
Partition = Annotated[int | None, typer.Option("--partition", "-p", min=0, help="Only this partition.")]
Offset = Annotated[
    str | None,
    typer.Option("--offset", metavar="N|-N|beginning|end", help="Where to begin, by default at the beginning."),
]
Since = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help=f"Begin at this time: {FORMS}; UTC without an offset.")
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End before this time, written like --from.")]
Count = Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many records.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Wait for more at the end.")]

AsTest = Annotated[
    Path | None, typer.Option("--as-test", metavar="FILE", help="Write the records as a test of --app, print nothing.")
]
AppOption = Annotated[str | None, typer.Option("--app", metavar="MODULE:APP", help="The app to test.")]
ProcessorOption = Annotated[str | None, typer.Option("--processor", metavar="NAME", help="The processor to test.")]
Force = Annotated[bool, typer.Option("--force", help="Let --as-test replace FILE.")]


def consume(
    topic: Topic,
    partition: Partition = None,
    offset: Offset = None,
    since: Since = None,
    until: Until = None,
    count: Count = None,
    follow: Follow = False,
    as_test: AsTest = None,
    app: AppOption = None,
    processor: ProcessorOption = None,
    force: Force = False,
    output: OutputFormat = Output.JSON,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Print committed records, Avro decoded, one JSON object a line.

    `streams topic produce --envelope` reads what is printed. With --as-test the records become a test of the app
    instead, which feeds their bytes to the processor that refused them, or to the one that reads them.
    """
    test = plan(as_test, app, processor, force=force, follow=follow) if as_test else None
    if test is None and (app or processor or force):
        raise UsageError("--app, --processor and --force belong to --as-test", fix="add --as-test FILE")
    selection = select(partition=partition, offset=offset, since=since, until=until, follow=follow)
    settings = settings_from(bootstrap_servers, schema_registry_url, properties)
    found = spans(Admin(settings), topic, selection)
    registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
    describer = Describer(registry)
    reader = Reader(config.reader(settings, "streams-topic-consume"))
    try:
        records = islice(_records(reader, found, follow=follow), count)
        if test is not None:
            cases = write_test(test, records, registry)
            sys.stderr.write(f"{test.file} written with {cases} cases; run it: python -m pytest {test.file}\n")
            return
        for record in records:
            _print(describer.describe(record), output)
    finally:
        reader.close()


def _records(reader: Reader, found: dict[TopicPartition, Range], *, follow: bool) -> Iterator[RawRecord]:
    """Yield records up to the ends that were seen at the start, or for ever."""
    if not follow:
        yield from chain.from_iterable(read_through(reader, found))
        return
    reader.follow({tp: span.start for tp, span in found.items()})
    while True:
        yield from reader.poll(1_000, _WAIT).records
        pipe.flush()
        pipe.leave_if_unread()


def _print(shown: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        pipe.write(json.dumps(shown, ensure_ascii=False) + "\n")
    else:
        place = f"{shown['topic']}[{shown['partition']}]@{shown['offset']}"
        pipe.write(f"{place}  {shown['key']}  {json.dumps(shown['value'], ensure_ascii=False)}\n")
