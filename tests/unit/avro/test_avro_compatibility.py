import json
from collections import Counter
from typing import Any

import pytest

from streams.avro.compatibility import Level, breaks, check, pairs
from streams.avro.nodes import Node, Record
from streams.avro.schema import Schema
from streams.testing.conformance.random_contracts import fastavro_body, fastavro_value, record


def enum(*symbols: str, **more: Any) -> Any:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def fixed(size: int, name: str = "F") -> Any:
    return {"type": "fixed", "name": name, "size": size}


def logical(base: str, name: str, **more: Any) -> Any:
    return {"type": base, "logicalType": name, **more}


def decimal(precision: int, scale: int) -> Any:
    return logical("bytes", "decimal", precision=precision, scale=scale)


def listed(item: Any) -> Any:
    return {"type": "array", "items": item}


def mapped(item: Any) -> Any:
    return {"type": "map", "values": item}


NODE = record(("value", "int"), ("next", ["null", "Node"]), name="Node")
LONG_NODE = record(("value", "long"), ("next", ["null", "Node"]), name="Node")
TEXT_NODE = record(("value", "string"), ("next", ["null", "Node"]), name="Node")
A, B = ("a", "int"), ("b", "long")
INNER = record(("x", "int"), name="I")
RENAMED_FIELD = {"type": "record", "name": "Event", "fields": [{"name": "new", "type": "int", "aliases": ["old"]}]}
RENAMED = {"type": "record", "name": "New", "namespace": "shop", "aliases": ["Event"], "fields": []}

# (reader, writer, the kind and path of each break)
CASES: list[tuple[Any, Any, list[tuple[str, str]]]] = [
    ("int", "int", []),
    ("long", "int", []),
    ("float", "int", []),
    ("double", "int", []),
    ("float", "long", []),
    ("double", "float", []),
    ("bytes", "string", []),
    ("string", "bytes", []),
    ("int", "long", [("type", "")]),
    ("float", "double", [("type", "")]),
    ("long", "double", [("type", "")]),
    ("boolean", "int", [("type", "")]),
    ("string", "int", [("type", "")]),
    ("null", "int", [("type", "")]),
    ("string", listed("string"), [("type", "")]),
    (listed("int"), mapped("int"), [("type", "")]),
    (listed("long"), listed("int"), []),
    (listed("int"), listed("long"), [("type", "/items")]),
    (mapped(listed("int")), mapped(listed("string")), [("type", "/values/items")]),
    (record(("a", "int")), record(("a", "int")), []),
    (record(("b", "int"), ("a", "int")), record(("a", "int"), ("b", "int")), []),
    (record(("a", "int")), record(("a", "int"), ("b", "int")), []),
    (record(("a", "int"), ("b", "int", 0)), record(("a", "int")), []),
    (record(("a", "int"), ("b", "int")), record(("a", "int")), [("missing-default", "/fields/1")]),
    (record(("a", "int"), ("b", ["null", "int"])), record(("a", "int")), [("missing-default", "/fields/1")]),
    (record(A, B), record(), [("missing-default", "/fields/0"), ("missing-default", "/fields/1")]),
    (record(A, B), record(("a", "string"), ("b", "double")), [("type", "/fields/0/type"), ("type", "/fields/1/type")]),
    (record(("a", INNER)), record(("a", record(name="I"))), [("missing-default", "/fields/0/type/fields/0")]),
    (record(name="Other"), record(), [("name", "")]),
    (RENAMED, record(), []),
    (RENAMED, record() | {"namespace": "bank"}, [("name", "")]),
    (record() | {"namespace": "bank"}, record(), []),
    (RENAMED_FIELD, record(("old", "int")), []),
    (enum("A", "B"), enum("A"), []),
    (enum("A"), enum("A", "B"), [("enum-symbols", "/symbols")]),
    (enum("A", default="A"), enum("A", "B"), []),
    (enum("B", "A"), enum("A", "B"), []),
    (fixed(4), fixed(4), []),
    (fixed(4), fixed(5), [("fixed-size", "/size")]),
    (fixed(4, "G"), fixed(4), [("name", "")]),
    (["null", "int"], "int", []),
    (["null", "long"], "int", []),
    (["null", "string"], "int", [("union-branch", "")]),
    ("int", ["int"], []),
    ("int", ["null", "int"], [("type", "")]),
    ("long", ["int", "long"], []),
    (["null", "int", "string"], ["null", "int"], []),
    (["string", "int", "null"], ["null", "int"], []),
    (["null", "int"], ["null", "int", "string"], [("union-branch", "")]),
    (["null", record(("a", "int"))], ["null", record()], [("missing-default", "/1/fields/0")]),
    (logical("int", "date"), "int", []),
    ("int", logical("int", "date"), []),
    (logical("long", "timestamp-millis"), logical("long", "timestamp-micros"), [("logical-type", "")]),
    (logical("long", "timestamp-millis"), logical("long", "local-timestamp-millis"), [("logical-type", "")]),
    (decimal(6, 2), decimal(4, 2), []),
    (decimal(4, 2), decimal(6, 2), [("decimal-precision", "")]),
    (decimal(6, 2), decimal(6, 3), [("logical-type", "")]),
    (decimal(6, 2), "bytes", []),
    (NODE, NODE, []),
    (LONG_NODE, NODE, []),
    (NODE, LONG_NODE, [("type", "/fields/0/type")]),
    (TEXT_NODE, NODE, [("type", "/fields/0/type")]),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "writer", "expected"), CASES)
def test_breaks_are_found_named_and_placed(reader: Any, writer: Any, expected: list[tuple[str, str]]) -> None:
    ours = Schema(json.dumps(reader))

    found = check(ours, Schema(json.dumps(writer)))

    assert [(each.kind, each.path) for each in found] == expected
    assert all(each.what and each.fix for each in found)
    for each in found:
        assert points_to_something(ours.root, json.loads(ours.text), each.path)


def points_to_something(_root: Node, text: Any, path: str) -> bool:
    for step in path.split("/")[1:]:
        text = text[int(step)] if isinstance(text, list) else text[step]
    return text is not None


SAMPLES: dict[str, Any] = {
    "null": None, "boolean": True, "int": 1, "long": 1, "float": 0.5, "double": 0.5, "bytes": b"x", "string": "x",
}  # fmt: skip


def test_fastavro_resolves_what_is_compatible_and_nothing_else() -> None:
    """For values that meet the break: those of the cases without unions and logical types."""
    compared: Counter[bool] = Counter()
    for reader, writer, expected in CASES:
        value = sample(Schema(json.dumps(writer)).root)
        if isinstance(writer, list) or "logicalType" in json.dumps([reader, writer]) or "aliases" in json.dumps(reader):
            continue
        if expected and expected[0][0] == "enum-symbols":
            value = writer["symbols"][-1]
        try:
            fastavro_value(writer, b"12345" + fastavro_body(writer, value), reader)
            resolved = True
        except Exception:  # noqa: BLE001 (any)
            resolved = False
        assert resolved == (not expected), (reader, writer)
        compared[resolved] += 1
    assert compared[True] >= 20
    assert compared[False] >= 15


def sample(node: Any, depth: int = 0) -> Any:
    match node:
        case Record(fields=fields):
            return {field.name: None if depth else sample(field.type, 1) for field in fields} | {
                field.name: sample(field.type, depth + 1) for field in fields if depth < 2 and field.name != "next"
            }
    if hasattr(node, "kind"):
        return SAMPLES[node.kind]
    if hasattr(node, "items"):
        return [sample(node.items)]
    if hasattr(node, "values"):
        return {"k": sample(node.values)}
    if hasattr(node, "branches"):
        return sample(node.branches[0])
    return node.symbols[0] if hasattr(node, "symbols") else b"x" * node.size


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (Level.NONE, set()),
        (Level.BACKWARD, {(2, 1), (3, 2)}),
        (Level.BACKWARD_TRANSITIVE, {(2, 1), (3, 1), (3, 2)}),
        (Level.FORWARD, {(1, 2), (2, 3)}),
        (Level.FORWARD_TRANSITIVE, {(1, 2), (1, 3), (2, 3)}),
        (Level.FULL, {(1, 2), (2, 1), (2, 3), (3, 2)}),
        (Level.FULL_TRANSITIVE, {(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)}),
    ],
)
def test_a_level_says_who_reads_whom(level: Level, expected: set[tuple[int, int]]) -> None:
    found = list(pairs(3, level))

    assert set(found) == expected | {(1, 1), (2, 2), (3, 3)}
    assert len(found) == len(set(found))


def test_a_transitive_level_sees_what_the_last_step_hides() -> None:
    versions = [Schema(json.dumps(record(*fields))) for fields in ((), (("a", "int", 0),), (("a", "int"),))]

    def broken(level: Level) -> list[tuple[int, int]]:
        return [(reader, writer) for reader, writer, found in breaks(versions, level) if found]

    assert broken(Level.BACKWARD) == []
    assert broken(Level.BACKWARD_TRANSITIVE) == [(3, 1)]
