"""`streams topic consume --as-test`: records become a pytest file that feeds them to the app again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from streams.app import App
from streams.avro.registry import Registry, UnknownIdError
from streams.avro.wire import split
from streams.cli.literals import literal
from streams.errors import DecodeError, UsageError
from streams.failures.policy import FailurePolicy
from streams.load import load_app
from streams.record import RawRecord
from streams.testing.surface import DeadLetter, dead_letter_of
from streams.topology import Processor

MOST_RECORDS = 100
_MOST_REASON = 100  # characters
_DEAD_LETTER = "__connect.errors.topic"


class Plan(NamedTuple):
    """Where the test goes, and what it tests; `target` is MODULE:APP."""

    file: Path
    target: str
    app: App
    processor: str | None


class Case(NamedTuple):
    """A record to feed, and why it was refused, if it was."""

    record: RawRecord
    reason: str


def plan(file: Path, target: str | None, processor: str | None, *, force: bool, follow: bool) -> Plan:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: there is no app or no such processor, the file exists, or --follow would never end.
    """
    if target is None:
        raise UsageError("--as-test needs the app that the test runs", fix="add --app MODULE:APP")
    if follow:
        raise UsageError("--as-test with --follow would never end", fix="choose records with -p, --offset and -n")
    if file.exists() and not force:
        raise UsageError(f"{file} exists already", fix="name another file, or add --force to replace it")
    app = load_app(target)
    app.select([processor] if processor else [])
    return Plan(file, target, app, processor)


def write_test(plan: Plan, records: Iterable[RawRecord], registry: Registry) -> int:
    """Write the file for all records, one case each, and return their number.

    Raises:
        UsageError: there is no record or too many, the app does not read them, or the file cannot be written.
    """
    read: list[RawRecord] = []
    for record in records:
        read.append(record)
        if len(read) > MOST_RECORDS:
            raise UsageError(
                f"more than {MOST_RECORDS} records are too many for a test",
                fix="choose some with -p, --offset, --from and -n",
            )
    if not read:
        raise UsageError(
            "there is no record to make a test of", fix="look with `streams topic consume` without --as-test"
        )
    processor, cases = _cases(plan, read)
    schemas = _schemas([case.record.value for case in cases], registry)
    try:
        plan.file.write_text(source(plan.target, processor, cases, schemas), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{plan.file} cannot be written: {error.strerror}", fix="name a file in a folder") from error
    return len(cases)


def _cases(plan: Plan, records: Sequence[RawRecord]) -> tuple[Processor, list[Case]]:
    """Return what to feed, and to which processor."""
    if not any(name == _DEAD_LETTER for name, _ in records[0].headers):
        return _reader(plan, records[0].topic), [Case(record, "") for record in records]
    refused_by = [p for p in plan.app.processors.values() if p.dead_letter_topic == records[0].topic]
    processor = plan.app.processors[plan.processor] if plan.processor else refused_by[0] if refused_by else None
    if processor is None:
        raise UsageError(
            f"no processor of {plan.target} has its dead letters in {records[0].topic}", fix="add --processor"
        )
    letters = [_dead_letter(record, processor.name) for record in records]
    for letter in letters:
        if letter.topic != processor.source.name:
            raise UsageError(
                f"the record comes from {letter.topic}, and {processor.name} reads {processor.source.name}",
                fix="name the processor that refused it with --processor",
            )
    _check_policy(processor)
    return processor, [Case(letter.record, letter.message) for letter in letters]


def _reader(plan: Plan, topic: str) -> Processor:
    readers = [p for p in plan.app.processors.values() if p.source.name == topic]
    chosen = [p for p in readers if plan.processor in {None, p.name}]
    if not chosen:
        names = ", ".join(p.name for p in readers)
        who = plan.processor or f"no processor of {plan.target}"
        raise UsageError(
            f"{who} does not read {topic}" if plan.processor else f"{who} reads {topic}",
            fix=f"use --processor {names}" if names else "consume a topic that it reads, or its dead letters",
        )
    if len(chosen) > 1:
        names = ", ".join(p.name for p in chosen)
        raise UsageError(f"several processors read {topic}: {names}", fix="choose one with --processor")
    _check_policy(chosen[0])
    return chosen[0]


def _check_policy(processor: Processor) -> None:
    if processor.on_failure.then is FailurePolicy.SKIP:
        raise UsageError(
            f"{processor.name} skips what it refuses, so no test could tell", fix="let it use on_failure=DEAD_LETTER"
        )


def _dead_letter(record: RawRecord, processor: str) -> DeadLetter:
    try:
        return dead_letter_of(record, processor)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"{record.topic}[{record.partition}] offset {record.offset} is no dead letter of ours: {error}",
            fix="choose others with -p, --offset and -n",
        ) from error


def _schemas(values: Iterable[bytes | None], registry: Registry) -> dict[int, str]:
    """Return the schemas that the frames name; what is no frame, or names none, is a case all the same."""
    found: dict[int, str] = {}
    for value in values:
        try:
            schema_id = split(value or b"")
            if schema_id not in found:
                found[schema_id] = registry.schema(schema_id)
        except (DecodeError, UnknownIdError):
            continue
    return dict(sorted(found.items()))


def source(target: str, processor: Processor, cases: Sequence[Case], schemas: Mapping[int, str]) -> str:
    """Return the source of the test; the same for the same records."""
    module, _, name = target.partition(":")
    return "\n".join(
        [
            *_docstring(processor, cases),
            "",
            "import pytest",
            "from streams import Record",
            "",
            f"from {module} import {name}",
            "",
            *_schema_lines(schemas),
            "RECORDS = [",
            *(line for case in cases for line in _record_lines(case.record)),
            "]",
            "",
            "",
            *_test_lines(name, processor),
            "",
        ]
    )


def _docstring(processor: Processor, cases: Sequence[Case]) -> Iterator[str]:
    refused = any(case.reason for case in cases)
    yield f'"""Records of {processor.source.name} that {processor.name} {"refused" if refused else "reads"}, as a test.'
    yield ""
    for record, reason in cases:
        yield f"{record.topic}[{record.partition}] offset {record.offset}{': ' if reason else ''}{_told(reason)}"
    yield ""
    yield f"The test feeds their bytes to the app in memory and wants {processor.name} to refuse none of them."
    if refused:
        yield "It FAILS until the handler is mended, or whatever else refuses them."
    yield "Stores and tables are empty: what the handler needs of them has to be sent first."
    yield '"""'


def _told(reason: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in reason.partition("\n")[0])
    return plain.replace("\\", "/").replace('"', "'")[:_MOST_REASON]


def _schema_lines(schemas: Mapping[int, str]) -> Iterator[str]:
    yield "# What the schema ids in the values stand for."
    if not schemas:
        yield "SCHEMAS: dict[int, str] = {}"
        return
    yield "SCHEMAS = {"
    for schema_id, text in schemas.items():
        yield f"    {schema_id}: {literal(text, f'{schema_id}: ', 4)},"
    yield "}"


def _record_lines(record: RawRecord) -> Iterator[str]:
    yield "    Record("
    yield f"        topic={literal(record.topic, 'topic=', 8)},"
    yield f"        key={literal(record.key, 'key=', 8)},"
    yield f"        value={literal(record.value, 'value=', 8)},"
    yield f"        timestamp_ms={record.timestamp_ms},"
    yield f"        partition={record.partition},"
    yield f"        offset={record.offset},"
    if record.headers:
        yield "        headers=("
        for name, value in record.headers:
            yield "            ("
            yield f"                {literal(name, '', 16)},"
            yield f"                {literal(value, '', 16)},"
            yield "            ),"
        yield "        ),"
    yield "    ),"


def _test_lines(app: str, processor: Processor) -> Iterator[str]:
    name = processor.name
    yield '@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r.partition}-{r.offset}")'
    yield f"def test_{name}_takes_the_record("
    yield "    record: Record[bytes | None, bytes | None],"
    yield ") -> None:"
    yield f'    with {app}.test(processors=["{name}"]) as driver:'
    yield "        for schema_id, text in SCHEMAS.items():"
    yield "            driver.learn_schema(schema_id, text)"
    yield "        driver.send_raw("
    yield f'            {app}.processors["{name}"].source,'
    yield "            record.value,"
    yield "            key=record.key,"
    yield "            headers=record.headers,"
    yield "            timestamp_ms=record.timestamp_ms,"
    yield "            partition=record.partition,"
    yield "        )"
    yield "        assert driver.dead_letters == []"
    yield f'        assert driver.lag["{name}"] == 0'
    if processor.outputs:
        yield "        # Say what has to come out:"
        yield f"        # topics = {app}.declared_topics()"
    for topic in processor.outputs.values():
        yield f'        # assert driver.published(topics["{topic.name}"]) == []'
