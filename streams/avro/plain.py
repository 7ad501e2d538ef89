"""Decoding without a model, for people who look at a topic: a frame to plain Python values."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from streams.avro.model import Models
from streams.avro.plans import Decode, decoder
from streams.avro.schema import Schema
from streams.avro.wire import split

PLAIN: Final = Models(dict, {}, validate=False)


def decode_plain(schema_text: str, frame: bytes) -> Any:
    """Return the value of a frame as dictionaries, tuples and scalars.

    Raises:
        DecodeError: the bytes do not fit the schema.
        UsageError: the text is no schema.
    """
    found: list[Any] = []
    _plan(split(frame), schema_text)([frame], found)
    return found[0]


@lru_cache(maxsize=1_000)
def _plan(schema_id: int, schema_text: str) -> Decode:
    schema = Schema(schema_text, f"schema {schema_id}")
    return decoder(schema_id, schema, schema, PLAIN)
