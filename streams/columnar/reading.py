"""Reading columns natively: what a writer's schema gives, resolved to the columns of the reader's model."""

from __future__ import annotations

from streams.avro.native import Native
from streams.avro.nodes import Array, Enum, Map, Node, Primitive, Record
from streams.avro.resolution import matches, writer_field
from streams.avro.schema import Schema
from streams.columnar.columns import Columns, RecordBatch
from streams.columnar.types import arrow, nullable

# What Arrow's cast makes of a number is what Python makes of it.
CASTS = {("int", "long"), ("int", "double"), ("float", "double")}


class NativeReading:
    """Reads bodies of one writer as the columns of a model. `takes` tells whether it does.

    It leaves to the generated decoder whatever resolution has exceptions: symbols and types that the reader lacks.
    """

    def __init__(self, writer: Schema, columns: Columns, *, trusted: bool) -> None:
        """`trusted` says that the model has no rules of its own that every value has to meet."""
        self._native = Native(writer)
        self._columns = columns
        self._places: list[int | None] = []  # of the reader's fields in the writer's; None has the default
        self.takes = trusted and self._native.takes and self._resolves(writer.root)

    def read(self, bodies: list[bytes]) -> RecordBatch:
        """Return the columns of bodies, at least one.

        Raises:
            DistrustedError: at least one of them has to be read by the generated decoder.
        """
        found = self._native.read(bodies)
        columns = [
            self._columns.default(field.name, len(bodies)) if at is None else found.column(at).cast(field.type)
            for field, at in zip(self._columns.schema, self._places, strict=True)
        ]
        return arrow().RecordBatch.from_arrays(columns, schema=self._columns.schema)

    def _resolves(self, writer: Node) -> bool:
        reader = self._columns.root
        if not isinstance(writer, Record) or not matches(reader, writer):
            return False
        place = {field.name: at for at, field in enumerate(writer.fields)}
        for field in reader.fields:
            theirs = writer_field(field, writer)
            if theirs is None and field.name in self._columns.required:
                return False
            if theirs is not None and not same(theirs.type, field.type):
                return False
            self._places.append(None if theirs is None else place[theirs.name])
        return True


def same(writer: Node, reader: Node) -> bool:
    """Tell whether every value of a writer's type is the same value of the reader's."""
    theirs, may = nullable(writer)
    ours, might = nullable(reader)
    if (may and not might) or not matches(ours, theirs):
        return False
    match theirs, ours:
        case (Primitive() as one, Primitive() as other):
            return one.logical == other.logical and (one.kind == other.kind or (one.kind, other.kind) in CASTS)
        case (Enum(symbols=known), Enum(symbols=symbols)):
            return set(known) <= set(symbols)
        case (Array(items=one), Array(items=other)) | (Map(values=one), Map(values=other)):
            return same(one, other)
        case (Record(fields=some), Record(fields=others)):
            named = [field.name for field in some] == [field.name for field in others]
            return named and all(same(one.type, other.type) for one, other in zip(some, others, strict=True))
    return False
