"""The native library behind its guards says what the generated codec says, or nothing."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streams.avro import native, wire
from streams.avro.codec import Codec
from streams.avro.native import DistrustedError, Native, is_trusted
from streams.avro.schema import Schema
from streams.errors import DecodeError
from streams.testing.conformance.malformed import MALFORMED
from streams.testing.conformance.random_contracts import Case, contracts, damage, model_of, record

random_contracts = settings(
    max_examples=100,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def schema_of(kind: Any) -> Schema:
    return Schema(json.dumps(record(("a", kind))))


def fits(kind: Any) -> bool:
    return is_trusted(schema_of(kind).root)


def test_what_it_reads_encodes_to_the_same_bytes_and_damage_is_left_to_the_generated_decoder() -> None:
    compared: Counter[str] = Counter()

    @random_contracts
    @given(contracts(fits), st.data())
    def agree(case: Case, data: Any) -> None:
        if not case.schema["fields"]:
            return
        model = model_of(case.schema)
        codec, library = Codec(model, 7), Native(Schema(json.dumps(case.schema)))
        assert library.takes
        frames = codec.encode([model(**data.draw(case.values)) for _ in range(5)])
        batch = library.read([frame[wire.HEADER_SIZE :] for frame in frames])
        assert [wire.header(7) + body for body in library.write(batch)] == frames
        assert [wire.header(7) + body for body in library.write(batch.slice(1, 3))] == frames[1:4]
        compared["written"] += len(frames)
        for _ in range(20):
            damaged = damage(frames[0], data.draw)
            try:
                library.read([damaged[wire.HEADER_SIZE :]])
            except DistrustedError:
                compared["distrusted"] += 1
                continue
            compared["accepted"] += 1
            assert codec.encode(codec.decode([damaged])) == [damaged] or _has_nan_of_its_own(codec, damaged)

    agree()
    assert compared["written"] >= 300
    assert compared["distrusted"] >= 300
    assert compared["accepted"] >= 100


def _has_nan_of_its_own(codec: Codec[Any], frame: bytes) -> bool:
    """Tell whether only the bits of a NaN differ: Python's floats keep the quiet ones alone."""
    again = codec.encode(codec.decode([frame]))[0]
    return len(again) == len(frame) and "nan" in repr(codec.decode([frame])[0])


@pytest.mark.parametrize(("schema", "body"), [pytest.param(*row[1:3], id=row[0]) for row in MALFORMED])
def test_no_malformed_body_is_accepted(schema: Any, body: bytes) -> None:
    library = Native(Schema(json.dumps(schema)))
    with pytest.raises(DecodeError):
        Codec(model_of(schema), 7).decode([wire.header(7) + body])
    if library.takes:
        with pytest.raises(DistrustedError):
            library.read([body])


def test_most_of_the_malformed_table_meets_the_library() -> None:
    met = sum(Native(Schema(json.dumps(schema))).takes for _, schema, _, _ in MALFORMED)
    print(f"{met} of {len(MALFORMED)} malformed bodies reach the native library")
    assert met >= 35


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        "bytes",
        ["int", "string"],
        ["null", "int", "string"],
        ["int"],
        {"type": "array", "items": "null"},
        {"type": "array", "items": record(name="Empty")},
        {"type": "map", "values": "null"},
        {"type": "fixed", "name": "F", "size": 2},
        {"type": "long", "logicalType": "local-timestamp-millis"},
        {"type": "int", "logicalType": "time-millis"},
        {"type": "string", "logicalType": "uuid"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        record(("next", ["null", "Node"]), name="Node"),
    ],
    ids=lambda kind: json.dumps(kind)[:50],
)
def test_types_that_it_panics_on_or_that_cost_no_bytes_are_not_for_it(kind: Any) -> None:
    assert not Native(schema_of(kind)).takes
    assert Native(schema_of("int")).takes


@pytest.mark.parametrize("root", ["string", {"type": "array", "items": "string"}, record()])
def test_only_records_with_fields_are(root: Any) -> None:
    assert not Native(Schema(json.dumps(root))).takes


def test_values_that_could_not_be_read_again_are_not_written() -> None:
    arrow = native.library("pyarrow")
    day = {"type": "int", "logicalType": "date"}
    counts = arrow.map_(arrow.string(), arrow.int64())
    for kind, column in (
        (day, arrow.array([3_000_000], arrow.int32()).view(arrow.date32())),
        ({"type": "map", "values": "long"}, arrow.array([[("k", 1), ("k", 2)]], counts)),
        ("string", arrow.array([b"\xff"]).view(arrow.string())),
    ):
        library = Native(schema_of(kind))
        with pytest.raises(DistrustedError):
            library.write(arrow.record_batch([column], names=["a"]))


def test_without_the_library_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("pyruhvro", "pyarrow"):
        monkeypatch.setattr(
            native, "library", lambda name, missing=missing: None if name == missing else __import__(name)
        )
        assert not Native(schema_of("int")).takes
