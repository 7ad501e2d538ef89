"""The codec of a topic whose values are taken or given as columns; row by row it is the codec that it extends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

from streams.avro import wire
from streams.avro.codec import Codec
from streams.avro.model import models_of
from streams.avro.native import DistrustedError, Native
from streams.avro.schema import Schema
from streams.columnar.columns import Columns, RecordBatch
from streams.columnar.reading import NativeReading
from streams.columnar.types import arrow
from streams.errors import DecodeError, EncodeError, UsageError

V = TypeVar("V")

CHUNK: Final = 64  # what the native library does not take is tried again in chunks, only the bad one row by row


class Decoded(NamedTuple):
    """The values of the frames that are well, in their order, and what is wrong with the others, by their place."""

    batch: RecordBatch
    errors: dict[int, DecodeError]


def codec_of(model: type[V], schema_id: int | None = None) -> Codec[V]:
    """Return a codec of columns for a model that has them, else one that only knows rows."""
    try:
        return ColumnCodec(model, schema_id)
    except UsageError:
        return Codec(model, schema_id)


def column_codec(codec: Codec[V]) -> ColumnCodec[V]:
    """Return a codec of columns as what it is.

    Raises:
        UsageError: its model has none.
    """
    if not isinstance(codec, ColumnCodec):
        raise UsageError(f"{codec.schema.name} has no columns", fix="get and put its values as objects")
    return codec


class ColumnCodec(Codec[V]):
    """Decodes frames to a record batch and encodes one; the native library and the generated code say the same.

    Raises:
        UsageError: the model has no columns.
    """

    def __init__(self, model: type[V], schema_id: int | None = None) -> None:
        self._readings: dict[int, NativeReading] = {}
        self.columns = Columns(model)
        self._trusted = not models_of(model).validate
        super().__init__(model, schema_id)
        self._native = Native(self.schema)
        self._header = None if schema_id is None else wire.header(schema_id)
        if schema_id is not None:
            self._readings[schema_id] = NativeReading(self.schema, self.columns, trusted=self._trusted)

    def learn(self, schema_id: int, schema_text: str) -> None:
        """Compile the plans for frames of this id, written with this schema; never raises."""
        super().learn(schema_id, schema_text)
        self._readings.pop(schema_id, None)
        try:
            reading = NativeReading(Schema(schema_text), self.columns, trusted=self._trusted)
        except UsageError:  # rows are refused, whatever they hold
            return
        self._readings[schema_id] = reading

    def refuse(self, schema_id: int, reason: str) -> None:
        """Let frames of this id be errors of kind `schema-unknown` from now on, until `learn` is told the id."""
        super().refuse(schema_id, reason)
        self._readings.pop(schema_id, None)

    def decode_columns(self, frames: Sequence[bytes]) -> Decoded:
        """Return the columns of all frames that can be decoded, and why the others cannot.

        Raises:
            UnknownSchemaError: a frame has an id that is neither learnt nor refused.
        """
        batches: list[RecordBatch] = []
        errors: dict[int, DecodeError] = {}
        at = 0
        while at < len(frames):
            run = self._run(frames, at)
            self._read(run, at, batches, errors)
            at += len(run)
        if len(batches) == 1:
            return Decoded(batches[0], errors)
        pa = arrow()
        table = pa.Table.from_batches(batches, schema=self.columns.schema).combine_chunks()
        return Decoded(next(iter(table.to_batches()), self.columns.of([])), errors)

    def encode_columns(self, batch: RecordBatch) -> list[bytes]:
        """Return one frame for every row of a batch that conforms, or none.

        Raises:
            EncodeError: a row does not fit the schema.
            UsageError: the codec has no schema id.
        """
        if self._header is None:
            raise UsageError(f"the codec of {self.schema.name} has no schema id to encode with")
        if self._trusted and self._native.takes:
            try:
                header = self._header
                return [header + body for body in self._native.write(batch)]
            except DistrustedError:
                pass
        try:
            return self.encode(self.columns.rows(batch))
        except (OverflowError, arrow().ArrowException) as error:
            raise EncodeError(f"{self.schema.name}: {error}") from error

    def _run(self, frames: Sequence[bytes], at: int) -> Sequence[bytes]:
        """Return the frames from a place on that have the same header as the one there."""
        header, pa = frames[at][: wire.HEADER_SIZE], arrow()
        if at == 0 and pa.compute.all(pa.compute.starts_with(pa.array(frames, pa.binary()), header)).as_py():
            return frames
        end = next((i for i in range(at, len(frames)) if not frames[i].startswith(header)), len(frames))
        return frames[at:end]

    def _reading(self, frame: bytes) -> NativeReading | None:
        try:
            reading = self._readings.get(wire.split(frame))
        except DecodeError:
            return None
        return reading if reading is not None and reading.takes else None

    def _read(
        self, frames: Sequence[bytes], at: int, batches: list[RecordBatch], errors: dict[int, DecodeError]
    ) -> None:
        """Read frames of one writer, those from a place on of the whole."""
        reading = self._reading(frames[0])
        if reading is not None:
            try:
                batches.append(reading.read([frame[wire.HEADER_SIZE :] for frame in frames]))
            except DistrustedError:
                pass
            else:
                return
            if len(frames) > CHUNK:
                for start in range(0, len(frames), CHUNK):
                    self._read(frames[start : start + CHUNK], at + start, batches, errors)
                return
        values: list[Any] = []
        for place, frame in enumerate(frames, at):
            try:
                values += self.decode([frame])
            except DecodeError as error:
                errors[place] = error.bare()
        if values:
            batches.append(self.columns.of(values))
