"""Records as JSON objects: what `streams topic consume` prints and `streams topic produce --envelope` reads.

A key is text where it is text, a number where it has the eight bytes of one, else {"base64": "…"}; so the type in JSON
says which bytes it was. Headers are an object, or a list of pairs where a name occurs twice.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

from streams.avro.registry import Registry, UnknownIdError
from streams.avro.to_json import bytes_to_json, frame_to_json
from streams.avro.wire import split
from streams.errors import DecodeError, EncodeError
from streams.keys import KEY_CODECS
from streams.record import Headers, RawRecord

LONG_BYTES = 8
NO_TIMESTAMP = -1  # of a record in the format before Kafka 0.10
_KNOWN = {"topic", "partition", "offset", "timestamp_ms", "key", "value", "error", "headers"}
_PAIR = 2


class Describer:
    """Turns records into JSON; a value that does not decode is shown as bytes with the reason."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.schemas: dict[int, str] = {}
        """The schemas that were fetched so far, by id."""
        self._unknown: dict[int, str] = {}

    def describe(self, record: RawRecord) -> dict[str, Any]:
        """Return a record as JSON-able values."""
        shown: dict[str, Any] = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": _key(record.key),
        }
        try:
            shown["value"] = None if record.value is None else self._value(record.value)
        except DecodeError as error:
            shown["value"], shown["error"] = bytes_to_json(record.value or b""), str(error)
        if record.headers:
            shown["headers"] = _headers(record.headers)
        return shown

    def _value(self, frame: bytes) -> Any:
        schema_id = split(frame)
        if schema_id not in self.schemas and schema_id not in self._unknown:
            try:
                self.schemas[schema_id] = self._registry.schema(schema_id)
            except UnknownIdError as error:
                self._unknown[schema_id] = error.what
        if schema_id in self._unknown:
            raise DecodeError("schema-unknown", self._unknown[schema_id])
        return frame_to_json(self.schemas[schema_id], frame)


class Envelope(NamedTuple):
    """A record that was read from JSON; `value` is still JSON."""

    key: bytes | None
    value: Any
    timestamp_ms: int | None
    headers: Headers


def is_envelope(data: Any) -> bool:
    """Tell whether an object looks like what `streams topic consume` prints."""
    return isinstance(data, dict) and {"topic", "partition", "offset", "value"} <= data.keys() <= _KNOWN


def read_envelope(data: Any) -> Envelope:
    """Read a record.

    Raises:
        EncodeError: it is none, or its value could not be decoded where it was printed.
    """
    if not isinstance(data, dict) or "value" not in data:
        raise EncodeError('it is not an object with a "value"; without --envelope a line is a value')
    unknown = sorted(data.keys() - _KNOWN)
    if unknown:
        raise EncodeError(f"a record has no {unknown[0]!r}; it has {', '.join(sorted(_KNOWN))}")
    if "error" in data:
        raise EncodeError(f"its value was not decoded where it was read: {data['error']}")
    return Envelope(_read_key(data.get("key")), data["value"], _read_timestamp(data), _read_headers(data))


def _key(raw: bytes | None) -> Any:
    if raw is None:
        return None
    text = _text(raw)
    if isinstance(text, str) and text.isprintable():
        return text
    return int.from_bytes(raw, "big", signed=True) if len(raw) == LONG_BYTES else bytes_to_json(raw)


def _read_key(shown: Any) -> bytes | None:
    if shown is None:
        return None
    try:
        return KEY_CODECS[int].encode(shown) if type(shown) is int else _read_text(shown)
    except ValueError as error:
        raise EncodeError(f"the key: {error}") from error


def _headers(headers: Headers) -> Any:
    pairs = [(name, None if value is None else _text(value)) for name, value in headers]
    return dict(pairs) if len(dict(pairs)) == len(pairs) else [list(pair) for pair in pairs]


def _read_headers(data: dict[str, Any]) -> Headers:
    given = data.get("headers") or {}
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list):
        raise EncodeError("headers are an object, or a list of [name, value]")
    read: list[tuple[str, bytes | None]] = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != _PAIR or not isinstance(pair[0], str):
            raise EncodeError(f"header {pair!r} is not [name, value]")
        try:
            read.append((pair[0], None if pair[1] is None else _read_text(pair[1])))
        except ValueError as error:
            raise EncodeError(f"header {pair[0]!r}: {error}") from error
    return tuple(read)


def _read_timestamp(data: dict[str, Any]) -> int | None:
    given = data.get("timestamp_ms")
    if given == NO_TIMESTAMP:
        return None
    if given is not None and (type(given) is not int or given < 0):
        raise EncodeError(f"timestamp_ms {given!r} is not a number of milliseconds since 1970")
    return given


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return bytes_to_json(raw)


def _read_text(shown: Any) -> bytes:
    match shown:
        case str():
            return shown.encode()
        case {"base64": str(text)} if len(shown) == 1:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"{text[:60]!r} is not base64: {error}") from error
    raise ValueError(f'{str(shown)[:60]!r} is neither text nor {{"base64": "…"}}')
