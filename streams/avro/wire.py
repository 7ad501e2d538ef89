"""Confluent's framing: a zero byte, the schema id as four bytes big-endian, then the Avro body."""

from __future__ import annotations

from typing import Final

from streams.errors import DecodeError

MAGIC: Final = 0
HEADER_SIZE: Final = 5


def header(schema_id: int) -> bytes:
    """Return the five bytes that stand before a body of this schema."""
    return bytes((MAGIC,)) + schema_id.to_bytes(HEADER_SIZE - 1, "big")


def split(frame: bytes) -> int:
    """Return the schema id of a frame; its body starts at `HEADER_SIZE`.

    Raises:
        DecodeError: `frame-too-short` or `bad-magic`.
    """
    if len(frame) < HEADER_SIZE:
        raise DecodeError("frame-too-short", f"{len(frame)} bytes, a header alone has {HEADER_SIZE}")
    if frame[0] != MAGIC:
        raise DecodeError("bad-magic", f"first byte is {frame[0]}, not {MAGIC}")
    return int.from_bytes(frame[1:HEADER_SIZE], "big")
