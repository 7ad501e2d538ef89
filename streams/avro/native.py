"""pyruhvro behind guards: bodies of one schema to an Arrow record batch and back, a batch in one native call.

It is fast and believes what it reads. So whatever it gives is encoded again and compared with the bytes, and what that
cannot tell is looked at: text that is not UTF-8, duplicate keys, moments that no calendar has. Whoever is refused here
asks the generated decoder, which tells what is wrong or that nothing is. Nothing of it is needed: without the libraries
`takes` is False and the generated codecs do everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, Final

from streams.avro.nodes import Array, Enum, Map, Node, Primitive, Record, Union, kind, parts
from streams.avro.resolution import nodes_of, smallest
from streams.avro.schema import Schema

RecordBatch = Any  # of pyarrow, which has no types of its own

TRUSTED: Final = frozenset({"boolean", "int", "long", "float", "double", "string"})
TRUSTED_LOGICAL: Final = frozenset({"date", "timestamp-millis", "timestamp-micros"})

# The first and the last value of each unit that Python's calendar has.
CALENDAR: Final = {
    "date32[day]": (-719_162, 2_932_896),
    "timestamp[ms]": (-62_135_596_800_000, 253_402_300_799_999),
    "timestamp[us]": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}


class DistrustedError(Exception):
    """The batch is not to be had this way: some value in it is malformed, or has a form that the library lacks."""


@cache
def library(name: str) -> Any:
    """Return a library that need not be there; None if it is not. Imported when it is first asked for."""
    try:
        return import_module(name)
    except ImportError:
        return None


class Native:
    """Reads and writes bodies of one schema, by their batch. `takes` tells whether it does; else nothing else works."""

    def __init__(self, schema: Schema) -> None:
        self._text = schema.text
        self._arrow: Any = library("pyarrow")
        self._compute: Any = library("pyarrow.compute") if self._arrow else None
        self._ruhvro: Any = library("pyruhvro") if self._arrow else None
        self.takes = self._ruhvro is not None and is_trusted(schema.root) and self._understands(schema.root)

    def read(self, bodies: list[bytes]) -> RecordBatch:
        """Return the values of bodies, at least one, with a column for each field and its own names for types.

        Raises:
            DistrustedError: at least one of them has to be read otherwise, or is malformed.
        """
        batch = self._call(self._ruhvro.deserialize_array, bodies, self._text)
        self.check(batch)
        if not self._encoded(batch).equals(self._arrow.array(bodies, self._arrow.binary())):
            raise DistrustedError("it encodes to other bytes")
        return batch

    def write(self, batch: RecordBatch) -> list[bytes]:
        """Return the bodies of a batch with the types of `types`, and no null where the schema has none.

        Raises:
            DistrustedError: some value of it cannot be written, or read again.
        """
        self.check(batch)
        bodies: list[bytes] = self._encoded(batch).to_pylist()
        return bodies

    @property
    def types(self) -> Any:
        """The Arrow schema that `read` gives and `write` takes."""
        return self._ruhvro.avro_to_arrow_schema(self._text)

    def check(self, batch: RecordBatch) -> None:
        """Look at what the bytes do not tell.

        Raises:
            DistrustedError: there is text that is not UTF-8, a moment that no calendar has, or a key twice in a map.
        """
        try:
            batch.validate(full=True)
        except self._arrow.ArrowInvalid as error:
            raise DistrustedError(str(error)) from error
        for column in batch.columns:
            for array in self._parts(column):
                self._check_array(array)

    def _understands(self, root: Node) -> bool:
        """Tell whether the library reads the schema as we do."""
        try:
            types = self.types
        except BaseException as error:  # noqa: BLE001 - see `_call`
            check_panic(error)
            return False
        assert isinstance(root, Record)
        return [field.name for field in types] == [field.name for field in root.fields]

    def _encoded(self, batch: RecordBatch) -> Any:
        (encoded,) = self._call(self._ruhvro.serialize_record_batch, batch, self._text, 1)
        return encoded

    def _call(self, function: Any, *args: Any) -> Any:
        try:
            return function(*args)
        except BaseException as error:
            check_panic(error)
            raise DistrustedError(str(error)) from error

    def _parts(self, array: Any) -> Iterator[Any]:
        """Yield an array and the ones that it is made of; of those more than it holds, perhaps."""
        yield array
        types = self._arrow.types
        if types.is_struct(array.type):
            for index in range(array.type.num_fields):
                yield from self._parts(array.field(index))
        elif types.is_map(array.type):
            yield from self._parts(array.items)
        elif types.is_list(array.type):
            yield from self._parts(array.flatten())

    def _check_array(self, array: Any) -> None:
        types = self._arrow.types
        if types.is_date32(array.type) or types.is_timestamp(array.type):
            unit = "date32[day]" if types.is_date32(array.type) else f"timestamp[{array.type.unit}]"
            number = self._arrow.int32() if types.is_date32(array.type) else self._arrow.int64()
            found = self._compute.min_max(array.view(number)).as_py()
            first, last = CALENDAR[unit]
            if found["min"] is not None and (found["min"] < first or found["max"] > last):
                raise DistrustedError(f"{unit} beyond the calendar")
        elif types.is_map(array.type) and self._has_duplicates(array):
            raise DistrustedError("duplicate key")

    def _has_duplicates(self, array: Any) -> bool:
        offsets = array.offsets
        first, last = offsets[0].as_py(), offsets[len(offsets) - 1].as_py()
        keys = array.keys.slice(first, last - first)
        lists = self._arrow.ListArray.from_arrays(self._compute.subtract(offsets, first), keys)
        pairs = self._arrow.table({"map": self._compute.list_parent_indices(lists), "key": keys})
        distinct = pairs.group_by(["map", "key"], use_threads=False).aggregate([])
        return bool(distinct.num_rows < len(keys))


def is_trusted(root: Node) -> bool:
    """Tell whether a schema is a record of nothing but types that the library handles and the guards watch."""
    return isinstance(root, Record) and not _holds_itself(root) and all(map(_is_trusted, nodes_of(root)))


def _is_trusted(node: Node) -> bool:  # noqa: PLR0911 (one per type)
    match node:
        case Primitive(kind="null"):
            return True  # as a branch; nothing else that is trusted has it
        case Primitive(logical=None):
            return node.kind in TRUSTED
        case Primitive(logical=logical):
            return logical is not None and logical.kind in TRUSTED_LOGICAL
        case Union(branches=branches):
            return sorted(kind(branch) == "null" for branch in branches) == [False, True]
        case Array(items=items):
            return smallest(items, {}) > 0 and kind(items) != "null"  # a count of them costs no bytes
        case Map(values=part):
            return kind(part) != "null"
        case Record(fields=fields):
            return bool(fields) and all(kind(field.type) != "null" for field in fields)
    return isinstance(node, Enum)


def _holds_itself(root: Node) -> bool:
    done: set[int] = set()

    def visit(node: Node, above: frozenset[int]) -> bool:
        if id(node) in above:
            return True
        if id(node) in done:
            return False
        found = any(visit(part, above | {id(node)}) for part in parts(node))
        done.add(id(node))
        return found

    return visit(root, frozenset())


def check_panic(error: BaseException) -> None:
    """Let pass what is not the library's: its panics are no `Exception`."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
