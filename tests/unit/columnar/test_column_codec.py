"""Columns say what rows say, whoever decodes and encodes them: the native library, the generated code, fastavro."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streams.avro import wire
from streams.avro.codec import Codec
from streams.avro.native import is_trusted
from streams.avro.schema import Schema
from streams.columnar.codec import ColumnCodec
from streams.columnar.columns import Columns
from streams.columnar.types import nullable, type_of
from streams.errors import DecodeError, EncodeError, UnknownSchemaError, UsageError
from streams.testing.conformance.malformed import MALFORMED
from streams.testing.conformance.random_contracts import (
    Case,
    contracts,
    damage,
    evolved,
    fastavro_body,
    mentions,
    model_of,
    record,
)

OWN, OTHER = 7, 8

random_contracts = settings(
    max_examples=80,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def has_column(kind: Any) -> bool:
    try:
        type_of(Schema(json.dumps(record(("a", kind)))).root.fields[0].type, "a")  # type: ignore[union-attr] # it is a record
    except UsageError:
        return False
    return True


def codecs(model: type[Any], schema_id: int | None = OWN) -> Iterator[tuple[str, ColumnCodec[Any]]]:
    """Yield the codec as it is, and the one without the native library."""
    yield "native", ColumnCodec(model, schema_id)
    strict: ColumnCodec[Any] = ColumnCodec(model, schema_id)
    without(strict)
    yield "strict", strict


def without(codec: ColumnCodec[Any]) -> None:
    codec._native.takes = False
    for reading in codec._readings.values():
        reading.takes = False


def is_native(kind: Any) -> bool:
    return has_column(kind) and is_trusted(Schema(json.dumps(record(("a", kind)))).root)


@pytest.mark.parametrize(("fits", "wanted"), [(has_column, "never native"), (is_native, "native")])
def test_rows_and_columns_are_the_same_values(fits: Callable[[Any], bool], wanted: str) -> None:
    compared: Counter[str] = Counter()

    @random_contracts
    @given(contracts(fits), st.data())
    def agree(case: Case, data: Any) -> None:
        if not case.schema["fields"]:
            return
        model = model_of(case.schema)
        values = [model(**data.draw(case.values)) for _ in range(4)]
        frames = Codec(model, OWN).encode(values)
        batches = []
        for _, codec in codecs(model):
            batch, errors = codec.decode_columns(frames)
            assert errors == {}
            batch.validate(full=True)
            assert batch.schema == codec.columns.schema
            assert Codec(model, OWN).encode(codec.columns.rows(batch)) == frames
            assert codec.encode_columns(batch) == frames
            assert codec.encode_columns(batch.slice(1, 2)) == frames[1:3]
            assert codec.encode_columns(codec.columns.conform(batch.take([3, 0]))[0]) == [frames[3], frames[0]]
            if not mentions(case.schema, "decimal"):  # fastavro writes some longer than Java
                assert frames == [wire.header(OWN) + fastavro_body(case.schema, value) for value in values]
            batches.append(batch)
            compared["native" if codec._native.takes else "never native"] += len(frames)
        assert batches[0].equals(batches[1]) or "nan" in str(batches)

    agree()
    print(dict(compared))
    assert compared[wanted] >= 100


def test_damaged_frames_are_refused_alone_and_as_rows_are() -> None:
    seen: Counter[str] = Counter()

    @random_contracts
    @given(contracts(has_column), st.data())
    def refused_alone(case: Case, data: Any) -> None:
        if not case.schema["fields"]:
            return
        model = model_of(case.schema)
        rows = Codec(model, OWN)
        whole = rows.encode([model(**data.draw(case.values)) for _ in range(3)])
        frames = [whole[0], *(damage(whole[1], data.draw) for _ in range(10)), whole[2]]
        values: list[Any] = []
        wrong: dict[int, str] = {}
        for place, frame in enumerate(frames):
            try:
                values += rows.decode([frame])
            except DecodeError as error:
                wrong[place] = error.kind
        for _, codec in codecs(model):
            batch, errors = codec.decode_columns(frames)
            assert {place: error.kind for place, error in errors.items()} == wrong
            assert codec.encode_columns(batch) == rows.encode(values)
        seen.update(wrong.values())
        seen["well"] += len(values)

    refused_alone()
    assert seen["well"] >= 150
    assert seen.total() - seen["well"] >= 150


def test_writers_of_other_versions_are_resolved_as_for_rows() -> None:
    changes: Counter[str] = Counter()
    native: Counter[bool] = Counter()

    @random_contracts
    @given(contracts(has_column), st.data())
    def resolved(case: Case, data: Any) -> None:
        reader = evolved(case.schema, data.draw, changes)
        if not reader["fields"] or not case.schema["fields"]:
            return
        writer_model, reader_model = model_of(case.schema), model_of(reader)
        frames = Codec(writer_model, OWN).encode([writer_model(**data.draw(case.values)) for _ in range(3)])
        rows = Codec(reader_model, OTHER)
        rows.learn(OWN, Codec(writer_model).schema.text)
        wanted = rows.encode(rows.decode(frames))
        for name, codec in codecs(reader_model, OTHER):
            codec.learn(OWN, Codec(writer_model).schema.text)
            native[codec._readings[OWN].takes] += 1
            if name == "strict":
                without(codec)
            assert codec.encode_columns(codec.decode_columns(frames).batch) == wanted

    resolved()
    print(dict(changes), dict(native))
    assert all(changes[change] for change in ("kept", "dropped", "optional", "promoted", "added"))
    assert native[True] >= 5


def _has_columns(schema: Any) -> bool:
    try:
        Columns(model_of(schema))
    except UsageError:
        return False
    return True


WITH_COLUMNS = [pytest.param(*row[1:], id=row[0]) for row in MALFORMED if _has_columns(row[1])]


def test_most_of_the_malformed_table_has_columns() -> None:
    print(f"{len(WITH_COLUMNS)} of {len(MALFORMED)} malformed bodies")
    assert len(WITH_COLUMNS) >= 50


@pytest.mark.parametrize(("schema", "body", "kind"), WITH_COLUMNS)
def test_a_malformed_frame_among_others_is_refused_alone_and_soon(schema: Any, body: bytes, kind: str) -> None:
    model = model_of(schema)
    bad = wire.header(OWN) + body
    for _, codec in codecs(model):
        began = time.thread_time()
        batch, errors = codec.decode_columns([bad] * 3)
        assert time.thread_time() - began < 0.15
        assert [(place, error.kind) for place, error in errors.items()] == [(0, kind), (1, kind), (2, kind)]
        assert batch.num_rows == 0
        assert batch.schema == codec.columns.schema


POST = record(("id", "string"), ("tags", {"type": "array", "items": "string"}), ("score", ["null", "double"], None))
OLD = record(("id", "string"), ("likes", "int"))


def posts(number: int) -> tuple[Any, list[Any], list[bytes]]:
    model = model_of(POST)
    values = [model(id=f"post {n}", tags=("a",) * (n % 4), score=n / 2 if n % 3 else None) for n in range(number)]
    return model, values, Codec(model, OWN).encode(values)


def test_bad_frames_in_a_large_batch_cost_only_themselves() -> None:
    model, _, frames = posts(1_000)
    bad = {0, 63, 64, 500, 999}
    mixed = [frame[:-1] if place in bad else frame for place, frame in enumerate(frames)]
    for _, codec in codecs(model):
        batch, errors = codec.decode_columns(mixed)
        assert set(errors) == bad
        assert codec.encode_columns(batch) == [frame for place, frame in enumerate(frames) if place not in bad]


def test_arrays_in_several_blocks_are_read_as_they_are() -> None:
    """Writers may split an array; only the generated decoder sees that it is well."""
    model, _, frames = posts(200)
    blocks = wire.header(OWN) + b"\2a" + b"\2\2x\1\4\2y\0" + b"\0"
    for _, codec in codecs(model):
        batch, errors = codec.decode_columns([*frames[:100], blocks, *frames[100:]])
        assert errors == {}
        assert batch.column("tags")[100].as_py() == ["x", "y"]
        assert batch.num_rows == 201


def test_ids_of_several_writers_mix() -> None:
    _, values, new = posts(3)
    old_model = model_of(OLD)
    old = Codec(old_model, OTHER).encode([old_model(id=f"old {n}", likes=n) for n in range(3)])
    reader = model_of(record(("id", "string"), ("score", ["null", "double"], None)))
    for _, codec in codecs(reader, 99):
        codec.learn(OWN, Schema(json.dumps(POST)).text)
        codec.learn(OTHER, Schema(json.dumps(OLD)).text)
        mixed = [old[0], new[0], b"", new[1], b"\0\0", old[1], old[2], new[2], b"\1" + new[0][1:]]
        batch, errors = codec.decode_columns(mixed)
        assert batch.column("id").to_pylist() == ["old 0", "post 0", "post 1", "old 1", "old 2", "post 2"]
        assert {place: error.kind for place, error in errors.items()} == {
            2: "frame-too-short",
            4: "frame-too-short",
            8: "bad-magic",
        }
    assert len(values) == 3


def test_unknown_and_refused_ids() -> None:
    model, _, frames = posts(2)
    codec: ColumnCodec[Any] = ColumnCodec(model)
    with pytest.raises(UnknownSchemaError):
        codec.decode_columns(frames)
    codec.refuse(OWN, "nobody knows it")
    assert {error.kind for error in codec.decode_columns(frames).errors.values()} == {"schema-unknown"}
    codec.learn(OWN, "{")
    assert {error.kind for error in codec.decode_columns(frames).errors.values()} == {"schema-invalid"}
    codec.learn(OWN, Schema(json.dumps(POST)).text)
    assert codec.decode_columns(frames).batch.num_rows == 2
    with pytest.raises(UsageError, match="no schema id"):
        codec.encode_columns(codec.decode_columns(frames).batch)


def test_rules_of_a_model_hold_for_columns() -> None:
    model, _, frames = posts(4)

    class Short(model):  # type: ignore[misc] # made at run time
        def model_post_init(self, _: Any) -> None:
            if len(self.tags) > 2:
                raise ValueError("too many tags")

    codec: ColumnCodec[Any] = ColumnCodec(Short, OWN)
    batch, errors = codec.decode_columns(frames)
    assert {place: error.kind for place, error in errors.items()} == {3: "model"}
    many = pa.record_batch({"id": ["a"], "tags": [["x"] * 3], "score": [None]})
    with pytest.raises(EncodeError, match="too many tags"):
        codec.encode_columns(codec.columns.conform(many)[0])
    assert batch.num_rows == 3


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (str, "no record"),
        (model_of(record(name="Empty")), "no record with fields"),
        (model_of(record(("a", ["int", "string"]))), "Event.a has no column type: it is a union"),
        (model_of(record(("a", {"type": "array", "items": ["int", "string"]}))), r"Event.a\[\] has no column type"),
        (model_of(record(("next", ["null", "Node"]), name="Node")), "record shop.Node holds itself"),
        (
            model_of(record(("a", {"type": "bytes", "logicalType": "decimal", "precision": 77, "scale": 0}))),
            "77 digits",
        ),
    ],
)
def test_models_without_columns_are_told(model: type[Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Columns(model)


def test_nullable_fields_are_told_by_the_schema() -> None:
    columns = Columns(model_of(POST))
    assert [(field.name, field.nullable) for field in columns.schema] == [
        ("id", False),
        ("tags", False),
        ("score", True),
    ]
    assert nullable(columns.root.fields[2].type)[1]
