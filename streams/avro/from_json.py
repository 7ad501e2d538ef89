"""JSON values to frames: what `to_json` shows, and what people write by hand. Nothing is guessed and nothing lost.

Beside the forms of `to_json`: an instant, date or time may be its raw number, a decimal a JSON number, a field with a
default may be left out, and a value of a union may always stand under its branch's name, {"<branch>": value}.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, Final, NoReturn
from uuid import UUID

from streams.avro import values
from streams.avro.nodes import MISSING, Array, Enum, Field, Fixed, Logical, Map, Node, Primitive, Record, Union, label
from streams.avro.parse import fits
from streams.avro.plain import decode_plain
from streams.avro.schema import Schema
from streams.avro.source import FLOATS
from streams.avro.wire import header
from streams.errors import DecodeError, EncodeError

NUMBER_NAMES: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_INTEGERS: Final = ("int", "long")
_MICROSECOND: Final = timedelta(microseconds=1)
_TOO_FINE: Final = re.compile(r"[.,]\d{7}")  # Python would drop the digits without a word
_SHOWN_CHARACTERS: Final = 60


def encode_json(schema: Schema, schema_id: int, value: Any) -> bytes:
    """Return the frame of a JSON value; numbers with a fraction come as Decimal, or as float.

    Raises:
        EncodeError: the value does not fit the schema; says where and why.
    """
    try:
        frame = header(schema_id) + _write(schema.root, value, "")
        decode_plain(schema.text, frame)  # what no worker would read is not written: nested too deeply, for instance
    except RecursionError:
        raise EncodeError("the value is nested too deeply") from None
    except DecodeError as error:
        raise EncodeError(f"no worker would read the value: {error}") from error
    return frame


def branch_of(union: Union, value: Any, path: str = "") -> tuple[int, bytes]:
    """Return the branch that a JSON value belongs to, and its bytes.

    Raises:
        EncodeError: it fits none, or several.
    """
    named = _named_branch(union, value, path)
    if named is not None:
        return named
    fitting: list[tuple[int, bytes]] = []
    refused: list[EncodeError] = []
    for index, branch in enumerate(union.branches):
        try:
            fitting.append((index, _write(branch, value, path)))
        except EncodeError as error:
            refused.append(error)
    if not fitting:
        _no_branch(union, value, path, refused)
    return _only(union, value, path, fitting)


def _named_branch(union: Union, value: Any, path: str) -> tuple[int, bytes] | None:
    """Read {"<branch>": value}, unless the content does not fit: it may be a map, or a record of one field."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    (name,) = value
    for index, branch in enumerate(union.branches):
        if label(branch) == name:
            try:
                return index, _write(branch, value[name], f"{path}/{name}")
            except EncodeError:
                return None
    return None


def _no_branch(union: Union, value: Any, path: str, refused: list[EncodeError]) -> NoReturn:
    kinds = [label(branch) for branch in union.branches]
    if "null" in kinds and len(kinds) == 2:  # noqa: PLR2004 - an optional value: the other branch knows what is wrong
        raise refused[1 - kinds.index("null")]
    raise EncodeError(f"{path or '/'}: {_shown(value)} is none of {', '.join(kinds)}")


def _only(union: Union, value: Any, path: str, fitting: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Take the one branch that fits; a whole number is an integer before it is a float, and `int` may be `long`."""
    if len(fitting) > 1:
        kinds = {
            index: branch.kind
            for index, branch in enumerate(union.branches)
            if isinstance(branch, Primitive) and branch.logical is None
        }
        wanted = _INTEGERS if type(value) is int else ("double",)
        numeric = all(kinds.get(index) in (*_INTEGERS, *FLOATS) for index, _ in fitting)
        fitting = [found for found in fitting if numeric and kinds[found[0]] in wanted][:1] or fitting
    if len(fitting) > 1:
        names = [label(union.branches[index]) for index, _ in fitting]
        raise EncodeError(f'{path or "/"}: the value may be {" or ".join(names)}: write {{"{names[0]}": value}}')
    return fitting[0]


def _write(node: Node, value: Any, path: str) -> bytes:
    match node:
        case Primitive() | Fixed() | Enum():
            return _leaf(node, value, path)
        case Array(items=items):
            if not isinstance(value, list):
                raise EncodeError(f"{path or '/'}: {_shown(value)} is not a list")
            return _block(_write(items, item, f"{path}/{at}") for at, item in enumerate(value))
        case Map(values=inner):
            if not isinstance(value, dict):
                raise EncodeError(f"{path or '/'}: {_shown(value)} is not an object")
            return _block(_text(key, path) + _write(inner, item, f"{path}/{key}") for key, item in value.items())
        case Union():
            index, written = branch_of(node, value, path)
            return values.count(index) + written
        case Record():
            return _record(node, value, path)


def _block(items: Iterable[bytes]) -> bytes:
    written = list(items)
    return values.count(len(written)) + b"".join(written) + b"\0" if written else b"\0"


def _record(node: Record, value: Any, path: str) -> bytes:
    if not isinstance(value, dict):
        raise EncodeError(f"{path or '/'}: {_shown(value)} is not an object with the fields of {node.name}")
    known = {field.name for field in node.fields}
    for name in value.keys() - known:
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(sorted(known)) or 'none'}"
        raise EncodeError(f"{path or '/'}: {node.name} has no field {name!r}; {hint}")
    return b"".join(_field(node, field, value, path) for field in node.fields)


def _field(record: Record, field: Field, value: dict[str, Any], path: str) -> bytes:
    if field.name in value:
        return _write(field.type, value[field.name], f"{path}/{field.name}")
    if field.default is MISSING:
        raise EncodeError(f"{path or '/'}: {record.name} needs a field {field.name!r}, which has no default")
    return _default(field.type, field.default)


def _default(node: Node, value: Any) -> bytes:  # noqa: PLR0911 (one per type)
    """Write a default, whose JSON form is Avro's own: raw numbers, bytes as Latin-1, a union's value alone."""
    match node:
        case Primitive(kind="bytes") | Fixed():
            raw: bytes = value.encode("latin-1")
            return raw if isinstance(node, Fixed) else values.count(len(raw)) + raw
        case Primitive():
            return _write(Primitive(node.kind), value, "")
        case Array(items=items):
            return _block(_default(items, item) for item in value)
        case Map(values=inner):
            return _block(_text(key, "") + _default(inner, item) for key, item in value.items())
        case Union(branches=branches):
            index = next(at for at, branch in enumerate(branches) if fits(branch, value))
            return values.count(index) + _default(branches[index], value)
        case Record(fields=fields):
            return b"".join(_default(field.type, value.get(field.name, field.default)) for field in fields)
        case Enum():
            return _leaf(node, value, "")


def _text(text: str, path: str) -> bytes:
    return _leaf(Primitive("string"), text, path)


def _leaf(node: Primitive | Fixed | Enum, value: Any, path: str) -> bytes:
    try:
        match node:
            case Enum(symbols=symbols):
                return values.count(symbols.index(value)) if value in symbols else _no_symbol(symbols, value)
            case Fixed():
                return _fixed(node, value)
        return _primitive(node, value)
    except (ValueError, TypeError, ArithmeticError, struct.error) as error:
        raise EncodeError(f"{path or '/'}: {error}") from error


def _no_symbol(symbols: tuple[str, ...], value: Any) -> NoReturn:
    raise ValueError(f"{_shown(value)} is none of {', '.join(symbols)}")


def _primitive(node: Primitive, value: Any) -> bytes:
    match node.kind:
        case "null" if value is None:
            return b""
        case "boolean" if isinstance(value, bool):
            return b"\1" if value else b"\0"
        case "int" | "long":
            number = _integer(node, value)
            return values.int32(number) if node.kind == "int" else values.int64(number)
        case "float" | "double":
            return struct.pack("<" + FLOATS[node.kind], _float(node, value))
        case "bytes":
            raw = _decimal(node.logical, value) if node.logical else _bytes(value)
            return values.count(len(raw)) + raw
        case "string" if isinstance(value, str):
            raw = (str(_uuid(value)) if node.logical else value).encode()
            return values.count(len(raw)) + raw
    raise TypeError(f"{_shown(value)} is not a {node.kind}")


def _integer(node: Primitive, value: Any) -> int:
    if type(value) is int:
        return value
    if node.logical is None or not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is not {node.logical.kind if node.logical else f'a whole {node.kind}'}")
    if _TOO_FINE.search(value):
        raise ValueError(f"{value!r} is finer than microseconds")
    kind = node.logical.kind
    if kind == "date":
        return values.write_date(date.fromisoformat(value))
    micros = values.write_time(time.fromisoformat(value)) if kind.startswith("time-") else _instant(kind, value)
    if not kind.endswith("millis"):
        return micros
    if micros % 1000:
        raise ValueError(f"{value!r} is finer than milliseconds")
    return micros // 1000


def _instant(kind: str, text: str) -> int:
    moment = datetime.fromisoformat(text)
    local = kind.startswith("local")
    if local != (moment.tzinfo is None):
        raise ValueError(f"{text!r} {'has an offset, and a local time has none' if local else 'needs an offset, or Z'}")
    return (moment - (values.NAIVE_EPOCH if local else values.EPOCH)) // _MICROSECOND


def _float(node: Primitive, value: Any) -> float:
    if isinstance(value, str) and value in NUMBER_NAMES:
        return NUMBER_NAMES[value]
    if type(value) not in (int, float, Decimal):
        raise TypeError(f"{_shown(value)} is not a {node.kind}")
    number = float(value)
    if number in (NUMBER_NAMES["Infinity"], NUMBER_NAMES["-Infinity"]):
        raise OverflowError(f"{_shown(value)} does not fit a {node.kind}")
    return number


def _bytes(value: Any) -> bytes:
    match value:
        case {"base64": str(text)} if len(value) == 1:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"{_shown(text)} is not base64: {error}") from error
    raise TypeError(f'{_shown(value)} is not bytes; write {{"base64": "…"}}')


def _fixed(node: Fixed, value: Any) -> bytes:
    match node.logical:
        case Logical(kind="decimal") as logical:
            return _decimal(logical, value, node.size)
        case Logical(kind="uuid") if isinstance(value, str):
            return _uuid(value).bytes
    raw = _bytes(value)
    if len(raw) != node.size:
        raise ValueError(f"{len(raw)} bytes, {node.name} has {node.size}")
    return raw


def _decimal(logical: Logical, value: Any, size: int | None = None) -> bytes:
    if type(value) not in (int, str, Decimal):
        raise TypeError(f"{_shown(value)} is not a decimal")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{_shown(value)} is not a decimal") from None
    try:
        return values.DecimalForm(logical.precision, logical.scale, size).write(number)
    except (ValueError, ArithmeticError):
        digits = f"{logical.precision} digits, {logical.scale} of them behind the point"
        raise ValueError(f"{_shown(value)} does not fit {digits}") from None


def _uuid(text: str) -> UUID:
    return values.read_uuid(text.lower())


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
