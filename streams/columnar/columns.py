"""The columns of one model: made of its values, made into its values, and what a handler gives held against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from streams.avro.model import schema_of
from streams.avro.nodes import Array, Map, Node, Record
from streams.columnar.types import arrow, attributes, from_row, nullable, to_row, type_of
from streams.errors import EncodeError, HandlerError, UsageError

RecordBatch = Any  # of pyarrow
V = TypeVar("V")

TIMESTAMP: Final = "__timestamp"
"""A column that a handler may add to what it gives: the time of each output record."""


class Columns:
    """An Arrow schema with a field for each one of the model's, under the name that its Avro schema has for it.

    Raises:
        UsageError: the model is no record, or a field of it has no column type.
    """

    def __init__(self, model: type[Any]) -> None:
        root = schema_of(model).root
        if not isinstance(root, Record) or not root.fields:
            raise UsageError(
                f"{model.__name__} has no columns: it is no record with fields",
                fix="handle this topic with @app.processor, row by row",
            )
        self.model = model
        self.root = root
        pa = arrow()
        named = f"{model.__name__}."
        self.schema = pa.schema(
            [pa.field(f.name, type_of(f.type, named + f.name), nullable(f.type)[1]) for f in root.fields]
        )
        self._attributes = attributes(model)
        self.required = {f.alias or name for name, f in model.model_fields.items() if f.is_required()}
        self._from_rows = [(self._attributes[f.name], from_row(f.type)) for f in root.fields]
        self._to_rows = {f.name: convert for f in root.fields if (convert := to_row(f.type)) is not None}

    def of(self, values: Sequence[Any]) -> RecordBatch:
        """Return the columns of values of the model."""
        pa = arrow()
        columns = []
        for (name, convert), field in zip(self._from_rows, self.schema, strict=True):
            found = [getattr(value, name) for value in values]
            if convert is not None:
                found = [None if value is None else convert(value) for value in found]
            columns.append(pa.array(found, field.type))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def rows(self, batch: RecordBatch) -> list[Any]:
        """Return the values of a batch with these columns; the model's own rules hold for them.

        Raises:
            EncodeError: a row is no value of the model.
        """
        try:
            rows = batch.to_pylist()
            for name, convert in self._to_rows.items():
                for row in rows:
                    row[name] = None if row[name] is None else convert(row[name])
            return [self.model.model_validate(row) for row in rows]
        except (ValidationError, ValueError, OverflowError) as error:
            raise EncodeError(f"{self.model.__name__}: {error}") from error

    def conform(self, given: Any) -> tuple[RecordBatch, Any]:
        """Return what a handler gave as a batch of these very columns, and the column of times if it has one.

        Columns may come in any order and in a type that holds the same: another width, dictionaries, large lists. One
        that is missing is filled with the field's default.

        Raises:
            HandlerError: it is no batch, lacks a column, or has one that is not the model's or of another kind.
            EncodeError: a value does not fit its column.
        """
        pa = arrow()
        if hasattr(given, "to_arrow"):  # of polars
            given = given.to_arrow()
        if isinstance(given, pa.Table):
            batches = given.combine_chunks().to_batches()
            given = batches[0] if batches else pa.RecordBatch.from_pylist([], given.schema)
        if not isinstance(given, pa.RecordBatch):
            raise HandlerError(f"gave {type(given).__name__}, not a RecordBatch, Table or DataFrame")
        times = None if TIMESTAMP in self.schema.names else self._times(given)
        known = {*self.schema.names} if times is None else {*self.schema.names, TIMESTAMP}
        names = given.schema.names
        if len(set(names)) < len(names) or not known.issuperset(names):
            unknown = sorted(set(names) - known)
            told = f"has columns {unknown}" if unknown else "has a column twice"
            raise HandlerError(f"what it gave {told}; {self.model.__name__} has {self.schema.names}")
        columns = [self._column(given, field) for field in self.schema]
        batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        for field, column in zip(self.root.fields, columns, strict=True):
            _check_nulls(field.type, column, f"{self.model.__name__}.{field.name}")
        return batch, times

    def _times(self, given: RecordBatch) -> Any:
        if TIMESTAMP not in given.schema.names:
            return None
        column, pa = given.column(TIMESTAMP), arrow()
        if pa.types.is_timestamp(column.type):
            column = _floored(column, pa.timestamp("ms", column.type.tz))
        elif not pa.types.is_integer(column.type):
            raise HandlerError(f"column {TIMESTAMP} is {column.type}, not a timestamp or milliseconds")
        if column.null_count:
            raise EncodeError(f"column {TIMESTAMP} has a null")
        return column.cast(pa.int64())

    def _column(self, given: RecordBatch, field: Any) -> Any:
        pa = arrow()
        if field.name not in given.schema.names:
            return self.default(field.name, given.num_rows)
        column = given.column(field.name)
        if column.type == field.type:
            return column
        where = f"column {field.name} of {self.model.__name__}"
        if not _same_kind(column.type, field.type):
            raise HandlerError(f"{where} is {column.type}, not {field.type}")
        try:
            found = _floored(column, field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise EncodeError(f"{where} does not fit {field.type}: {error}") from error
        if pa.types.is_floating(field.type) and _infinities(found) != _infinities(column):
            raise EncodeError(f"{where} has a number beyond {field.type}")
        return found

    def default(self, name: str, rows: int) -> Any:
        """Return a column of a field's default.

        Raises:
            HandlerError: it has none.
        """
        field = self.model.model_fields[self._attributes[name]]
        if field.is_required():
            raise HandlerError(f"column {name} is missing, and {self.model.__name__} has no default for it")
        value = field.get_default(call_default_factory=True)
        at = self.schema.get_field_index(name)
        convert = self._from_rows[at][1]
        made = value if value is None or convert is None else convert(value)
        kind, pa = self.schema.field(at).type, arrow()
        return pa.repeat(pa.scalar(made, kind), rows) if rows else pa.array([], kind)


def spread(batch: RecordBatch, places: Sequence[object | None]) -> RecordBatch:
    """Return a row for each place: the next one of the batch, or nulls where the place is None."""
    if batch.num_rows == len(places):
        return batch
    pa, row = arrow(), count()
    return batch.take(pa.array([None if place is None else next(row) for place in places], pa.int32()))


def listed(keys: Any) -> list[Any]:
    """Return the values of an Arrow array, a polars series or whatever can be iterated."""
    if hasattr(keys, "to_pylist"):
        return list(keys.to_pylist())
    return list(keys)


def rows_of(
    keys: Any, given: Any, columns: Columns, convert: Callable[[RecordBatch], Sequence[V]]
) -> Iterator[tuple[Any, V]]:
    """Return the rows of what a handler gave for keys, each with its key, converted.

    Raises:
        HandlerError, EncodeError: as `conform`; also, there are not as many keys as rows.
    """
    wanted = listed(keys)
    batch, times = columns.conform(given)
    if times is not None or len(wanted) != batch.num_rows:
        told = f"a column {TIMESTAMP}" if times is not None else f"{batch.num_rows} rows for {len(wanted)} keys"
        raise HandlerError(f"put_columns got {told}")
    return zip(wanted, convert(batch), strict=True)


def _floored(column: Any, wanted: Any) -> Any:
    """Cast to a type; moments lose what is finer than its unit, as in rows."""
    types, pa = arrow().types, arrow()
    if types.is_timestamp(column.type) and types.is_timestamp(wanted) and wanted.unit in UNITS:
        if column.type.unit in FINER[wanted.unit]:
            column = pa.compute.floor_temporal(column, unit=UNITS[wanted.unit])
        return column.cast(wanted)
    return column.cast(wanted)


UNITS: Final = {"ms": "millisecond", "us": "microsecond"}
FINER: Final = {"ms": {"us", "ns"}, "us": {"ns"}}


def _infinities(column: Any) -> int:
    pa = arrow()
    if not pa.types.is_floating(column.type):
        return 0
    return int(pa.compute.sum(pa.compute.is_inf(column)).as_py() or 0)


def _same_kind(given: Any, wanted: Any) -> bool:  # noqa: PLR0911 (one per kind of type)
    """Tell whether a type holds values of the same kind as another one, nested ones too."""
    types = arrow().types
    if types.is_null(given):
        return True
    if types.is_dictionary(given):
        return _same_kind(given.value_type, wanted)
    if types.is_timestamp(wanted):  # a moment with a zone is none without one
        return bool(types.is_timestamp(given) and (given.tz is None) == (wanted.tz is None))
    if types.is_struct(wanted):
        return types.is_struct(given) and _same_fields(given, wanted)
    if types.is_map(wanted):
        return types.is_map(given) and _same_kind(given.item_type, wanted.item_type)
    if types.is_list(wanted):
        return any(is_list(given) for is_list in _lists(types)) and _same_kind(given.value_type, wanted.value_type)
    if types.is_floating(wanted):
        return bool(types.is_floating(given) or types.is_integer(given))
    return any(is_kind(given) and is_kind(wanted) for is_kind in _kinds(types))


def _same_fields(given: Any, wanted: Any) -> bool:
    theirs = {field.name: field.type for field in given}
    ours = {field.name: field.type for field in wanted}
    return theirs.keys() == ours.keys() and all(_same_kind(theirs[name], kind) for name, kind in ours.items())


def _lists(types: Any) -> tuple[Callable[[Any], bool], ...]:
    return types.is_list, types.is_large_list, types.is_fixed_size_list


def _kinds(types: Any) -> list[Callable[[Any], bool]]:
    def is_text(kind: Any) -> bool:
        return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))

    def is_bytes(kind: Any) -> bool:
        plain = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
        return bool(plain or types.is_fixed_size_binary(kind))

    return [is_text, is_bytes, types.is_integer, types.is_boolean, types.is_decimal, types.is_date, types.is_time]


def _check_nulls(node: Node, column: Any, where: str) -> None:
    """Refuse nulls where the schema has none.

    Raises:
        EncodeError: there is one.
    """
    inner, may = nullable(node)
    if column.null_count and not may and column.type != arrow().null():
        raise EncodeError(f"{where} has a null, which its schema does not")
    if not isinstance(inner, Array | Map | Record) or not len(column):
        return
    there = column.drop_null() if column.null_count else column
    match inner:
        case Record(fields=fields):
            for index, field in enumerate(fields):
                _check_nulls(field.type, there.field(index), f"{where}.{field.name}")
        case Array(items=part):
            _check_nulls(part, there.flatten(), f"{where}[]")
        case Map(values=part):
            first, last = there.offsets[0].as_py(), there.offsets[len(there)].as_py()
            _check_nulls(part, there.items.slice(first, last - first), f"{where}{{}}")
