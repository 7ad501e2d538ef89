"""The types of a parsed schema. A reference to a named type is the very same object as its definition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
MISSING: Final = object()  # the default of a field that has none; None is the default `null`


@dataclass(frozen=True, slots=True)
class Logical:
    """What a primitive or fixed type stands for; precision and scale belong to `decimal`."""

    kind: str
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """One of the eight types without parts."""

    kind: str
    logical: Logical | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Bytes of one size."""

    name: str
    size: int
    aliases: tuple[str, ...] = ()
    logical: Logical | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Enum:
    """One of a list of symbols; `default` answers for symbols that the reader does not know."""

    name: str
    symbols: tuple[str, ...]
    default: str | None = None
    aliases: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Any number of items."""

    items: Node


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Values by string key."""

    values: Node


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """One of several types."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a record; `default` is the JSON value or MISSING."""

    name: str
    type: Node
    default: Any = MISSING
    aliases: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Fields in the order of the wire. `fields` is filled after the record is known by name: it may hold itself."""

    name: str
    fields: list[Field] = field(default_factory=list)
    aliases: tuple[str, ...] = ()
    doc: str = ""


Named = Fixed | Enum | Record
Node = Primitive | Fixed | Enum | Array | Map | Union | Record


def kind(node: Node) -> str:
    """Return the Avro name of the node's type: `string`, `record`, `array` …."""
    return node.kind if isinstance(node, Primitive) else type(node).__name__.lower()


def label(node: Node) -> str:
    """Return how a message names the type: its full name where it has one."""
    return node.name if isinstance(node, Named) else kind(node)


def parts(node: Node) -> tuple[Node, ...]:
    """Return the types that a type is made of."""
    match node:
        case Array(items=part) | Map(values=part):
            return (part,)
        case Union(branches=branches):
            return branches
        case Record(fields=fields):
            return tuple(f.type for f in fields)
    return ()
