"""How frames of one writer's schema become values: the plan is chosen once, before the first frame.

`generated` is the strict decoder, Python made for this very pair of schemas (`reading`). `native` asks a library for
a whole batch (`wire_columns`, `columns`) and hands to the strict one whatever it does not vouch for: small batches, odd
forms, everything malformed. So the two give the same values and the same refusals, and only their speed differs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from streams.avro import wire
from streams.avro.columns import UnresolvedError, Values, reader_of
from streams.avro.model import Models, models_of, schema_of, versions_of
from streams.avro.reading import Reading
from streams.avro.schema import Schema
from streams.avro.wire_columns import WireReader, why_not
from streams.errors import DecodeError

LEAST_BATCH: Final = 112  # frames; asking the library costs 130 us, whatever the batch

NATIVE: Final = "native"
GENERATED: Final = "generated"
REFUSED: Final = "refused"

Decode = Callable[[Sequence[bytes], list[Any]], None]

# The kind of a defect by the exception that it causes in generated code; any other says `value`.
KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (IndexError, "truncated"),
    (struct.error, "truncated"),
    (KeyError, "enum"),
    (UnicodeDecodeError, "utf-8"),
    (ValidationError, "model"),
)

_header: Final = itemgetter(slice(wire.HEADER_SIZE))


class Plan(NamedTuple):
    """How frames of one schema id are decoded; `writer` is the name of the type that they hold.

    `decode` appends the values of frames up to the first of another id, or raises DecodeError. `why` says why the plan
    is not `native`.
    """

    decode: Decode
    engine: str
    why: str = ""
    writer: str = ""


def plan(schema_id: int, writer: Schema, reader: Schema, models: Models) -> Plan:
    """Return the fastest plan that this pair of schemas allows."""
    strict = decoder(schema_id, writer, reader, models)
    columns, why = columns_of(writer, reader, models)
    if columns is None:
        return Plan(strict, GENERATED, why, writer.name)
    return Plan(
        NativeDecode(wire.header(schema_id), WireReader(writer.root), columns, strict), NATIVE, writer=writer.name
    )


def refusal(kind: str, reason: str) -> Plan:
    """Return the plan that refuses every frame."""

    def refuse(_frames: Sequence[bytes], _values: list[Any]) -> None:
        raise DecodeError(kind, reason)

    return Plan(refuse, REFUSED, reason)


def columns_of(writer: Schema, reader: Schema, models: Models) -> tuple[Values | None, str]:
    """Return how columns of the writer's schema become values, or why no library is asked for them."""
    why = why_not(writer.root)
    if why is None:
        try:
            return reader_of(writer.root, reader.root, models), ""
        except UnresolvedError as error:
            why = str(error)
    return None, why


def decoder(schema_id: int, writer: Schema, reader: Schema, models: Models) -> Decode:
    """Return the strict decoder: it appends the values of frames, up to the first of another id; raises DecodeError."""
    reading = Reading(writer.root, reader.root, models, wire.header(schema_id))
    read = reading.compile()

    def decode(frames: Sequence[bytes], values: list[Any]) -> None:
        try:
            read(frames, values)
        except Exception as error:
            kind = error.kind if isinstance(error, DecodeError) else _kind(error)
            where = f"{writer.name}{reading.source.locate(error.__traceback__)}"
            raise DecodeError(kind, f"{where}: {error or type(error).__name__}") from error

    return decode


def _kind(error: Exception) -> str:
    return next((kind for cause, kind in KINDS if isinstance(error, cause)), "value")


class NativeDecode:
    """Decodes runs of at least `least` frames natively; `taken` and `refused` count them.

    What is refused comes again behind its bad frame: as many frames as were refused go to the strict decoder unasked.
    """

    def __init__(self, header: bytes, reader: WireReader, columns: Values, strict: Decode) -> None:
        self._header = header
        self._reader = reader
        self._columns = columns
        self._strict = strict
        self.least = LEAST_BATCH
        self.taken = self.refused = 0
        self._unasked = 0  # so many frames

    def __call__(self, frames: Sequence[bytes], values: list[Any]) -> None:
        """Append the values of frames up to the first of another id; raises DecodeError as the strict decoder does."""
        if self._unasked > 0:
            self._unasked -= len(frames)
        elif len(frames) >= self.least:
            if set(map(_header, frames)) != {self._header}:
                frames = list(takewhile(lambda frame: _header(frame) == self._header, frames))
            if len(frames) >= self.least and self._take(frames, values):
                return
        self._strict(frames, values)

    def _take(self, frames: Sequence[bytes], values: list[Any]) -> bool:
        try:
            found = self._columns(self._reader.read(frames))
        except Exception:  # noqa: BLE001 (refused, or some value is none: the strict decoder says which, and why)
            self.refused += 1
            self._unasked = len(frames)
            return False
        values += found
        self.taken += 1
        return True


class Foreseen(NamedTuple):
    """How frames of one version of a contract will be decoded; `why` says why not natively."""

    version: int
    engine: str
    why: str


def foreseen(model: type[Any]) -> list[Foreseen]:
    """Return the plan of every version of a model's contract, without compiling any.

    Raises:
        UsageError: the type has no Avro schema.
    """
    reader, models = schema_of(model), models_of(model)
    found = []
    for version, text in enumerate(versions_of(model), 1):
        columns, why = columns_of(Schema(text), reader, models)
        found.append(Foreseen(version, GENERATED if columns is None else NATIVE, why))
    return found
