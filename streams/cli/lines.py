"""Lines of JSON to records: pure, so that the command around it only moves bytes."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any, Final, NamedTuple, NoReturn

from streams.avro.from_json import encode_json
from streams.avro.nodes import Primitive
from streams.avro.nodes import Record as RecordNode
from streams.avro.plain import decode_plain
from streams.avro.schema import Schema
from streams.cli.envelope import Envelope, is_envelope, read_envelope
from streams.errors import EncodeError, UsageError
from streams.keys import KEY_CODECS, KeyCodec
from streams.record import RawRecord, Record

_KEY_TYPES: Final = {"string": str, "int": int, "long": int, "bytes": bytes}


class Contract(NamedTuple):
    """What the records of a topic are made of; `key` is the field of the value that is the record's key."""

    schema: Schema
    schema_id: int
    key: str | None


class Lines:
    """Makes records of lines, each a value or, with `envelope`, a whole record."""

    def __init__(self, topic: str, contract: Contract, *, envelope: bool) -> None:
        """Check the contract's key.

        Raises:
            UsageError: it is no field, or of a type that cannot be a key.
        """
        self._topic = topic
        self._contract = contract
        self._envelope = envelope
        self._key = None if contract.key is None else _key_codec(contract.schema, contract.key)

    def record(self, line: bytes) -> RawRecord:
        """Return the record of a line.

        Raises:
            EncodeError: it is not JSON, or does not fit the schema.
        """
        data = _parse(line)
        found = read_envelope(data) if self._envelope else Envelope(None, data, None, ())
        tombstone = self._envelope and found.value is None
        frame = None if tombstone else self._frame(found.value)
        at = time.time_ns() // 1_000_000 if found.timestamp_ms is None else found.timestamp_ms
        return Record(self._topic, self._key_of(found.key, frame), frame, at, headers=found.headers)

    def _frame(self, value: Any) -> bytes:
        try:
            return encode_json(self._contract.schema, self._contract.schema_id, value)
        except EncodeError as error:
            if not self._envelope and is_envelope(value):
                raise EncodeError(f"{error}; `streams topic consume` printed it: use --envelope") from error
            raise

    def _key_of(self, given: bytes | None, frame: bytes | None) -> bytes | None:
        """Return the key of a value's field; a tombstone has no field, so it keeps the key that it came with."""
        if self._key is None:
            return given
        if frame is not None:
            return self._key.encode(decode_plain(self._contract.schema.text, frame)[self._contract.key])
        if given is None:
            raise EncodeError(f"a tombstone has no field {self._contract.key!r} to take the key from: give it a key")
        return given


def _key_codec(schema: Schema, key: str) -> KeyCodec:
    fields = schema.root.fields if isinstance(schema.root, RecordNode) else []
    usable = {
        field.name: _KEY_TYPES[field.type.kind]
        for field in fields
        if isinstance(field.type, Primitive) and field.type.kind in _KEY_TYPES and field.type.logical is None
    }
    if key not in usable:
        what = "cannot be a key" if key in {field.name for field in fields} else "is no field"
        raise UsageError(
            f"--key {key}: {what} of {schema.name}",
            fix=f"use one of {', '.join(usable)}" if usable else "only fields of type string, int, long or bytes can",
        )
    return KEY_CODECS[usable[key]]


def _parse(line: bytes) -> Any:
    try:
        return json.loads(
            line.decode(), object_pairs_hook=_unique, parse_float=Decimal, parse_constant=_no_constant
        )  # a float would round decimals
    except RecursionError:
        raise EncodeError("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise EncodeError(f"not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for at, (name, _) in enumerate(pairs) if name in dict(pairs[:at]))
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f'{name} is not JSON; write "{name}"')
