"""`streams dlq show`: whole dead letters, for people, programs and tests."""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli import pipe
from streams.cli.as_test import plan as plan_test
from streams.cli.as_test import write_test
from streams.cli.options import BootstrapServers, Output, OutputFormat, Properties, RegistryUrl
from streams.cli.queues import Cluster, ProcessorOption, Target, cluster, describer, moment, the_only
from streams.cli.show import plain
from streams.cli.waits import waiting_whole
from streams.dlq.history import history
from streams.dlq.letter import Letter, NotALetter, Place, read_place
from streams.dlq.queue import Queue
from streams.errors import UsageError

PlaceArgument = Annotated[
    str | None, typer.Argument(metavar="PARTITION/OFFSET", help="Where it lies in the dead-letter topic.")
]


def show_dead_letter(
    target: Target,
    place: PlaceArgument = None,
    processor: ProcessorOption = None,
    newest: Annotated[
        int | None, typer.Option("-n", min=1, help="Instead of one place: the newest N open ones.")
    ] = None,
    as_test: Annotated[Path | None, typer.Option("--as-test", metavar="FILE", help="Write them as a test.")] = None,
    app_target: Annotated[str | None, typer.Option("--app", metavar="MODULE:APP", help="The app to test.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --as-test replace FILE.")] = False,
    waiting: Annotated[
        bool, typer.Option("--waiting", "--parked", help="PARTITION/OFFSET is that of a record that waits.")
    ] = False,
    output: OutputFormat = Output.TABLE,
    bootstrap_servers: BootstrapServers = None,
    schema_registry_url: RegistryUrl = None,
    properties: Properties = None,
) -> None:
    """Show whole dead letters: value, key, headers, reason, stack trace, and what was done with them."""
    at = _place(place, newest)
    found = cluster(target, processor, bootstrap_servers, schema_registry_url, properties)
    tested = app_target or found.target
    test = plan_test(as_test, tested, processor, force=force, follow=False) if as_test else None
    queue = the_only(found)
    if waiting:
        if at is None or test is not None:
            raise UsageError("of what waits, one place is shown", fix="name PARTITION/OFFSET as `list --waiting` does")
        _print(waiting_whole(found, queue, at), output)
        return
    letters = [_one(queue, at)] if at else _newest(queue, newest or 1)
    if test is not None:
        cases = write_test(test, [letter.record for letter in letters], found.registry())
        sys.stderr.write(f"{test.file} written with {cases} cases; run it: python -m pytest {test.file}\n")
        return
    for letter in letters:
        _print(_whole(found, queue, letter), output)


def _place(place: str | None, newest: int | None) -> Place | None:
    if (place is None) == (newest is None):
        raise UsageError("which dead letter is meant?", fix="name PARTITION/OFFSET, or -n N for the newest N")
    try:
        return read_place(place) if place else None
    except ValueError as error:
        raise UsageError(str(error), fix="write it as in 0/17; `streams dlq list` shows examples") from None


def _one(queue: Queue, place: Place) -> Letter:
    letter = queue.letter(place)
    if isinstance(letter, NotALetter):
        topic = queue.names.dead_letters
        raise UsageError(
            f"{place} in {topic} is no dead letter of ours: {letter.why}",
            fix=f"look at it with `streams topic consume {topic} -p {place.partition} --offset {place.offset} -n 1`",
        )
    return letter


def _newest(queue: Queue, count: int) -> list[Letter]:
    settled = queue.settled()
    every = (letter for letter in queue.letters() if isinstance(letter, Letter) and letter.place not in settled)
    return heapq.nlargest(count, every, key=lambda letter: (letter.time_ms, letter.place))


def _whole(found: Cluster, queue: Queue, letter: Letter) -> dict[str, Any]:
    """Return all that is known of a dead letter."""
    original = letter.original
    events = history(letter, queue.letters() if letter.redrives else iter(()), queue.redrive_records())
    described = describer(found)(original)
    return {
        "dead_letter": str(letter.place),
        "group": queue.names.group,
        "open": not any(event["dead_letter"] == str(letter.place) for event in events),
        **described,
        "timestamp": moment(original.timestamp_ms),
        "failed": {
            "stage": letter.stage,
            "kind": letter.kind,
            "type": letter.type,
            "message": letter.message,
            "handler": letter.handler,
            "attempts": letter.attempts,
            "time": moment(letter.time_ms),
            "stacktrace": letter.stacktrace,
        },
        "redrives": letter.redrives,
        "history": events,
    }


def _print(shown: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        pipe.write(json.dumps(shown, ensure_ascii=False) + "\n")
        return
    for name, value in shown.items():
        for line in _lines(name, value):
            pipe.write(plain(line) + "\n")
    pipe.write("\n")


def _lines(name: str, value: Any) -> Iterator[str]:
    if name == "failed":
        trace = value.pop("stacktrace", "")
        yield from (f"{f'failed {part}':<16}{told}" for part, told in value.items())
        if trace:
            yield trace.rstrip()
    elif name == "history":
        yield from (f"{'history':<16}{json.dumps(event, ensure_ascii=False)}" for event in value)
    else:
        yield f"{name:<16}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
