"""A contract with a bit of everything, and its values, for tests of codecs."""

from datetime import UTC, datetime
from typing import Any

from streams.testing.conformance.random_contracts import record

KIND = {"type": "enum", "name": "Kind", "symbols": ["POST", "REPLY"]}
STAMP = {"type": "long", "logicalType": "timestamp-millis"}
TAGS = {"type": "array", "items": "string"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
COUNTS = {"type": "map", "values": "long"}
POST = record(("id", "string"), ("tags", TAGS), ("kind", KIND), ("at", STAMP), ("to", ["null", "string"], None))
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def post(model: type[Any], **changes: Any) -> Any:
    return model(**{"id": "p1", "tags": ["a", "b"], "kind": "REPLY", "at": NOON} | changes)
