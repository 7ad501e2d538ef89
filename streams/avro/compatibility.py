"""Whether one schema's readers understand another's records, by the resolution rules of the Avro specification.

Every break has a name, the place in the reader's schema, and a way to mend it. Stricter than the specification
in one point: two different logical types on the same type (`timestamp-millis` and `timestamp-micros`) would be read
as wrong values, so they are a break.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streams.avro.nodes import (
    MISSING,
    Array,
    Enum,
    Fixed,
    Logical,
    Map,
    Node,
    Primitive,
    Record,
    Union,
    kind,
    label,
)
from streams.avro.resolution import PROMOTIONS, choose, same_meaning, same_name, writer_field
from streams.avro.schema import Schema

MAX_SYMBOLS_SHOWN: Final = 5


class Level(StrEnum):
    """Who reads whom when a contract changes; the transitive levels look at all earlier versions, not just the last.

    BACKWARD: the new version reads the old one's records (consumers are updated first). FORWARD: the old version
    reads the new one's (producers first). FULL: both.
    """

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"


@dataclass(frozen=True)
class Break:
    """One reason why the reader does not understand the writer: its kind, the place, the fact, the remedy."""

    kind: str
    path: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path or '/'}: {self.what} [{self.kind}]; {self.fix}"


def pairs(count: int, level: Level) -> Iterator[tuple[int, int]]:
    """Yield (reader, writer) for versions 1..count: each with itself, and with earlier ones as the level says."""
    for new in range(1, count + 1):
        yield new, new
        for old in range(1 if level.endswith("TRANSITIVE") else max(new - 1, 1), new):
            if level.startswith(("BACKWARD", "FULL")):
                yield new, old
            if level.startswith(("FORWARD", "FULL")):
                yield old, new


def check(reader: Schema, writer: Schema) -> list[Break]:
    """Return every reason why records written with `writer` cannot be read with `reader`; none means they can."""
    return _Check().compare(reader.root, writer.root, "")


class _Check:
    """One comparison; remembers the pairs of types that it is in or through, for types may hold themselves."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def compare(self, reader: Node, writer: Node, path: str) -> list[Break]:
        if (id(reader), id(writer)) in self._seen:
            return []
        self._seen.add((id(reader), id(writer)))
        if isinstance(writer, Union):
            return [found for branch in writer.branches for found in self._branch(reader, branch, path)]
        if isinstance(reader, Union):
            return self._branch(reader, writer, path)
        return self._logical(reader, writer, path) or self._types(reader, writer, path)

    def _branch(self, reader: Node, writer: Node, path: str) -> list[Break]:
        if not isinstance(reader, Union):
            return self.compare(reader, writer, path)
        index = choose(reader, writer)
        if index is None:
            what = f"the union has no branch for {label(writer)}, which the writer may send"
            return [Break("union-branch", path, what, f"keep {label(writer)} in the union")]
        return self.compare(reader.branches[index], writer, f"{path}/{index}")

    def _logical(self, reader: Node, writer: Node, path: str) -> list[Break]:
        if kind(reader) == kind(writer) and not same_meaning(reader, writer):
            what = f"logical type is {_meaning(reader)}, the writer's is {_meaning(writer)}"
            return [Break("logical-type", path, what, "add a field of the new type instead")]
        match getattr(reader, "logical", None), getattr(writer, "logical", None):
            case Logical(kind="decimal", precision=ours), Logical(kind="decimal", precision=theirs) if theirs > ours:
                what = f"a decimal of precision {ours} does not hold the writer's {theirs} digits"
                return [Break("decimal-precision", path, what, f"keep a precision of at least {theirs}")]
        return []

    def _types(self, reader: Node, writer: Node, path: str) -> list[Break]:  # noqa: PLR0911 (one per type)
        match reader, writer:
            case Primitive(kind=ours), Primitive(kind=theirs):
                return [] if ours == theirs or ours in PROMOTIONS.get(theirs, ()) else [_mismatch(reader, writer, path)]
            case Array(items=ours), Array(items=theirs):
                return self.compare(ours, theirs, f"{path}/items")
            case Map(values=ours), Map(values=theirs):
                return self.compare(ours, theirs, f"{path}/values")
            case (Record() as ours, Record() as theirs):
                return self._names(ours, theirs, path) or self._records(ours, theirs, path)
            case (Enum() as ours, Enum() as theirs):
                return self._names(ours, theirs, path) or self._enums(ours, theirs, path)
            case (Fixed() as ours, Fixed() as theirs):
                return self._names(ours, theirs, path) or self._fixeds(ours, theirs, path)
        return [_mismatch(reader, writer, path)]

    def _names(self, reader: Record | Enum | Fixed, writer: Record | Enum | Fixed, path: str) -> list[Break]:
        if same_name(reader, writer):
            return []
        what = f"{kind(reader)} is called {reader.name}, the writer's {writer.name}"
        return [Break("name", path, what, f'keep the name, or add "aliases": ["{writer.name}"]')]

    def _records(self, reader: Record, writer: Record, path: str) -> list[Break]:
        found = []
        for index, field in enumerate(reader.fields):
            theirs = writer_field(field, writer)
            at = f"{path}/fields/{index}"
            if theirs is not None:
                found += self.compare(field.type, theirs.type, f"{at}/type")
            elif field.default is MISSING:
                what = f"field {field.name} has no default, and the writer does not send it"
                fix = f"give {field.name} a default, or an alias if it was renamed"
                found.append(Break("missing-default", at, what, fix))
        return found

    def _enums(self, reader: Enum, writer: Enum, path: str) -> list[Break]:
        lost = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
        if not lost or reader.default is not None:
            return []
        shown = ", ".join(lost[:MAX_SYMBOLS_SHOWN]) + ("…" if len(lost) > MAX_SYMBOLS_SHOWN else "")
        what = f"{reader.name} lacks {shown}, which the writer may send"
        return [Break("enum-symbols", f"{path}/symbols", what, "keep the symbols, or give the enum a default")]

    def _fixeds(self, reader: Fixed, writer: Fixed, path: str) -> list[Break]:
        if reader.size == writer.size:
            return []
        what = f"{reader.name} has {reader.size} bytes, the writer's {writer.size}"
        return [Break("fixed-size", f"{path}/size", what, "add a fixed of another name for the new size")]


def _mismatch(reader: Node, writer: Node, path: str) -> Break:
    what = f"{label(reader)} cannot be read from {label(writer)}"
    wider = f"keep {label(writer)}, or add a field of the new type with a default"
    return Break("type", path, what, wider)


def _meaning(node: Node) -> str:
    logical: Logical | None = getattr(node, "logical", None)
    if logical is None:
        return "none"
    return f"{logical.kind}({logical.precision},{logical.scale})" if logical.kind == "decimal" else logical.kind


def breaks(versions: Sequence[Schema], level: Level) -> Iterator[tuple[int, int, list[Break]]]:
    """Yield (reader, writer, breaks) for every pair of a contract's versions that the level compares."""
    for reader, writer in pairs(len(versions), level):
        yield reader, writer, check(versions[reader - 1], versions[writer - 1])
