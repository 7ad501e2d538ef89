"""Python names and types for a schema's: what generated source says instead of an Avro name, type or default."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any, Final

from streams.avro import values
from streams.avro.model import AvroModel
from streams.avro.nodes import Array, Enum, Fixed, Logical, Map, Node, Primitive, Record, Union
from streams.avro.parse import fits
from streams.avro.pythontypes import refuse_ambiguous
from streams.errors import UsageError

# What generated modules import and mention: a class or field of that name would hide it.
IMPORTED: Final = frozenset(
    {
        *("datetime", "Decimal", "StrEnum", "Annotated", "ClassVar", "UUID", "AwareDatetime", "Field", "NaiveDatetime"),
        *("AvroModel", "FrozenDict", "FrozenMap", "Int", "Long", "bool", "bytes", "float", "str", "tuple"),
    }
)
KEYWORDS: Final = frozenset(keyword.kwlist)

PRIMITIVES: Final = {
    "null": "None",
    "boolean": "bool",
    "int": "Int",
    "long": "Long",
    "float": "float",
    "double": "float",
    "bytes": "bytes",
    "string": "str",
}
LOGICAL: Final = {
    "date": "datetime.date",
    "time-millis": "datetime.time",
    "time-micros": "datetime.time",
    "timestamp-millis": "AwareDatetime",
    "timestamp-micros": "AwareDatetime",
    "local-timestamp-millis": "NaiveDatetime",
    "local-timestamp-micros": "NaiveDatetime",
    "uuid": "UUID",
}


def short(fullname: str) -> str:
    """Return a full name without its namespace."""
    return fullname.rpartition(".")[2]


def free(names: Iterable[str], forbidden: Collection[str]) -> dict[str, str]:
    """Return a Python name for each name: itself, or with `_` behind where that is forbidden or taken."""
    found: dict[str, str] = {}
    taken = {*names}
    for name in names:
        candidate = name.lstrip("_")
        if not candidate or candidate[0].isdigit():
            candidate = f"field{candidate}"
        while candidate in forbidden or (candidate != name and candidate in taken):
            candidate += "_"
        found[name] = candidate
        taken.add(candidate)
    return found


class Names:
    """The classes, fields and enum members of one generated module.

    Raises:
        UsageError: two types of different namespaces share their short name.
    """

    def __init__(self, types: Collection[str]) -> None:
        shorts: dict[str, str] = {}
        for fullname in types:
            other = shorts.setdefault(short(fullname), fullname)
            if other != fullname:
                raise UsageError(
                    f"{other} and {fullname} would both be class {short(fullname)}",
                    fix="generate one module per namespace with --namespace",
                )
        names = free(shorts, IMPORTED | KEYWORDS)
        self.classes = {fullname: names[name] for name, fullname in shorts.items()}
        self._no_field = IMPORTED | KEYWORDS | {*dir(AvroModel), *self.classes.values()}
        self._no_member = KEYWORDS | {*dir(StrEnum), "mro", "name", "value"}

    def fields(self, record: Record) -> dict[str, str]:
        """Return the attribute of each field."""
        return free([field.name for field in record.fields], self._no_field)

    def members(self, enum: Enum) -> dict[str, str]:
        """Return the member of each symbol; a member `encode` would hide str's method."""
        return free(enum.symbols, self._no_member)

    def annotation(self, node: Node) -> str:  # noqa: PLR0911 (one per type)
        """Return the source of a field's type."""
        match node:
            case Primitive(logical=Logical() as logical) | Fixed(logical=Logical() as logical):
                return _logical(logical)
            case Primitive(kind=kind):
                return PRIMITIVES[kind]
            case Fixed(size=size):
                return f"Annotated[bytes, Field(min_length={size}, max_length={size})]"
            case Array(items=items):
                return f"tuple[{self.annotation(items)}, ...]"
            case Map(values=part):
                return f"FrozenMap[{self.annotation(part)}]"
            case Union(branches=branches):
                refuse_ambiguous(node)
                found = [self.annotation(branch) for branch in branches]
                return " | ".join(sorted(found, key=lambda name: name == "None"))
        return self.classes[node.name]

    def literal(self, node: Node, value: Any) -> str:
        """Return the source of a default that fits the type."""
        match node:
            case Record():
                return self._record_literal(node, value)
            case Enum():
                return f"{self.classes[node.name]}.{self.members(node)[value]}"
            case Array(items=items):
                return f"({''.join(self.literal(items, item) + ', ' for item in value)})"
            case Map(values=part):
                pairs = ", ".join(f"{key!r}: {self.literal(part, item)}" for key, item in value.items())
                return f"FrozenDict({{{pairs}}})"
            case Union(branches=branches):
                return self.literal(next(branch for branch in branches if fits(branch, value)), value)
        return repr(_plain(node, value))

    def _record_literal(self, record: Record, value: dict[str, Any]) -> str:
        attributes = self.fields(record)
        given = [
            f"{attributes[field.name]}={self.literal(field.type, value[field.name])}"
            for field in record.fields
            if field.name in value
        ]
        return f"{self.classes[record.name]}({', '.join(given)})"


def _logical(logical: Logical) -> str:
    match logical:
        case Logical(kind="duration"):
            raise UsageError(
                "the logical type `duration` has no Python type (it counts months, days and milliseconds apart)",
                fix="use a long of milliseconds, or three ints",
            )
        case Logical(kind="decimal", precision=precision, scale=scale):
            return f"Annotated[Decimal, Field(max_digits={precision}, decimal_places={scale})]"
    return LOGICAL[logical.kind]


def _plain(node: Primitive | Fixed, value: Any) -> object:
    """Return the Python value of a default without parts."""
    if isinstance(node, Fixed) or node.kind == "bytes":
        value = value.encode("latin-1")
    elif node.kind in ("float", "double"):
        value = float(value)
    return values.logical_value(node.logical, value) if node.logical else value
