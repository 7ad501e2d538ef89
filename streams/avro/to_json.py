"""A frame as JSON values, for people and programs that look at a topic; `from_json` makes the same frame of them.

bytes, fixed, duration     {"base64": "…"}
decimal, uuid              text
date, time, timestamps     ISO 8601, instants in UTC
NaN and the infinities     "NaN", "Infinity", "-Infinity"
a value of a union         the value alone, or {"<branch>": value} where alone it would be taken for another branch
"""

from __future__ import annotations

import base64
from datetime import date, time
from functools import lru_cache
from math import isfinite, isnan
from struct import Struct
from typing import Any, Final

from streams.avro.from_json import branch_of
from streams.avro.nodes import Array, Enum, Fixed, Map, Node, Primitive, Record, Union, label
from streams.avro.plain import decode_plain
from streams.avro.schema import Schema
from streams.avro.source import FLOATS
from streams.avro.values import MORE, logical_value, read_block, read_varint
from streams.avro.wire import HEADER_SIZE
from streams.errors import EncodeError

_FLOATS: Final = {kind: Struct("<" + form) for kind, form in FLOATS.items()}


def frame_to_json(schema_text: str, frame: bytes) -> Any:
    """Return the value of a frame as what `json.dumps` takes.

    Raises:
        DecodeError: the bytes do not fit the schema.
        UsageError: the text is no schema.
    """
    decode_plain(schema_text, frame)  # every byte is checked by the codec; the walk below may trust them
    return _Walk(frame).read(_schema(schema_text).root)


def bytes_to_json(raw: bytes) -> dict[str, str]:
    """Return the form that bytes have."""
    return {"base64": base64.b64encode(raw).decode()}


@lru_cache(maxsize=1_000)
def _schema(text: str) -> Schema:
    return Schema(text)


class _Walk:
    """Reads one frame that is known to be sound."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._at = HEADER_SIZE

    def read(self, node: Node) -> Any:  # noqa: PLR0911 (one per type)
        match node:
            case Primitive():
                return self._primitive(node)
            case Fixed():
                raw = self._take(node.size)
                return _json(logical_value(node.logical, raw) if node.logical else raw)
            case Enum():
                return node.symbols[self._long()]
            case Array():
                return [self.read(node.items) for count in self._blocks() for _ in range(count)]
            case Map():
                pairs = ((self._text(), self.read(node.values)) for count in self._blocks() for _ in range(count))
                return dict(pairs)
            case Union():
                return self._union(node)
            case Record():
                return {field.name: self.read(field.type) for field in node.fields}

    def _primitive(self, node: Primitive) -> Any:
        match node.kind:
            case "null":
                return None
            case "boolean":
                return self._take(1) == b"\1"
            case "float" | "double":
                form = _FLOATS[node.kind]
                return _json(form.unpack(self._take(form.size))[0])
            case "int" | "long":
                raw: Any = self._long()
            case "string":
                raw = self._text()
            case _:
                raw = self._take(self._long())
        return _json(logical_value(node.logical, raw) if node.logical else raw)

    def _union(self, node: Union) -> Any:
        index = self._long()
        value = self.read(node.branches[index])
        try:
            alone = branch_of(node, value)[0] == index
        except EncodeError:
            alone = False
        return value if alone else {label(node.branches[index]): value}

    def _blocks(self) -> Any:
        while True:
            count, self._at, _ = read_block(self._frame, self._at)
            if not count:
                return
            yield count

    def _long(self) -> int:
        raw = self._frame[self._at]
        raw, self._at = read_varint(self._frame, self._at) if raw >= MORE else (raw, self._at + 1)
        return raw >> 1 ^ -(raw & 1)

    def _take(self, size: int) -> bytes:
        self._at += size
        return self._frame[self._at - size : self._at]

    def _text(self) -> str:
        return self._take(self._long()).decode()


def _json(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case bytes():
            return bytes_to_json(value)
        case date() | time():
            return value.isoformat()
    return str(value)
