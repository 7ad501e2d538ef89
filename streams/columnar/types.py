"""The columns of a model: an Arrow type for each field of its schema, and values on their way to and from rows.

Whatever a column holds can be null for Arrow; what the schema says of it is checked when it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streams.avro.native import library
from streams.avro.nodes import Array, Enum, Fixed, Logical, Map, Node, Primitive, Record, Union, kind
from streams.errors import UsageError

Convert = Callable[[Any], Any]

EXTRA: Final = 'pip install "straightstream[columnar]"'
MOST_DIGITS: Final = 76  # of Arrow's decimals


def arrow() -> Any:
    """Return pyarrow.

    Raises:
        UsageError: it is not installed.
    """
    found = library("pyarrow")
    if library("pyarrow.compute") is None:
        raise UsageError("batches of columns need pyarrow, which is not installed", fix=EXTRA)
    return found


def polars() -> Any:
    """Return polars.

    Raises:
        UsageError: it is not installed.
    """
    found = library("polars")
    if found is None:
        raise UsageError(
            "as_polars=True needs polars, which is not installed", fix='pip install "straightstream[polars]"'
        )
    return found


def nullable(node: Node) -> tuple[Node, bool]:
    """Return what a value is if it is one, and whether it may be null."""
    if isinstance(node, Union):
        others = [branch for branch in node.branches if kind(branch) != "null"]
        if len(others) == 1:
            return others[0], len(others) < len(node.branches)
    return node, False


def type_of(node: Node, path: str) -> Any:
    """Return the Arrow type of a column for an Avro type; `path` names the field.

    Raises:
        UsageError: there is none: a union of several types, a record that holds itself, a decimal of over 76 digits.
    """
    return _type(nullable(node)[0], path, frozenset())


def _type(node: Node, path: str, above: frozenset[int]) -> Any:  # noqa: PLR0911 (one per type)
    pa = arrow()
    match node:
        case Primitive(logical=None):
            return PLAIN[node.kind](pa)
        case Primitive(logical=logical) | Fixed(logical=logical) if logical is not None and logical.kind in LOGICAL:
            return LOGICAL[logical.kind](pa)
        case Primitive(logical=Logical(kind="decimal") as logical) | Fixed(logical=Logical(kind="decimal") as logical):
            return _decimal(logical, path)
        case Fixed():
            return pa.binary(node.size)
        case Enum():
            return pa.string()
        case Array(items=part):
            return pa.list_(_type(nullable(part)[0], f"{path}[]", above))
        case Map(values=part):
            return pa.map_(pa.string(), _type(nullable(part)[0], f"{path}{{}}", above))
        case Record() if id(node) in above:
            raise _refused(path, f"record {node.name} holds itself")
        case Record():
            inner = above | {id(node)}
            return pa.struct([(f.name, _type(nullable(f.type)[0], f"{path}.{f.name}", inner)) for f in node.fields])
    raise _refused(path, "it is a union of several types")


PLAIN: Final[dict[str, Convert]] = {
    "null": lambda pa: pa.null(),
    "boolean": lambda pa: pa.bool_(),
    "int": lambda pa: pa.int32(),
    "long": lambda pa: pa.int64(),
    "float": lambda pa: pa.float32(),
    "double": lambda pa: pa.float64(),
    "bytes": lambda pa: pa.binary(),
    "string": lambda pa: pa.string(),
}
LOGICAL: Final[dict[str, Convert]] = {
    "date": lambda pa: pa.date32(),
    "time-millis": lambda pa: pa.time32("ms"),
    "time-micros": lambda pa: pa.time64("us"),
    "timestamp-millis": lambda pa: pa.timestamp("ms", "UTC"),
    "timestamp-micros": lambda pa: pa.timestamp("us", "UTC"),
    "local-timestamp-millis": lambda pa: pa.timestamp("ms"),
    "local-timestamp-micros": lambda pa: pa.timestamp("us"),
    "uuid": lambda pa: pa.string(),
}


def _decimal(logical: Logical, path: str) -> Any:
    if logical.precision > MOST_DIGITS:
        raise _refused(path, f"a decimal of {logical.precision} digits, Arrow takes {MOST_DIGITS}")
    pa = arrow()
    small = logical.precision <= 38  # noqa: PLR2004 - digits that 128 bits hold
    return (pa.decimal128 if small else pa.decimal256)(logical.precision, logical.scale)


def _refused(path: str, why: str) -> UsageError:
    return UsageError(
        f"field {path} has no column type: {why}", fix="handle this topic with @app.processor, row by row"
    )


def from_row(node: Node) -> Convert | None:
    """Return what makes a model's value one that Arrow takes for `type_of`; None where it is one already."""
    node, _ = nullable(node)
    match node:
        case Primitive(logical=Logical(kind="uuid")) | Fixed(logical=Logical(kind="uuid")):
            return str
        case Enum():
            return lambda value: str(value.value)
        case Array(items=part):
            return _listed(_optional(from_row(part)))
        case Map(values=part):
            return _paired(_optional(from_row(part)) or _same)
        case Record(fields=fields):
            return _struct([(field.name, _optional(from_row(field.type)) or _same) for field in fields])
    return None


def to_row(node: Node) -> Convert | None:
    """Return what makes a value of a column one that a model validates; None where it is one already.

    It raises ValueError for a key that occurs twice.
    """
    node, _ = nullable(node)
    match node:
        case Array(items=part):
            return _listed(_optional(to_row(part)))
        case Map(values=part):
            return _mapped(_optional(to_row(part)) or _same)
        case Record(fields=fields):
            made = {field.name: _optional(to_row(field.type)) or _same for field in fields}
            return lambda row: {name: made[name](value) for name, value in row.items()}
    return None


def attributes(model: type[Any]) -> dict[str, str]:
    """Map the names that a schema has for the fields of a model to those of its attributes."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _optional(convert: Convert | None) -> Convert | None:
    return None if convert is None else lambda value: None if value is None else convert(value)


def _same(value: Any) -> Any:
    return value


def _struct(made: list[tuple[str, Convert]]) -> Convert:
    names: dict[str, str] = {}

    def struct(value: Any) -> dict[str, Any]:
        if not names:
            names.update(attributes(type(value)))
        return {name: convert(getattr(value, names[name])) for name, convert in made}

    return struct


def _listed(item: Convert | None) -> Convert | None:
    return None if item is None else lambda values: [item(value) for value in values]


def _paired(item: Convert) -> Convert:
    return lambda values: [(key, item(value)) for key, value in values.items()]


def _mapped(item: Convert) -> Convert:
    def mapped(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = {key: item(value) for key, value in pairs}
        if len(found) < len(pairs):
            raise ValueError("a key occurs twice in a map")
        return found

    return mapped
