from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from posts import COUNTS, DECIMAL, KIND, NOON, POST, STAMP, post
from pydantic import ValidationError

from streams.avro import wire
from streams.avro.codec import Codec
from streams.avro.values import EPOCH
from streams.errors import EncodeError
from streams.testing.conformance.random_contracts import fastavro_body, model_of, record


@pytest.fixture
def model() -> type[Any]:
    return model_of(POST)


# --- what does not fit is not encoded


@pytest.mark.parametrize("wrong", [None, {}, "x", 7, object()])
def test_a_value_of_another_class_is_not_encoded(model: type[Any], wrong: Any) -> None:
    with pytest.raises(EncodeError, match=f"shop.Event: {type(wrong).__name__} is not Event"):
        Codec(model, 7).encode([post(model), wrong])


def test_a_model_with_the_same_fields_is_still_another(model: type[Any]) -> None:
    with pytest.raises(EncodeError, match="Event is not Event"):
        Codec(model, 7).encode([post(model_of(POST))])


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"id": None}, "/id"),
        ({"id": b"x"}, "/id"),
        ({"id": "\ud800"}, "/id"),
        ({"tags": "ab"}, "/tags"),
        ({"tags": ("a", 1)}, "/tags/items"),
        ({"kind": "QUOTE"}, "/kind"),
        ({"at": datetime(2026, 1, 1)}, "/at"),  # noqa: DTZ001 (the point)
        ({"at": "2026-01-01"}, "/at"),
        ({"to": 5}, "/to"),
    ],
)
def test_a_model_built_without_checks_is_checked(model: type[Any], changes: dict[str, Any], place: str) -> None:
    value = model.model_construct(**post(model).__dict__ | changes)

    with pytest.raises(EncodeError, match=f"^shop.Event{place}(/1)?: "):
        Codec(model, 7).encode([value])


def test_a_missing_field_is_not_guessed(model: type[Any]) -> None:
    with pytest.raises(EncodeError, match=r"shop.Event.*'id'"):
        Codec(model, 7).encode([model.model_construct()])


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("int", 1 << 31),
        ("int", -(1 << 31) - 1),
        ("long", 1 << 63),
        ("int", 1.5),
        ("float", 1e300),
        ("float", "1"),
        ("boolean", 2),
        ("bytes", bytearray(b"x")),
        ({"type": "fixed", "name": "F", "size": 2}, b"x"),
        ({"type": "fixed", "name": "F", "size": 2}, "xx"),
        (COUNTS, [("a", 1)]),
        (COUNTS, {1: 1}),
        (["null", "string", "long"], 1.5),
        ({"type": "int", "logicalType": "date"}, NOON),
        ({"type": "int", "logicalType": "time-millis"}, NOON.timetz()),
        ({"type": "string", "logicalType": "uuid"}, "x"),
        (DECIMAL, Decimal(100)),
        (DECIMAL, Decimal("1.234")),
        (DECIMAL, Decimal("NaN")),
        (DECIMAL, Decimal("1e999999")),
        (DECIMAL, 1.5),
    ],
)
def test_a_value_out_of_range_is_not_encoded(kind: Any, wrong: Any) -> None:
    model = model_of(record(("a", kind)))

    with pytest.raises(EncodeError, match=r"^shop.Event/a"):
        Codec(model, 7).encode([model.model_construct(a=wrong)])


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("int", 1 << 31),
        ("long", 1 << 63),
        ("long", -(1 << 63) - 1),
        ({"type": "fixed", "name": "F", "size": 2}, b"x"),
        (DECIMAL, "123"),
        (DECIMAL, "1.234"),
        (STAMP, datetime(2026, 1, 1)),  # noqa: DTZ001 (the point)
        (STAMP | {"logicalType": "local-timestamp-millis"}, NOON),
        (KIND, "QUOTE"),
    ],
)
def test_what_a_schema_says_is_checked_when_a_model_is_built(kind: Any, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        model_of(record(("a", kind)))(a=wrong)


def test_a_recursion_without_end_is_not_encoded() -> None:
    model = model_of(record(("next", ["null", "Event"], None)))
    codec, value = Codec(model, 7), model()
    for _ in range(64):
        value = model(next=value)

    assert codec.decode(codec.encode([value])) == [value]
    with pytest.raises(EncodeError, match="nested over 64 levels"):
        codec.encode([model(next=value)])


def test_encoding_is_all_or_nothing(model: type[Any]) -> None:
    codec = Codec(model, 7)

    with pytest.raises(EncodeError):
        codec.encode([post(model), None])  # type: ignore[list-item] # what is wrong on purpose
    assert len(codec.encode([post(model)] * 3)) == 3


def test_timestamps_lose_what_is_finer_than_their_unit(model: type[Any]) -> None:
    codec = Codec(model, 7)
    fine = NOON.replace(microsecond=123_999)

    assert codec.decode(codec.encode([post(model, at=fine)]))[0].at == NOON.replace(microsecond=123_000)


@pytest.mark.parametrize("unit", ["millis", "micros"])
def test_timestamps_are_exact_over_their_whole_range(unit: str) -> None:
    model = model_of(record(("at", {"type": "long", "logicalType": f"timestamp-{unit}"})))
    codec = Codec(model, 7)
    factor = 1_000 if unit == "millis" else 1
    for year in (1, 1969, 1970, 2026, 2095, 2097, 2242, 9999):
        for micro in (0, 1_000, 1_001, 499_999, 999_000, 999_999):
            moment = datetime(year, 2, 3, 4, 5, 6, micro // factor * factor, tzinfo=UTC)
            assert codec.decode(codec.encode([model(at=moment)]))[0].at == moment


@pytest.mark.parametrize(("kind", "unit"), [("timestamp-millis", 1_000), ("timestamp-micros", 1)])
def test_timestamps_around_the_usual_number_of_bytes_are_written_as_any(kind: str, unit: int) -> None:
    schema = record(("at", {"type": "long", "logicalType": kind}))
    model = model_of(schema)
    edges = [1 << bits - 1 for bits in (28, 42, 56)]  # zigzag doubles them
    numbers = [sign * edge + step for edge in edges for step in (-1, 0, 1) for sign in (-1, 1)]
    moments = [EPOCH + timedelta(0, 0, number * unit) for number in numbers if abs(number * unit) < 6 * 10**16]

    frames = Codec(model, 7).encode([model(at=moment) for moment in moments])

    assert frames == [wire.header(7) + fastavro_body(schema, {"at": moment}) for moment in moments]
    assert len(frames) >= 12
