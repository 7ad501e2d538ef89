"""Keys: unframed primitives, so that a key never moves to another partition because its schema id changed.

UTF-8 string, 8-byte big-endian long, raw bytes: what Kafka's own StringSerializer, LongSerializer and
ByteArraySerializer write.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

Key = str | int | bytes

_LONG = struct.Struct(">q")


class KeyCodec(NamedTuple):
    """How one type of key becomes bytes and back; both raise ValueError or TypeError on what does not fit."""

    type: type[Key]
    encode: Callable[..., bytes]
    decode: Callable[[bytes], Key]


def _encode_bytes(key: bytes) -> bytes:
    if not isinstance(key, bytes):  # bytes(5) would be five zeros
        raise TypeError(f"key {key!r} is not bytes")
    return key


def _encode_long(key: int) -> bytes:
    try:
        return _LONG.pack(key)
    except struct.error as error:
        raise ValueError(f"key {key!r} is not a 64-bit integer") from error


def _decode_long(raw: bytes) -> int:
    try:
        return int(_LONG.unpack(raw)[0])
    except struct.error as error:
        raise ValueError(f"a long key has 8 bytes, not {len(raw)}") from error


def _decode_string(raw: bytes) -> str:
    return raw.decode()


KEY_CODECS: dict[type, KeyCodec] = {
    str: KeyCodec(str, str.encode, _decode_string),
    int: KeyCodec(int, _encode_long, _decode_long),
    bytes: KeyCodec(bytes, _encode_bytes, bytes),
}
