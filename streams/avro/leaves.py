"""Generated decoders, the types without parts: lengths, numbers, texts, enums, and what logical types make of them.

Every method takes the writer's type and the reader's, None where the reader drops the value, emits the source that
reads one value, and returns the expression of what the reader gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final
from uuid import UUID

from streams.avro import values
from streams.avro.model import Models
from streams.avro.nodes import Enum, Fixed, Logical, Primitive
from streams.avro.source import FLOATS, Source

SHORT: Final = 64  # indexes below it are one byte
FLOAT_MILLIS: Final = 4_000_000_000_000  # milliseconds up to the year 2096 are exact in a double of seconds

SHARED: Final = {
    "STEPS": values.STEPS,
    "UTC": UTC,
    "UUID": UUID,
    "epoch": values.EPOCH,
    "moment": datetime.fromtimestamp,
    "read_date": values.read_date,
    "read_length": values.read_length,
    "read_local_timestamp": values.read_local_timestamp,
    "read_time": values.read_time,
    "read_uuid": values.read_uuid,
    "timedelta": timedelta,
    "varint": values.read_varint,
}


class Leaves:
    """Emits the reading of values from the frame `f` at the position `i`."""

    def __init__(self, source: Source, models: Models) -> None:
        self._source = source
        self._models = models
        source.share(**SHARED)

    def varint(self) -> str:
        """Emit the reading of a raw varint; return its name."""
        raw = self._source.local()
        self._source.add(f"{raw} = f[i]; i += 1", f"if {raw} > 127: {raw}, i = varint(f, i - 1)")
        return raw

    def content(self) -> str:
        """Emit the reading of a length and the bytes behind it; return the expression of the bytes."""
        self._source.add("n = STEPS[f[i]]", "if n: s = i + 1; i += n", "else: s, i = read_length(f, i)")
        return "f[s:i]"

    def index(self, size: int) -> str:
        """Emit the reading of an enum's or union's index, still raw; return its name.

        Up to 64 choices take one byte: a longer form is none of them.
        """
        if size > SHORT:
            return self.varint()
        raw = self._source.local()
        self._source.add(f"{raw} = f[i]; i += 1")
        return raw

    def assign(self, expression: str) -> str:
        """Emit an assignment to a fresh name; return the name."""
        value = self._source.local()
        self._source.add(f"{value} = {expression}")
        return value

    def primitive(self, writer: Primitive, reader: Primitive | None) -> str:
        """Emit the reading of a primitive, promoted to what the reader has."""
        match writer.kind:
            case "null":
                return "None"
            case "boolean":
                raw = self.assign("f[i]")
                self._source.add("i += 1", f"if {raw} > 1: raise DecodeError('boolean')")
                return f"({raw} == 1)"
            case "int" | "long":
                return self._integer(writer, reader)
            case "float" | "double":
                return self.floats([writer.kind])[0]
        return self._text(writer, reader)

    def _integer(self, writer: Primitive, reader: Primitive | None) -> str:
        raw = self._source.local()
        self._source.add(f"{raw} = f[i]; i += 1")
        with self._source.block(f"if {raw} > 127:"):
            self._source.add(f"{raw}, i = varint(f, i - 1)")
            if writer.kind == "int":
                self._source.add(f"if {raw} >> 32: raise DecodeError('int-range')")
        if reader is None:
            return "None"
        number = self.assign(f"{raw} >> 1 ^ -({raw} & 1)")
        if reader.kind in FLOATS:
            return f"float({number})"
        return self._logical_integer(reader.logical, number)

    def _logical_integer(self, logical: Logical | None, number: str) -> str:
        match logical:
            case None:
                return number
            case Logical(kind="timestamp-millis"):
                exact = f"epoch + timedelta(0, 0, {number} * 1000)"
                return self.assign(f"moment({number} / 1e3, UTC) if 0 <= {number} < {FLOAT_MILLIS} else {exact}")
            case Logical(kind="timestamp-micros"):
                exact = f"epoch + timedelta(0, 0, {number})"
                near = f"0 <= {number} < {FLOAT_MILLIS}000"
                return self.assign(f"moment({number} / 1e6, UTC) if {near} else {exact}")
            case Logical(kind="date"):
                return self.assign(f"read_date({number})")
        function = "read_time" if logical.kind.startswith("time-") else "read_local_timestamp"
        micros = f"{number} * 1000" if logical.kind.endswith("millis") else number
        return self.assign(f"{function}({micros})")

    def floats(self, kinds: Sequence[str]) -> list[str]:
        """Emit one read for a run of floats and doubles."""
        form = Struct("<" + "".join(FLOATS[kind] for kind in kinds))
        names = [self._source.local() for _ in kinds]
        unpack = self._source.constant(form.unpack_from)
        self._source.add(f"{', '.join(names)}, = {unpack}(f, i); i += {form.size}")
        return names

    def _text(self, writer: Primitive, reader: Primitive | None) -> str:
        content = self.content()
        if writer.kind == "string" and (reader is None or reader.kind == "bytes"):
            self._source.add(f"{content}.decode()")
        if reader is None:
            return "None"
        if reader.kind == "string":
            text = self.assign(f"{content}.decode()")
            return self.assign(f"read_uuid({text})") if reader.logical else text
        return self._decimal(reader.logical, content) if reader.logical else self.assign(content)

    def _decimal(self, logical: Logical, content: str, size: int | None = None) -> str:
        form = self._source.constant(values.DecimalForm(logical.precision, logical.scale, size).read)
        return self.assign(f"{form}({content})")

    def fixed(self, writer: Fixed, reader: Fixed | None) -> str:
        """Emit the reading of a fixed."""
        self._source.add(f"s = i; i += {writer.size}")
        if reader is None:
            return "None"
        match reader.logical:
            case Logical(kind="decimal") as logical:
                return self._decimal(logical, "f[s:i]", reader.size)
            case Logical(kind="uuid"):
                return self.assign("UUID(bytes=f[s:i])")
        return self.assign("f[s:i]")

    def enum(self, writer: Enum, reader: Enum | None) -> str:
        """Emit the reading of an enum; a symbol that the reader lacks becomes its default, or is refused."""
        raw = self.index(len(writer.symbols))
        if reader is None:
            last = 2 * len(writer.symbols) - 2
            self._source.add(f"if {raw} & 1 or {raw} > {last}: raise DecodeError('enum')")
            return "None"
        member = str if self._models.root is dict else self._models.types[reader.name]
        known = {symbol: member(symbol) for symbol in reader.symbols}
        default = known.get(reader.default or "")
        members = {2 * at: known.get(symbol, default) for at, symbol in enumerate(writer.symbols)}
        table = self._source.constant({raw: value for raw, value in members.items() if value is not None})
        return self.assign(f"{table}[{raw}]")  # a KeyError is told as `enum`
