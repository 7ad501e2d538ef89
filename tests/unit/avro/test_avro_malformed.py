"""Frames at the edge of what is sound; the conformance suite has the table of those that are not."""

import pytest

from streams.avro import wire
from streams.avro.codec import Codec
from streams.errors import DecodeError
from streams.testing.conformance.malformed import DECIMAL, ENUM, LONGS_BY_KEY, NODE, STRINGS, array, long, of
from streams.testing.conformance.random_contracts import model_of, record


def test_every_truncation_and_extension_of_a_frame_is_refused() -> None:
    point = record(("x", "double"), ("y", ["null", "long"]), name="Point")
    schema = record(
        ("s", "string"), ("a", array(point)), ("m", LONGS_BY_KEY), ("e", ENUM), ("d", DECIMAL), ("b", "boolean")
    )
    model = model_of(schema)
    codec = Codec(model, 7)
    points = ({"x": 1.5, "y": 1 << 50}, {"x": -1.5, "y": None})
    frame = codec.encode([model(s="text", a=points, m={"k": -1}, e="B", d="12.34", b=True)])[0]

    for cut in range(len(frame)):
        with pytest.raises(DecodeError):
            codec.decode([frame[:cut]])
    with pytest.raises(DecodeError):
        codec.decode([frame + b"\0"])
    assert len(codec.decode([frame])) == 1


def test_the_deepest_recursion_that_is_allowed_is_read_and_written() -> None:
    codec = Codec(model_of(NODE), 7)
    frame = wire.header(7) + b"\2" * 64 + b"\0"

    assert codec.encode(codec.decode([frame])) == [frame]


def test_blocks_with_their_size_and_many_blocks_are_read() -> None:
    codec = Codec(model_of(of(STRINGS)), 7)
    sized = long(-2) + long(4) + b"\2x\2y" + long(1) + b"\2z" + b"\0"

    assert codec.decode([wire.header(7) + sized])[0].a == ("x", "y", "z")


def test_up_to_100000_items_without_bytes_are_read() -> None:
    codec = Codec(model_of(of(array("null"))), 7)
    frame = wire.header(7) + long(100_000) + b"\0"

    assert codec.decode([frame])[0].a == (None,) * 100_000
    assert len(codec.decode([frame, frame])) == 2


def test_a_defect_is_told_with_its_place() -> None:
    codec = Codec(model_of(of(STRINGS)), 7)

    with pytest.raises(DecodeError, match=r"^utf-8: shop.Event/a/items: .*invalid"):
        codec.decode([wire.header(7) + long(1) + b"\2\xff\0"])
