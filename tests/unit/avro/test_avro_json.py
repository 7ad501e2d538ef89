"""What a topic holds, as JSON and back: the same frame, for every contract; and what people get wrong."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.avro.codec import Codec
from streams.avro.from_json import encode_json
from streams.avro.schema import Schema
from streams.avro.to_json import frame_to_json
from streams.errors import EncodeError
from streams.testing.conformance.random_contracts import Case, contracts, mentions, model_of, record

POINT = record(("x", "double"), name="Point")
SPOT = record(("x", "double"), name="Spot")
ENUM = {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
FIXED_DECIMAL = {"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 4, "scale": 1}


def logical(base: str, name: str) -> dict[str, str]:
    return {"type": base, "logicalType": name}


def of(kind: Any, *default: Any) -> Schema:
    return Schema(json.dumps(record(("a", kind, *default))))


def through_json(schema: Schema, frame: bytes) -> bytes:
    """Print a frame as the command line does, and read it as the command line does."""
    line = json.dumps(frame_to_json(schema.text, frame), ensure_ascii=False, allow_nan=False)
    return encode_json(schema, 7, json.loads(line, parse_float=Decimal))


def test_random_values_of_random_contracts_come_back_byte_by_byte() -> None:
    compared: Counter[str] = Counter()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(contracts(), st.data())
    def same(case: Case, data: Any) -> None:
        model = model_of(case.schema)
        codec = Codec(model, 7)
        frame = codec.encode([model(**data.draw(case.values))])[0]
        assert through_json(codec.schema, frame) == frame
        compared["frames"] += 1
        compared["unions"] += mentions(case.schema, "null")

    same()
    assert compared["frames"] >= 100
    assert compared["unions"] >= 10


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("double", float("inf"), "Infinity"),
        ("float", float("-inf"), "-Infinity"),
        ("double", float("nan"), "NaN"),
        ("double", 5.0, 5.0),
        ("double", -0.0, -0.0),
        (["null", ENUM], "RED", "RED"),
        (["double", "string"], float("nan"), {"double": "NaN"}),
        (["double", "string"], "NaN", {"string": "NaN"}),
        (["double", "string"], "text", "text"),
        (["long", "double"], 5, 5),
        (["long", "double"], 5.0, 5.0),
        (["double", "long"], 5, 5),
        (["string", logical("long", "timestamp-millis")], "2026-02-03T04:05:06+00:00", ...),
        (["bytes", {"type": "map", "values": "string"}], {"base64": "AA=="}, {"map": {"base64": "AA=="}}),
        (["string", {"type": "map", "values": "string"}], {"string": "x"}, {"map": {"string": "x"}}),
        (["null", {"type": "map", "values": "string"}], {"map": "x"}, {"map": "x"}),
        ({"type": "fixed", "name": "F", "size": 2}, b"\0\xff", {"base64": "AP8="}),
        (FIXED_DECIMAL, Decimal("-12.5"), "-12.5"),
        (DECIMAL, Decimal("-1.20"), "-1.20"),
    ],
)
def test_a_value_that_json_alone_does_not_tell_is_named(kind: Any, value: Any, shown: Any) -> None:
    schema = of(kind)
    model = model_of(json.loads(schema.text))
    frame = Codec(model, 7).encode([model(a=value)])[0]
    found = frame_to_json(schema.text, frame)["a"]
    assert found == ({"string": value} if shown is ... else shown)
    assert type(found) is type({"string": value} if shown is ... else shown)
    assert through_json(schema, frame) == frame


@pytest.mark.parametrize(
    ("kind", "branch", "alone"),
    [
        (["null", POINT, SPOT], "shop.Spot", {"x": 1.5}),
        (["null", POINT, SPOT], "shop.Point", {"x": 1.5}),
        ([{"type": "fixed", "name": "A", "size": 2}, "bytes"], "bytes", {"base64": "AAA="}),
        (["float", "double"], "float", 1.5),
        (["int", "long"], "long", 5),
        (["string", ENUM], "string", "RED"),
    ],
)
def test_unions_that_even_python_does_not_tell_keep_their_branch(kind: Any, branch: str, alone: Any) -> None:
    """A record of another writer may hold any of them."""
    schema = of(kind)
    frame = encode_json(schema, 7, {"a": {branch: alone}})
    assert frame_to_json(schema.text, frame) == {"a": {branch: alone}}
    assert through_json(schema, frame) == frame


@pytest.mark.parametrize(
    ("kind", "written", "shown"),
    [
        (logical("long", "timestamp-millis"), 1_000, "1970-01-01T00:00:01+00:00"),
        (logical("long", "timestamp-millis"), "1970-01-01T01:00:00.001+01:00", "1970-01-01T00:00:00.001000+00:00"),
        (logical("long", "timestamp-micros"), "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+00:00"),
        (logical("long", "local-timestamp-millis"), "2026-02-03T04:05:06", "2026-02-03T04:05:06"),
        (logical("int", "date"), 1, "1970-01-02"),
        (logical("int", "time-millis"), "01:02:03.004", "01:02:03.004000"),
        (DECIMAL, 1, "1.00"),
        (DECIMAL, Decimal("1.5"), "1.50"),
        ("double", 1, 1.0),
        ("float", Decimal("1e3"), 1000.0),
        (logical("string", "uuid"), "00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000a"),
        (["null", "string"], {"string": "x"}, "x"),
        (["null", "string"], {"null": None}, None),
        ({"type": "array", "items": ["null", "long"]}, [], []),
    ],
)
def test_what_people_write_by_hand_is_taken_where_its_meaning_is_plain(kind: Any, written: Any, shown: Any) -> None:
    schema = of(kind)
    assert frame_to_json(schema.text, encode_json(schema, 7, {"a": written})) == {"a": shown}


@pytest.mark.parametrize(
    ("kind", "default", "shown"),
    [
        ("long", 5, 5),
        ("double", 0.5, 0.5),
        ("bytes", "\u00ff\u0000", {"base64": "/wA="}),
        (["null", "string"], None, None),
        (["string", "null"], "x", "x"),
        (["null", "string"], "x", "x"),
        (logical("int", "date"), 1, "1970-01-02"),
        (DECIMAL, "\u0064", "1.00"),
        ({"type": "fixed", "name": "F", "size": 2}, "\u0001\u0002", {"base64": "AQI="}),
        ({"type": "array", "items": "string"}, ["x"], ["x"]),
        ({"type": "map", "values": "long"}, {"x": 1}, {"x": 1}),
        (ENUM, "BLUE", "BLUE"),
        (record(("x", "long"), ("y", "long", 3), name="Inner"), {"x": 1}, {"x": 1, "y": 3}),
    ],
)
def test_a_field_that_is_left_out_has_its_default(kind: Any, default: Any, shown: Any) -> None:
    schema = of(kind, default)
    assert frame_to_json(schema.text, encode_json(schema, 7, {})) == {"a": shown}


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        ("long", "5", '/a: "5" is not a whole long'),
        ("long", True, "true is not a whole long"),
        ("long", Decimal("5.0"), "is not a whole long"),
        ("int", 1 << 31, "does not fit an int"),
        ("long", 1 << 63, "does not fit a long"),
        ("double", "1.5", "is not a double"),
        ("double", True, "is not a double"),
        ("double", Decimal("1e999"), "does not fit a double"),
        ("float", Decimal("1e300"), "/a: "),
        ("boolean", 1, "1 is not a boolean"),
        ("null", 0, "0 is not a null"),
        ("string", 5, "5 is not a string"),
        ("string", None, "null is not a string"),
        ("string", "\ud800", "/a: "),
        ("bytes", "text", 'write {"base64": "…"}'),
        ("bytes", {"base64": "?"}, "is not base64"),
        ({"type": "fixed", "name": "F", "size": 2}, {"base64": "AA=="}, "1 bytes, shop.F has 2"),
        (ENUM, "GREEN", '"GREEN" is none of RED, BLUE'),
        (ENUM, ["RED"], "none of RED, BLUE"),
        (DECIMAL, "1.234", "4 digits, 2 of them behind the point"),
        (DECIMAL, "123.00", "4 digits, 2 of them behind the point"),
        (DECIMAL, "NaN", "4 digits"),
        (DECIMAL, "much", "is not a decimal"),
        (DECIMAL, True, "is not a decimal"),
        (FIXED_DECIMAL, "1.23", "4 digits, 1 of them"),
        (logical("int", "date"), "2026-13-01", "/a: "),
        (logical("int", "date"), 5_000_000, "no worker would read"),
        (logical("int", "time-millis"), "10:00:00.0001", "finer than milliseconds"),
        (logical("int", "time-millis"), "10:00:00+01:00", "no time zone"),
        (logical("long", "timestamp-millis"), "2026-01-01T00:00:00", "needs an offset, or Z"),
        (logical("long", "timestamp-millis"), "2026-01-01T00:00:00.0001Z", "finer than milliseconds"),
        (logical("long", "timestamp-micros"), "2026-01-01T00:00:00.0000001Z", "finer than microseconds"),
        (logical("long", "timestamp-micros"), "tomorrow", "/a: "),
        (logical("long", "local-timestamp-micros"), "2026-01-01T00:00:00Z", "a local time has none"),
        (logical("string", "uuid"), "xyz", "/a: "),
        (["null", "long"], "5", '"5" is not a whole long'),
        (["null", "long", "string"], 1.5, "none of null, long, string"),
        (["null", POINT, SPOT], {"x": 1}, 'shop.Point or shop.Spot: write {"shop.Point": value}'),
        ({"type": "array", "items": "long"}, [1, "x"], "/a/1: "),
        ({"type": "array", "items": "long"}, {"x": 1}, "is not a list"),
        ({"type": "map", "values": "long"}, {"k": "x"}, "/a/k: "),
        ({"type": "map", "values": "long"}, [1], "is not an object"),
        (POINT, 5, "with the fields of shop.Point"),
        (POINT, {"X": 1}, "shop.Point has no field 'X'"),
        (POINT, {}, "needs a field 'x'"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(kind: Any, wrong: Any, told: str) -> None:
    with pytest.raises(EncodeError) as refused:
        encode_json(of(kind), 7, {"a": wrong})
    assert told in str(refused.value)
    assert str(refused.value).startswith("/a") or "no worker" in str(refused.value)


def test_a_misspelt_field_is_named_with_what_it_may_have_been() -> None:
    with pytest.raises(EncodeError, match=r"did you mean user_id\?"):
        encode_json(Schema(json.dumps(record(("user_id", "long")))), 7, {"usr_id": 5})


@pytest.mark.parametrize("depth", [65, 100_000])
def test_a_value_that_no_worker_would_read_is_not_written(depth: int) -> None:
    schema = Schema(json.dumps(record(("next", ["null", "Node"], None), name="Node")))
    value: Any = {}
    for _ in range(depth):
        value = {"next": value}
    with pytest.raises(EncodeError, match=r"depth|nested too deeply"):
        encode_json(schema, 7, value)
