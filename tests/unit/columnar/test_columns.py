"""What a handler gives is held against the model's columns, and what a writer of another version wrote is resolved."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from streams import App
from streams.avro import native
from streams.avro.codec import Codec
from streams.columnar.codec import ColumnCodec
from streams.columnar.columns import TIMESTAMP, Columns
from streams.columnar.types import arrow, polars
from streams.errors import DecodeError, EncodeError, HandlerError, UsageError
from streams.testing.conformance.random_contracts import model_of, record

COLOUR = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}
MORE = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE", "GREEN"]}
FALLS_BACK = {"type": "enum", "name": "Colour", "symbols": ["RED"], "default": "RED"}
POINT = record(("x", "int"), ("y", "int"), name="Point")
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("writer", "reader", "values", "natively"),
    [
        ("int", "long", [1, -1], True),
        ("int", "double", [1, (1 << 31) - 1], True),
        ("float", "double", [0.5], True),
        ("long", "double", [(1 << 53) + 1], False),
        ("int", "float", [(1 << 24) + 1], False),
        ("long", "float", [(1 << 60) + 1], False),
        ("string", "bytes", ["é"], False),
        ("int", ["null", "long"], [5], True),
        (["null", "int"], "int", [None, 5], False),
        (["null", "int"], ["long", "null"], [None, 5], True),
        ("int", {"type": "int", "logicalType": "date"}, [0, 10_000_000], False),
        (MILLIS, "long", [datetime(2020, 1, 1, tzinfo=UTC)], False),
        (COLOUR, MORE, ["RED", "BLUE"], True),
        (MORE, COLOUR, ["RED", "GREEN"], False),
        (COLOUR, FALLS_BACK, ["RED", "BLUE"], False),
        (POINT, record(("y", "int"), ("x", "int"), name="Point"), [{"x": 1, "y": 2}], False),
        (POINT, record(("y", "int"), name="Point"), [{"x": 1, "y": 2}], False),
        (POINT, record(("x", "int"), ("y", "int"), ("z", "int", 7), name="Point"), [{"x": 1, "y": 2}], False),
        (POINT, record(("x", "long"), ("y", "double"), name="Point"), [{"x": 1, "y": 2}], True),
        (POINT, record(("x", "int"), ("y", "int"), name="Place"), [{"x": 1, "y": 2}], False),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}, [(1, 2), ()], True),
        ({"type": "map", "values": "float"}, {"type": "map", "values": "double"}, [{"k": 0.5}], True),
        ({"type": "map", "values": ["null", "int"]}, {"type": "map", "values": "int"}, [{"k": None}], False),
    ],
    ids=str,
)
def test_a_field_of_another_version_is_what_it_is_for_rows(
    writer: Any, reader: Any, values: list[Any], natively: bool
) -> None:
    wrote, reads = model_of(record(("a", writer))), model_of(record(("a", reader)))
    frames = Codec(wrote, 1).encode([wrote(a=value) for value in values])
    rows, columns = Codec(reads, 2), ColumnCodec(reads, 2)
    for codec in (rows, columns):
        codec.learn(1, Codec(wrote).schema.text)
    assert columns._readings[1].takes is natively
    expected: list[bytes] = []
    wrong: dict[int, str] = {}
    for place, frame in enumerate(frames):
        try:
            expected += rows.encode(rows.decode([frame]))
        except DecodeError as error:
            wrong[place] = error.kind
    batch, errors = columns.decode_columns(frames)
    assert {place: error.kind for place, error in errors.items()} == wrong
    assert columns.encode_columns(batch) == expected


def test_fields_come_by_alias_and_missing_ones_have_their_default() -> None:
    wrote = model_of(record(("old", "int"), ("gone", "string")))
    schema = record(("kept", "int"), ("tags", {"type": "array", "items": "string"}, ["x"]), ("colour", COLOUR, "BLUE"))
    schema["fields"][0]["aliases"] = ["old"]
    reads = model_of(schema)
    codec: ColumnCodec[Any] = ColumnCodec(reads, 2)
    codec.learn(1, Codec(wrote).schema.text)
    assert codec._readings[1].takes
    batch, errors = codec.decode_columns(Codec(wrote, 1).encode([wrote(old=n, gone="") for n in range(3)]))
    assert errors == {}
    assert batch.to_pylist() == [{"kept": n, "tags": ["x"], "colour": "BLUE"} for n in range(3)]


def test_a_required_field_that_the_writer_lacks_is_incompatible() -> None:
    wrote, reads = model_of(record(("a", "int"))), model_of(record(("a", "int"), ("b", "int")))
    codec: ColumnCodec[Any] = ColumnCodec(reads, 2)
    codec.learn(1, Codec(wrote).schema.text)
    batch, errors = codec.decode_columns(Codec(wrote, 1).encode([wrote(a=1)]))
    assert [error.kind for error in errors.values()] == ["schema-incompatible"]
    assert batch.num_rows == 0


ROW = model_of(
    record(
        ("name", "string"),
        ("small", "int"),
        ("ratio", "float"),
        ("at", MILLIS),
        ("day", {"type": "int", "logicalType": "date"}, 0),
        ("colour", COLOUR),
        ("tags", {"type": "array", "items": "string"}, []),
        ("sizes", {"type": "map", "values": "long"}, {}),
        ("point", ["null", POINT], None),
    )
)
AT = datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "name": pa.array(["a"]),
    "small": pa.array([1], pa.int32()),
    "ratio": pa.array([0.5], pa.float32()),
    "at": pa.array([AT], pa.timestamp("ms", "UTC")),
    "colour": pa.array(["RED"]),
}


def codec() -> ColumnCodec[Any]:
    return ColumnCodec(ROW, 1)


def written(given: Any) -> list[Any]:
    one = codec()
    return one.decode(one.encode_columns(one.columns.conform(given)[0]))


def test_missing_columns_have_their_default_and_order_does_not_matter() -> None:
    (row,) = written(pa.record_batch(dict(reversed(GOOD.items()))))
    assert row == ROW(name="a", small=1, ratio=0.5, at=AT, colour="RED", day=date(1970, 1, 1))


def named(given: object) -> str:
    """Name a case by its columns: arrays go by their address, and xdist wants the same names of all its workers."""
    return "+".join(given) if isinstance(given, dict) else str(given)


@pytest.mark.parametrize(
    "change",
    [
        {"name": pa.array(["a"], pa.large_string())},
        {"name": pa.array(["a"], pa.string_view())},
        {"name": pa.array(["a"]).dictionary_encode()},
        {"small": pa.array([1], pa.int64())},
        {"small": pa.array([1], pa.uint8())},
        {"ratio": pa.array([0.5], pa.float64())},
        {"ratio": pa.array([1], pa.int64())},
        {"at": pa.array([AT], pa.timestamp("us", "UTC"))},
        {"at": pa.array([AT.replace(microsecond=123_999)], pa.timestamp("us", "UTC"))},
        {"day": pa.array([date(2020, 1, 1)], pa.date64())},
        {"tags": pa.array([["x"]], pa.large_list(pa.large_string()))},
        {"tags": pa.array([["x", "y"]], pa.list_(pa.string(), 2))},
        {"sizes": pa.array([[("k", 1)]], pa.map_(pa.large_string(), pa.int32()))},
        {"point": pa.array([{"y": 2, "x": 1}], pa.struct([("y", pa.int64()), ("x", pa.int16())]))},
        {"point": pa.array([None])},
    ],
    ids=lambda change: str(next(iter(change.items()))[1].type)[:40],
)
def test_columns_in_a_type_that_holds_the_same_are_taken(change: dict[str, Any]) -> None:
    (name,) = change
    (row,) = written(pa.record_batch(GOOD | change))
    assert getattr(row, name) == getattr(
        ROW(**{n: column.to_pylist()[0] for n, column in (GOOD | change).items() if n not in ("at", "sizes")}, at=AT)
        if name not in ("at", "sizes")
        else ROW(name="a", small=1, ratio=1, at=AT, colour="RED", sizes={"k": 1}),
        name,
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"more": pa.array([1])}, r"has columns \['more'\]"),
        ({"name": pa.array([1])}, "column name of Event is int64, not string"),
        ({"small": pa.array(["1"])}, "column small of Event is string, not int32"),
        ({"small": pa.array([True])}, "is bool, not int32"),
        ({"small": pa.array([1.0])}, "is double, not int32"),
        ({"at": pa.array([1])}, "column at of Event is int64, not timestamp"),
        (
            {"at": pa.array([AT.replace(tzinfo=None)], pa.timestamp("ms"))},
            r"is timestamp\[ms\], not timestamp\[ms, tz=UTC\]",
        ),
        ({"point": pa.array([{"x": 1}])}, "column point of Event is struct<x: int64>"),
        ({"tags": pa.array([[1]])}, "column tags of Event is list<"),
        ({TIMESTAMP: pa.array(["now"])}, "column __timestamp is string"),
    ],
    ids=named,
)
def test_columns_of_another_kind_are_the_handlers_fault(change: dict[str, Any], why: str) -> None:
    with pytest.raises(HandlerError, match=why):
        codec().columns.conform(pa.record_batch(GOOD | change))


def test_results_that_are_no_batch_are_the_handlers_fault() -> None:
    columns = codec().columns
    with pytest.raises(HandlerError, match="gave dict, not a RecordBatch, Table or DataFrame"):
        columns.conform(GOOD)
    with pytest.raises(HandlerError, match="column name is missing, and Event has no default"):
        columns.conform(pa.record_batch({name: column for name, column in GOOD.items() if name != "name"}))
    with pytest.raises(HandlerError, match="has a column twice"):
        columns.conform(pa.record_batch([*GOOD.values(), GOOD["name"]], names=[*GOOD, "name"]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": pa.array([None], pa.string())}, "Event.name has a null"),
        ({"name": pa.array([None])}, "Event.name has a null"),
        ({"small": pa.array([1 << 31])}, "column small of Event does not fit int32"),
        ({"ratio": pa.array([1e300])}, "a number beyond float"),
        ({"colour": pa.array(["PINK"])}, "colour"),
        ({"tags": pa.array([["x", None]])}, r"Event.tags\[\] has a null"),
        ({"sizes": pa.array([[("k", None)]], pa.map_(pa.string(), pa.int64()))}, r"Event.sizes\{\} has a null"),
        ({"sizes": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))}, "occurs twice"),
        (
            {"point": pa.array([{"x": 1, "y": None}], pa.struct([("x", pa.int32()), ("y", pa.int32())]))},
            "point.y has a",
        ),
        ({"at": pa.array([1 << 60], pa.int64()).view(pa.timestamp("ms", "UTC"))}, "too large"),
        ({TIMESTAMP: pa.array([None], pa.int64())}, "__timestamp has a null"),
        ({"name": pa.array([b"\xff"]).view(pa.string())}, "utf-8"),
    ],
    ids=named,
)
def test_values_that_do_not_fit_are_told(change: dict[str, Any], why: str) -> None:
    with pytest.raises(EncodeError, match=why):
        written(pa.record_batch(GOOD | change))


def test_nulls_inside_a_null_are_none() -> None:
    points = pa.array([{"x": 1, "y": 2}, None, {"x": 3, "y": 4}], pa.struct([("x", pa.int32()), ("y", pa.int32())]))
    three = {name: pa.concat_arrays([column] * 3) for name, column in GOOD.items()}
    batch = pa.record_batch(three | {"point": points})
    assert [row.point and row.point.x for row in written(batch)] == [1, None, 3]
    assert [row.point and row.point.x for row in written(batch.slice(1))] == [None, 3]


def test_tables_and_frames_are_batches_too() -> None:
    batch = pa.record_batch(GOOD)
    wanted = written(batch)
    assert written(pa.table(batch)) == wanted
    assert written(pa.concat_tables([pa.table(batch)] * 3)) == wanted * 3
    assert written(pa.table(batch).slice(0, 0)) == []
    assert written(pl.from_arrow(batch)) == wanted


def test_times_of_records_are_what_the_extra_column_says() -> None:
    columns = codec().columns
    for column, wanted in (
        (pa.array([1_500]), [1_500]),
        (pa.array([datetime(1970, 1, 1, 0, 0, 1, 500_999, tzinfo=UTC)], pa.timestamp("us", "UTC")), [1_500]),
    ):
        assert columns.conform(pa.record_batch(GOOD | {TIMESTAMP: column}))[1].to_pylist() == wanted
    own = Columns(model_of(record(("__timestamp", "long"))))
    assert own.conform(pa.record_batch({TIMESTAMP: [5]}))[1] is None


@pytest.mark.parametrize(("missing", "ask", "extra"), [("pyarrow", arrow, "columnar"), ("polars", polars, "polars")])
def test_a_missing_library_is_told_with_its_extra(
    missing: str, ask: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = native.library
    for module in ("streams.columnar.types", "streams.avro.native"):
        monkeypatch.setattr(f"{module}.library", lambda name: None if name.startswith(missing) else found(name))
    with pytest.raises(UsageError, match=f"{missing}, which is not installed") as told:
        ask()
    assert f"straightstream[{extra}]" in told.value.fix
    app = App("small")
    source = app.topic("in", ROW)
    with pytest.raises(UsageError, match=f"{missing}, which is not installed"):
        app.batch(source, as_polars=missing == "polars")(lambda _batch, _ctx: None)


def test_an_app_of_rows_imports_none_of_it() -> None:
    script = "import sys, stories.social.app; print({'pyarrow', 'pyruhvro', 'polars'} & {*sys.modules} or 'none')"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "none"
