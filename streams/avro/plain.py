"""Decoding without a model, for people who look at a topic: a frame to plain Python values."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import fastavro

from streams.avro.wire import HEADER_SIZE
from streams.errors import DecodeError


def decode_plain(schema_text: str, frame: bytes) -> Any:
    """Return the value of a frame as dictionaries, lists and scalars.

    Raises:
        DecodeError: the bytes do not fit the schema.
    """
    body = io.BytesIO(frame)
    body.seek(HEADER_SIZE)
    try:
        value = fastavro.schemaless_reader(body, _parsed(schema_text), None)
    except Exception as error:  # the library raises whatever the bytes lead it to
        raise DecodeError("malformed", f"{type(error).__name__}: {error}") from error
    if body.tell() != len(frame):
        raise DecodeError("trailing-bytes", f"{len(frame) - body.tell()} bytes behind the value")
    return value


@cache
def _parsed(schema_text: str) -> Any:
    return fastavro.parse_schema(json.loads(schema_text))
