import json
from typing import Any

import pytest

from streams.avro.nodes import Record
from streams.avro.schema import Schema
from streams.errors import UsageError
from streams.testing.conformance.random_contracts import record


def nested(levels: int) -> Any:
    return "int" if levels == 0 else {"type": "array", "items": nested(levels - 1)}


def test_a_schema_keeps_the_text_that_it_was_made_of() -> None:
    text = ' {"type": "string",\n "doc": "kept"} '

    assert Schema(text).text == text
    assert Schema('"long"').name == "long"
    assert Schema(json.dumps(record(("a", "int")))).name == "shop.Event"


def test_canonical_form_and_fingerprint_ignore_what_does_not_matter() -> None:
    one, other = Schema('{"type": "string", "doc": "x"}'), Schema('"string"')

    assert one != other
    assert one.canonical == other.canonical == '"string"'
    assert one.fingerprint == other.fingerprint
    assert other.fingerprint != Schema('"bytes"').fingerprint


def test_a_reference_is_the_very_same_type() -> None:
    inner = record(("x", "int"), name="Point")
    schema = Schema(json.dumps(record(("a", inner), ("b", "Point"), ("c", ["null", "shop.Event"]))))

    assert isinstance(schema.root, Record)
    first, second, third = (field.type for field in schema.root.fields)
    assert first is second
    assert third.branches[1] is schema.root
    assert set(schema.named) == {"shop.Event", "shop.Point"}


# (schema, JSON pointer of the message, a word of it)
REFUSED: list[tuple[Any, str, str]] = [
    (7, "", "not a type"),
    ({}, "", "not a type"),
    (None, "", "not a type"),
    ("strin", "", "unknown type"),
    ([], "", "branches"),
    (["null", ["int"]], "/1", "inside a union"),
    ([{"type": "fixed", "name": f"F{n}", "size": 1} for n in range(257)], "", "256 branches"),
    (["int", "int"], "/1", "second int"),
    ([{"type": "array", "items": "int"}, {"type": "array", "items": "long"}], "/1", "second array"),
    ({"type": "array"}, "/items", "not a type"),
    ({"type": "map", "values": "Nope"}, "/values", "unknown type"),
    ({"type": "record", "name": "R"}, "/fields", "list of fields"),
    ({"type": "record", "fields": []}, "/name", "strings"),
    (record(("a", "int"), name="a-b"), "/name", "not a name"),
    (record(("a", "int"), name="9a"), "/name", "not a name"),
    (record(("a.b", "int")), "/fields/0/name", "not a name"),
    (record(("é", "int")), "/fields/0/name", "not a name"),
    (record(("a", "int"), ("a", "int")), "/fields/1/name", "second field"),
    (record(("a", record(("b", "int")))), "/fields/0/type/name", "twice"),
    (record(("a", "Later"), ("b", record(name="Later"))), "/fields/0/type", "unknown type"),
    (record(("a", "int", "x")), "/fields/0/default", "default"),
    (record(("a", "int", 1 << 31)), "/fields/0/default", "default"),
    (record(("a", "boolean", 0)), "/fields/0/default", "default"),
    (record(("a", "bytes", "\u0100")), "/fields/0/default", "default"),
    (record(("a", {"type": "array", "items": "int"}, [1, "2"])), "/fields/0/default", "default"),
    (record(("a", record(("b", "int"), name="Inner"), {})), "/fields/0/default", "default"),
    ({"type": "enum", "name": "E", "symbols": []}, "/symbols", "symbols"),
    ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "/symbols", "symbols"),
    ({"type": "enum", "name": "E", "symbols": ["A B"]}, "/symbols", "not a name"),
    ({"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}, "/default", "default"),
    ({"type": "fixed", "name": "F", "size": 0}, "/size", "size"),
    ({"type": "fixed", "name": "F", "size": -1}, "/size", "size"),
    ({"type": "fixed", "name": "F", "size": 1 << 40}, "/size", "size"),
    ({"type": "fixed", "name": "F", "size": True}, "/size", "size"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 1_000_000}, "/precision", "precision"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 5}, "/scale", "scale"),
    (nested(100), "/items", "deeper than 64"),
    (record(*((f"f{n}", "int") for n in range(10_001))), "/fields", "10,000"),
]


@pytest.mark.parametrize(("schema", "pointer", "word"), REFUSED)
def test_what_is_no_schema_is_refused_with_its_place(schema: Any, pointer: str, word: str) -> None:
    with pytest.raises(UsageError) as refused:
        Schema(json.dumps(schema), "here.avsc")

    assert refused.value.where.startswith(f"here.avsc#{pointer}")
    assert word in refused.value.what


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('\ufeff"int"', "not JSON"),
        ('{"type": "int", "type": "long"}', "twice"),
        ('{"type": "int", "x": NaN}', "not JSON"),
        (f'{{"type": "int", "doc": "{"x" * 1_000_000}"}}', "1,000,000 bytes"),
        ("[" * 100_000, "deeper"),
        ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "double", "default": 1e999}]}', "default"),
    ],
)
def test_what_is_no_json_is_refused(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Schema(text)


def test_references_that_double_are_never_expanded() -> None:
    inner: Any = record(("x", "int"), name="R0")
    for number in range(1, 31):
        inner = record(("a", inner), ("b", f"R{number - 1}"), name=f"R{number}")

    assert len(Schema(json.dumps(inner)).named) == 31


def test_unknown_or_misplaced_logical_types_are_ignored() -> None:
    for schema in ({"type": "int", "logicalType": "moon-phase"}, {"type": "int", "logicalType": "timestamp-millis"}):
        assert Schema(json.dumps(schema)).root.logical is None
