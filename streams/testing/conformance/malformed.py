"""Frames that lie: a name, the schema, the body, and the kind of defect that it has to be told as."""

# ruff: noqa: PLR2004 - the wire has numbers of its own
from __future__ import annotations

from typing import Any

from streams.testing.conformance.random_contracts import record

NODE = record(("next", ["null", "Node"]), name="Node")
TREE = record(("children", {"type": "array", "items": "Tree"}), name="Tree")
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
EMPTY = record(name="Empty")
STRINGS = {"type": "array", "items": "string"}
LONGS_BY_KEY = {"type": "map", "values": "long"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
FIXED_DECIMAL = {"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 4}


def of(kind: Any) -> Any:
    """Return a record with one field of a type."""
    return record(("a", kind))


def array(item: Any) -> Any:
    """Return an array of a type."""
    return {"type": "array", "items": item}


def varint(raw: int) -> bytes:
    """Return a raw value in the form of the wire."""
    out = b""
    while raw > 127:
        out, raw = out + bytes((raw & 127 | 128,)), raw >> 7
    return out + bytes((raw,))


def long(number: int) -> bytes:
    """Return a number in the form of the wire."""
    return varint((number << 1 ^ number >> 63) & (1 << 64) - 1)


CAPITALS = b"AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA"
MALFORMED: list[tuple[str, Any, bytes, str]] = [
    ("varint of 41 bytes", of("long"), b"\x80" * 40 + b"\1", "varint"),
    ("varint of 11 bytes", of("long"), b"\xff" * 10 + b"\1", "varint"),
    ("varint beyond 64 bits", of("long"), b"\xff" * 9 + b"\2", "varint"),
    ("varint padded to two bytes", of("long"), b"\x81\0", "varint"),
    ("varint padded to five bytes", of("long"), b"\x81\x80\x80\x80\0", "varint"),
    ("length beyond 64 bits", of("string"), b"\xff" * 9 + b"\2", "varint"),
    ("int of 33 bits", of("int"), long(1 << 31), "int-range"),
    ("int of 40 bits", of("int"), long(1 << 40), "int-range"),
    ("negative int of 33 bits", of("int"), long(-(1 << 31) - 1), "int-range"),
    ("no byte where an int is due", of("int"), b"", "truncated"),
    ("varint that ends early", of("long"), b"\x80", "truncated"),
    ("long varint that ends early", of("long"), b"\xff\xff\xff", "truncated"),
    ("no byte where a boolean is due", of("boolean"), b"", "truncated"),
    ("half a double", of("double"), b"\0\0\0\0", "truncated"),
    ("half a float", of("float"), b"\0\0", "truncated"),
    ("fixed that ends early", of({"type": "fixed", "name": "F", "size": 4}), b"\0\0", "truncated"),
    ("negative length of a string", of("string"), long(-1), "negative-length"),
    ("negative length of bytes", of("bytes"), long(-(1 << 63)), "negative-length"),
    ("length beyond the end", of("string"), long(5) + b"abc", "truncated"),
    ("length of 2^62", of("bytes"), long(1 << 62) + b"abc", "truncated"),
    ("enum index -1", of(ENUM), long(-1), "enum"),
    ("enum index behind the last", of(ENUM), long(2), "enum"),
    ("enum index of 2^40", of(ENUM), long(1 << 40), "enum"),
    ("union index -1", of(["null", "int"]), long(-1), "union"),
    ("union index behind the last", of(["null", "int"]), long(2), "union"),
    ("20 million nulls", of(array("null")), long(20_000_000) + b"\0", "block-count"),
    ("20 million empty records", of(array(EMPTY)), long(20_000_000) + b"\0", "block-count"),
    ("many blocks of nulls", of(array("null")), long(99_999) * 3 + b"\0", "block-count"),
    ("nulls in nested arrays", of(array(array("null"))), long(9) + (long(90_000) + b"\0") * 9 + b"\0", "block-count"),
    ("more items than bytes", of(STRINGS), long(1_000) + b"\0\0\0", "block-count"),
    ("more doubles than bytes", of(array("double")), long(3) + b"\0" * 17, "block-count"),
    ("count of INT64_MIN", of(STRINGS), long(-(1 << 63)) + long(0) + b"\0", "block-count"),
    ("wrong size of a block", of(STRINGS), long(-1) + long(3) + b"\2x\0", "block-size"),
    ("size of a block beyond the end", of(STRINGS), long(-1) + long(99) + b"\2x\0", "block-size"),
    ("negative size of a block", of(STRINGS), long(-1) + long(-2) + b"\2x\0", "negative-length"),
    ("array without an end", of(STRINGS), long(1) + b"\2x", "truncated"),
    ("recursion of 65 levels", NODE, b"\2" * 65 + b"\0", "depth"),
    ("recursion of 5,000 levels", NODE, b"\2" * 5_000 + b"\0", "depth"),
    ("recursion in arrays", TREE, b"\2" * 5_000 + b"\0" * 5_001, "depth"),
    ("decimal of 400 KB", of(DECIMAL), long(400_000) + b"\x11" * 400_000, "decimal"),
    ("decimal of leading zeros", of(DECIMAL), long(4) + b"\0\0\0\1", "decimal"),
    ("decimal beyond its precision", of(DECIMAL), long(2) + b"\x27\x10", "decimal"),
    ("fixed decimal beyond its precision", of(FIXED_DECIMAL), b"\0\0\x27\x10", "decimal"),
    ("date beyond the year 9999", of({"type": "int", "logicalType": "date"}), long(3_000_000), "value"),
    ("time of 25 hours", of({"type": "int", "logicalType": "time-millis"}), long(90_000_000), "value"),
    ("time before midnight", of({"type": "long", "logicalType": "time-micros"}), long(-1), "value"),
    ("timestamp of 2^63", of({"type": "long", "logicalType": "timestamp-millis"}), long((1 << 63) - 1), "value"),
    ("timestamp of -2^63", of({"type": "long", "logicalType": "timestamp-micros"}), long(-(1 << 63)), "value"),
    ("uuid of nonsense", of({"type": "string", "logicalType": "uuid"}), long(3) + b"abc", "value"),
    ("uuid in capitals", of({"type": "string", "logicalType": "uuid"}), long(36) + CAPITALS, "value"),
    ("invalid UTF-8", of("string"), long(2) + b"\xc3\x28", "utf-8"),
    ("lone surrogate", of("string"), long(3) + b"\xed\xa0\x80", "utf-8"),
    ("invalid UTF-8 in a key", of(LONGS_BY_KEY), long(1) + long(1) + b"\xff\0\0", "utf-8"),
    ("boolean 7", of("boolean"), b"\7", "boolean"),
    ("boolean 255", of("boolean"), b"\xff", "boolean"),
    ("a byte behind the value", of("int"), b"\2\0", "trailing-bytes"),
    ("a byte behind an empty record", EMPTY, b"\0", "trailing-bytes"),
    ("duplicate key", of(LONGS_BY_KEY), long(2) + b"\2k\2\2k\4\0", "duplicate-key"),
    ("duplicate key in two blocks", of(LONGS_BY_KEY), (long(1) + b"\2k\2") * 2 + b"\0", "duplicate-key"),
]  # fmt: skip
