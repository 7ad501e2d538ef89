"""Which Python class the values of an Avro type are."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Final
from uuid import UUID

from streams.avro.nodes import Array, Enum, Fixed, Logical, Map, Node, Primitive, Record, Union, label
from streams.errors import UsageError

PRIMITIVES: Final[dict[str, type]] = {
    "null": type(None),
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "bytes": bytes,
    "string": str,
}
LOGICAL: Final[dict[str, type]] = {
    "date": date,
    "time-millis": time,
    "time-micros": time,
    "timestamp-millis": datetime,
    "timestamp-micros": datetime,
    "local-timestamp-millis": datetime,
    "local-timestamp-micros": datetime,
    "decimal": Decimal,
    "uuid": UUID,
    "duration": bytes,
}


def python_type(node: Primitive | Fixed) -> type:
    """Return the class of the values of a type that has no class of its own."""
    match node:
        case Primitive(logical=Logical(kind=name)) | Fixed(logical=Logical(kind=name)):
            return LOGICAL[name]
        case Fixed():
            return bytes
    return PRIMITIVES[node.kind]


def refuse_ambiguous(union: Union) -> None:
    """Raise UsageError where a Python value does not tell the branch: the values of `int` and `long` are both int."""
    seen: dict[object, Node] = {}
    for branch in union.branches:
        other = seen.setdefault(_told_by(branch), branch)
        if other is not branch:
            raise UsageError(
                f"the union's branches {label(other)} and {label(branch)} are the same type in Python",
                fix="keep one of them, or wrap one into a record",
            )


def _told_by(branch: Node) -> object:
    match branch:
        case Record() | Enum():
            return branch.name
        case Array() | Map() | Union():
            return type(branch)
    return python_type(branch)
