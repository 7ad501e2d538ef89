"""From Arrow columns to what the reader gets: values by their meaning, resolved to its schema, models built at once.

The twin of `reading` and `leaves`, for what `wire_columns` reads. A value that is none (a date beyond the calendar,
a symbol that the reader lacks) raises whatever it raises: the strict decoder then tells what is wrong, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from operator import methodcaller
from typing import Any, Final

from streams.avro import values, wire_columns
from streams.avro.construction import trusted
from streams.avro.leaves import FLOAT_MILLIS
from streams.avro.model import FrozenDict, Models
from streams.avro.native import DistrustedError
from streams.avro.nodes import Array, Enum, Logical, Map, Node, Primitive, Record, Union, label
from streams.avro.resolution import choose, matches, writer_field
from streams.avro.source import FLOATS, Source, tuple_of
from streams.avro.wire_columns import is_null

Values = Callable[[Any], list[Any]]

MILLIS: Final = 1_000  # in a second
MICROS: Final = 1_000_000

_plain: Final[Values] = methodcaller("to_pylist")


class UnresolvedError(Exception):
    """Only the strict decoder resolves this writer's schema to this reader's; the message says why."""


def reader_of(writer: Node, reader: Node, models: Models) -> Values:
    """Return a function from the column that `wire_columns` reads to the values that the reader gets.

    Raises:
        UnresolvedError: these two schemas need the strict decoder.
    """
    return _Columns(models).values(writer, reader, root=True)


class _Columns:
    def __init__(self, models: Models) -> None:
        self._models = models

    def values(self, writer: Node, reader: Node, *, root: bool = False) -> Values:
        if isinstance(writer, Union):
            return self._optional(writer, reader)
        if isinstance(reader, Union):
            index = choose(reader, writer)
            if index is None:
                raise UnresolvedError(f"{label(writer)} is in no branch of the reader's union")
            reader = reader.branches[index]
        if not matches(reader, writer):
            raise UnresolvedError(f"{label(writer)} is not {label(reader)}")
        match writer, reader:
            case Primitive(), Primitive():
                return self._primitive(writer, reader)
            case Enum(), Enum():
                return self._enum(writer, reader)
            case Array(), Array():
                return _tuples(self.values(writer.items, reader.items))
            case Map(), Map():
                return _maps(self.values(writer.values, reader.values))
            case Record(), Record():
                return self._record(writer, reader, root=root)
        raise UnresolvedError(label(writer))

    def _optional(self, writer: Union, reader: Node) -> Values:
        inner = next(part for part in writer.branches if not is_null(part))
        present = self.values(inner, reader)
        takes_none = isinstance(reader, Union) and any(map(is_null, reader.branches))

        def read(column: Any) -> list[Any]:
            if not column.null_count:
                return present(column)
            if not takes_none:
                raise DistrustedError("null, which the reader does not take")
            if present is _plain:
                return _plain(column)
            found = iter(present(column.drop_null()))
            return [next(found) if there else None for there in column.is_valid().to_pylist()]

        return read

    def _primitive(self, writer: Primitive, reader: Primitive) -> Values:
        if writer.kind in ("int", "long"):
            return _each(float) if reader.kind in FLOATS else _integer(reader.logical)
        if {writer.kind, reader.kind} == {"string", "bytes"}:
            raise UnresolvedError(f"{writer.kind} read as {reader.kind}")
        if writer.kind == "string":
            return _each(values.read_uuid) if reader.logical else _plain
        if writer.kind == "bytes":
            return _binary(reader.logical)
        return _plain

    def _enum(self, writer: Enum, reader: Enum) -> Values:
        member = self._models.types[reader.name]
        known = {symbol: member(symbol) for symbol in reader.symbols}
        default = known.get(reader.default or "")
        members = {at: known.get(symbol, default) for at, symbol in enumerate(writer.symbols)}
        return _each({at: value for at, value in members.items() if value is not None}.__getitem__)

    def _record(self, writer: Record, reader: Record, *, root: bool) -> Values:
        model = self._models.root if root else self._models.types[reader.name]
        ours = {field.name: field for field in reader.fields}
        source, places, readers, pairs = Source(), [], [], []
        for name, field in model.model_fields.items():
            at = field.alias or name
            theirs = writer_field(ours[at], writer) if at in ours else None
            if theirs is not None:
                place = writer.fields.index(theirs)
                if place in places:
                    raise UnresolvedError(f"{theirs.name} is read into two fields")
                places.append(place)
                readers.append(self.values(theirs.type, ours[at].type))
                pairs.append((name, source.local()))
            elif field.is_required():
                raise UnresolvedError(f"the writer's schema lacks {reader.name}.{at}")
            else:
                pairs.append((name, source.constant(field.get_default(call_default_factory=True))))
        rows = _rows(source, pairs, len(places))
        build = self._builder(model, validate=root and self._models.validate)

        def read(column: Any) -> list[Any]:
            parts = column.flatten()
            return build(rows(range(len(column)), *[of(parts[at]) for at, of in zip(places, readers, strict=True)]))

        return read

    def _builder(self, model: type[Any], *, validate: bool) -> Callable[[list[dict[str, Any]]], list[Any]]:
        if validate:
            return lambda rows: [model.model_validate(row, from_attributes=True) for row in rows]
        fields = set(model.model_fields)
        return lambda rows: trusted(model, rows, fields)


def _rows(source: Source, pairs: Sequence[tuple[str, str]], columns: int) -> Callable[..., list[dict[str, Any]]]:
    """Return a function from the number of rows, as a range, and the columns to dictionaries of the pairs.

    Pairs are a name and what gives the value: the next column's variable, or a constant.
    """
    variables = [value for _, value in pairs if value.startswith("v")]
    assert len(variables) == columns
    parameters = [f"c{number}" for number in range(columns)]
    content = ", ".join(f"{name!r}: {value}" for name, value in pairs)
    with source.block(f"def rows(n{''.join(f', {name}' for name in parameters)}):"):
        zipped = f"zip({', '.join(parameters)})" if parameters else "n"
        source.add(f"return [{{{content}}} for {tuple_of(variables) if variables else '_'} in {zipped}]")
    return source.compile("rows")


def _each(convert: Callable[[Any], Any]) -> Values:
    return lambda column: list(map(convert, column.to_pylist()))


def _integer(logical: Logical | None) -> Values:
    match logical:
        case None:
            return _plain
        case Logical(kind="timestamp-millis"):
            return _moments(MILLIS)
        case Logical(kind="timestamp-micros"):
            return _moments(MICROS)
        case Logical(kind="date"):
            return _each(values.read_date)
    read = values.read_time if logical.kind.startswith("time-") else values.read_local_timestamp
    return _each((lambda number: read(number * 1000)) if logical.kind.endswith("millis") else read)


def _moments(unit: int) -> Values:
    """Read timestamps that count so many to a second."""
    micros, limit = MICROS // unit, FLOAT_MILLIS // MILLIS * unit

    def read(column: Any) -> list[Any]:
        found = wire_columns.extremes(column)
        if found is None or found[0] < 0 or found[1] >= limit:
            return [values.EPOCH + timedelta(0, 0, number * micros) for number in column.to_pylist()]
        return list(map(datetime.fromtimestamp, wire_columns.divided(column, unit).to_pylist(), repeat(UTC)))

    return read


def _binary(logical: Logical | None) -> Values:
    if logical is None:
        return wire_columns.binary
    convert = values.DecimalForm(logical.precision, logical.scale).read
    return lambda column: list(map(convert, wire_columns.binary(column)))


def _tuples(items: Values) -> Values:
    if items is _plain:
        return _each(tuple)

    def read(column: Any) -> list[Any]:
        found, lengths = iter(items(column.flatten())), wire_columns.lengths(column).to_pylist()
        return [tuple(islice(found, length)) for length in lengths]

    return read


def _maps(items: Values) -> Values:
    def read(column: Any) -> list[Any]:
        found = zip(column.keys.to_pylist(), items(column.items), strict=True)
        return [FrozenDict(islice(found, length)) for length in wire_columns.lengths(column).to_pylist()]

    return read
