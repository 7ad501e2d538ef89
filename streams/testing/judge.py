"""Holding what a processor committed against what its records come to: nothing lost, twice, or out of order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from streams.record import RawRecord
from streams.testing.replay import Expected, Output

Written = tuple[bytes | None, bytes | None]


_WHAT_HAD_TO_BE = """\
What had to be written is what the handlers give when they run again: variables outside of stores make that differ.
At least once may write the same again after a failure; exactly once may not."""


class Found(NamedTuple):
    """What a processor wrote, by topic: committed records in their order, and the newest row of each key."""

    records: dict[str, list[RawRecord]]
    rows: dict[str, dict[bytes, bytes]]


class Verdict(NamedTuple):
    """How much was compared, and what is wrong with it, in words."""

    compared: int
    wrong: list[str]


def lost(processor: str, expected: Expected, found: Found) -> Verdict:
    """Find records that have to be there and are not, and rows that differ."""
    wrong: list[str] = []
    compared = expected.records
    for topic, outputs in expected.outputs.items():
        compared += len(outputs)
        if topic in expected.newest:
            wrong += [f"{processor} {told}" for told in _outdated(topic, outputs, found.records.get(topic, ()))]
            continue
        wanted = Counter((output.key, output.value) for output in outputs)
        missing = wanted - _count(found.records.get(topic, ()))
        wrong += [f"{processor} lost {_times(count)} {_shown(record)} for {topic}" for record, count in missing.items()]
    for topic, rows in expected.rows.items():
        newest = found.rows.get(topic, {})
        compared += len(rows.keys() | newest.keys())
        differing = sorted(key for key in rows.keys() | newest.keys() if rows.get(key) != newest.get(key))
        wrong += [f"{processor} has a wrong row in {topic}: key {key!r}" for key in differing]
    return Verdict(compared, wrong)


def duplicated(processor: str, expected: Expected, found: Found) -> Verdict:
    """Find records that are there more often than they have to be."""
    wrong: list[str] = []
    compared = 0
    for topic, outputs in _told(expected):
        wanted = Counter((output.key, output.value) for output in outputs)
        there = _count(found.records.get(topic, ()))
        compared += len(outputs)
        more = there - wanted
        wrong += [
            f"{processor} wrote {_shown(record)} to {topic} {_times(there[record])}, not {_times(wanted[record])}"
            for record in more
        ]
    return Verdict(compared, wrong)


def disordered(processor: str, expected: Expected, found: Found) -> Verdict:
    """Find keys whose records came in another order than their inputs."""
    wrong: list[str] = []
    compared = 0
    for topic, outputs in _told(expected):
        there: dict[bytes | None, list[bytes | None]] = defaultdict(list)
        for record in found.records.get(topic, ()):
            there[record.key].append(record.value)
        wanted: dict[tuple[bytes | None, bytes | None, int], list[bytes | None]] = defaultdict(list)
        for output in outputs:  # in the order in which their records were handled
            if output.key is not None and output.source_key is not None:  # without a key there is no order
                wanted[output.key, output.source_key, output.partition].append(output.value)
        compared += len(outputs)
        wrong += [
            f"{processor} wrote the records of key {key!r} to {topic} in another order than they came"
            for (key, _, _), values in wanted.items()
            if not _in_order(values, there[key])
        ]
    return Verdict(compared, wrong)


def _told(expected: Expected) -> Iterator[tuple[str, list[Output]]]:
    """Yield the topics of which every record can be told."""
    return ((topic, outputs) for topic, outputs in expected.outputs.items() if topic not in expected.newest)


def _outdated(topic: str, outputs: Sequence[Output], there: Iterable[RawRecord]) -> Iterator[str]:
    """Find keys whose newest record is not the last that one of its partitions came to."""
    last: dict[bytes | None, dict[int, bytes | None]] = defaultdict(dict)
    for output in outputs:
        last[output.key][output.partition] = output.value
    newest = {record.key: record.value for record in there}
    for key in last.keys() | newest.keys():
        if key not in newest or newest[key] not in last[key].values():
            yield f"has another newest record of key {key!r} in {topic}"


def checked(verdict: Verdict, where: str) -> int:
    """Return how much was compared.

    Raises:
        AssertionError: something is wrong, or nothing was compared; it says `where`.
    """
    if verdict.wrong:
        shown = "\n".join(f"  - {line}" for line in verdict.wrong[:5])
        raise AssertionError(f"{len(verdict.wrong)} wrong ({where}):\n{shown}\n{_WHAT_HAD_TO_BE}")
    if not verdict.compared:
        raise AssertionError(f"nothing was compared: no committed record has an output yet ({where})")
    return verdict.compared


def _count(records: Iterable[RawRecord]) -> Counter[Written]:
    return Counter((record.key, record.value) for record in records)


def _in_order(wanted: Sequence[Hashable], there: Sequence[Hashable]) -> bool:
    """Tell whether what is wanted can be read in its order, whatever else is there; missing ones aside.

    At least once leaves outputs of attempts that were given up, but the last attempt wrote everything in order.
    """
    present, reading = set(there), iter(there)
    return all(value in reading for value in wanted if value in present)


def _shown(record: Written) -> str:
    key, value = record
    return f"the record with key {key!r} and value {(value or b'')[:40]!r}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
