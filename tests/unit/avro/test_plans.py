"""The plans of a writer's schema give the same values and the same refusals, whichever is chosen."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import field_validator

from streams.avro import wire, wire_columns
from streams.avro.codec import Codec
from streams.avro.nodes import Record
from streams.avro.plans import GENERATED, LEAST_BATCH, NATIVE, NativeDecode, decoder
from streams.avro.schema import Schema
from streams.avro.wire_columns import why_not
from streams.errors import DecodeError
from streams.testing.conformance.codec import CodecConformance, CodecFeatures, ValueCodec
from streams.testing.conformance.malformed import DECIMAL, MALFORMED, NODE, STRINGS, array, long, of
from streams.testing.conformance.random_contracts import Case, contracts, damage, has_nan, model_of, record

V = TypeVar("V")

random_contracts = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))

POST = record(
    ("id", "string"),
    ("tags", STRINGS),
    ("at", {"type": "long", "logicalType": "timestamp-millis"}),
    ("kind", {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}),
    ("reply_to", ["null", "string"], None),
)
AT = datetime(2025, 3, 1, 12, 30, 59, 123_000, UTC)


class NativeFirst(Codec[V]):
    """Ours, asking the library for batches of one frame too."""

    def decode(self, frames: Sequence[bytes]) -> list[V]:
        for plan in native_plans(self):
            plan.least, plan._unasked = 1, 0
        return super().decode(frames)


def native_plans(codec: Codec[Any]) -> list[NativeDecode]:
    return [plan.decode for plan in codec.plans.values() if isinstance(plan.decode, NativeDecode)]


class TestNativePlan(CodecConformance):
    """The malformed frames, the random contracts and writers of the suite, through the native plan."""

    features = CodecFeatures(examples=100)

    def codec(self, model: type[Any], schema_id: int | None = None) -> ValueCodec[Any]:
        return NativeFirst(model, schema_id)


def strict(model: type[Any], frames: Sequence[bytes]) -> Any:
    """Return what the strict decoder makes of frames: values, or the kind and place of the refusal."""
    schema = Codec(model).schema
    values: list[Any] = []
    try:
        decoder(7, schema, schema, Codec(model)._models)(frames, values)
    except DecodeError as error:
        return error.kind, str(error)
    return values


def native(codec: Codec[Any], frames: Sequence[bytes]) -> Any:
    try:
        return codec.decode(frames)
    except DecodeError as error:
        return error.kind, str(error)


def posts(number: int) -> tuple[type[Any], list[bytes]]:
    model = model_of(POST)
    values = [
        model(id=f"p{n}", tags=["x"] * (n % 4), at=AT, kind="AB"[n % 2], reply_to=f"p{n - 1}" if n % 3 else None)
        for n in range(number)
    ]
    return model, Codec(model, 7).encode(values)


def fits(kind: Any) -> bool:
    return why_not(Schema(json.dumps(record(("a", kind)))).root) is None


def test_random_batches_and_their_damage_are_read_as_by_the_strict_decoder() -> None:
    compared: Counter[str] = Counter()

    @random_contracts
    @given(contracts(fits), st.data())
    def agree(case: Case, data: Any) -> None:
        if not case.schema["fields"]:
            return
        model = model_of(case.schema)
        codec = NativeFirst(model, 7)
        (plan,) = native_plans(codec)
        frames = codec.encode([model(**data.draw(case.values)) for _ in range(4)])
        batches = [frames * 30, *([*frames, damage(frames[0], data.draw)] for _ in range(20))]
        for batch in batches:
            found, expected = native(codec, batch), strict(model, batch)
            if isinstance(expected, list) and any(map(has_nan, expected)):
                continue
            assert found == expected
            assert repr(found) == repr(expected)  # -0.0 equals 0.0
            compared["values" if isinstance(expected, list) else "refusals"] += 1
        compared["taken"] += plan.taken

    agree()
    print(dict(compared))
    assert compared["taken"] >= 200
    assert compared["refusals"] >= 500


def test_bytes_of_anything_are_read_as_by_the_strict_decoder() -> None:
    model, frames = posts(3)
    codec = NativeFirst(model, 7)
    compared: Counter[bool] = Counter()

    @random_contracts
    @given(st.binary(max_size=60), st.integers(0, 2), st.integers(0, 400), st.integers(0, 7))
    def agree(body: bytes, number: int, at: int, bit: int) -> None:
        flipped = bytearray(frames[number])
        flipped[5 + at % (len(flipped) - 5)] ^= 1 << bit
        for frame in (wire.header(7) + body, bytes(flipped), frames[number][: at % len(flipped)]):
            if len(frame) < wire.HEADER_SIZE:
                continue
            expected = strict(model, [frame])
            assert native(codec, [frame]) == expected
            compared[isinstance(expected, list)] += 1

    agree()
    print(f"{compared.total()} frames compared, {compared[True]} of them sound")
    assert compared[False] >= 100


@pytest.mark.parametrize("number", [1, 2, 63, 64, 65, 127, 128, 8_191, 8_192, 8_193])
def test_a_false_size_of_a_block_is_refused_though_the_frame_is_as_long_as_its_one_form(number: int) -> None:
    model = model_of(of(STRINGS))
    codec = NativeFirst(model, 7)
    for size in (0, 1, number - 1, number + 1, 63, 64):
        if size == number:
            continue
        frame = wire.header(7) + long(-number) + long(size) + b"\0" * number + b"\0"
        assert native(codec, [frame])[0] in ("block-size", "negative-length")
    assert codec.decode(codec.encode([model(a=("",) * number)])) == [model(a=("",) * number)]


def test_bits_that_the_library_drops_are_seen_though_the_number_is_as_long_as_its_one_form() -> None:
    model = model_of(of("long"))
    codec = NativeFirst(model, 7)
    edge = [(1 << 62) - 1, -(1 << 62), 1 << 62, -(1 << 62) - 1, (1 << 63) - 1, -(1 << 63)]

    for last in (2, 3, 127):
        assert native(codec, [wire.header(7) + b"\xff" * 9 + bytes((last,))])[0] == "varint"
    assert [value.a for value in codec.decode(codec.encode([model(a=number) for number in edge]))] == edge


def test_null_that_the_reader_does_not_take_is_refused() -> None:
    writer, reader = model_of(of(["null", "string"])), model_of(of("string"))
    frames = Codec(writer, 7).encode([writer(a="x"), writer(a=None)])
    codec = NativeFirst(reader)
    codec.learn(7, Codec(writer).schema.text)

    assert codec.decode(frames[:1]) == [reader(a="x")]
    assert native(codec, frames)[0] == "schema-incompatible"
    assert [plan.taken for plan in native_plans(codec)] == [1]


def test_only_the_bad_frame_of_a_large_batch_spoils_it() -> None:
    model, frames = posts(500)
    codec = Codec(model, 7)
    (plan,) = native_plans(codec)
    bad = [*frames[:300], frames[300][:-1], *frames[301:]]

    with pytest.raises(DecodeError) as refused:
        codec.decode(bad)

    assert refused.value.kind == "truncated"
    assert (plan.taken, plan.refused) == (0, 1)
    assert refused.value.before == strict(model, frames[:300])
    assert codec.decode(bad[301:]) == strict(model, frames[301:])
    assert (plan.taken, plan.refused) == (0, 1)  # the rest of a refused batch is not worth another try
    assert [codec.decode(frames) for _ in range(3)] == [strict(model, frames)] * 3
    assert (plan.taken, plan.refused) == (2, 1)


def test_small_batches_are_not_worth_the_library() -> None:
    model, frames = posts(LEAST_BATCH)
    codec = Codec(model, 7)
    (plan,) = native_plans(codec)

    codec.decode(frames[1:])
    assert (plan.taken, plan.refused) == (0, 0)
    codec.decode(frames)
    assert plan.taken == 1


def test_a_run_of_one_writer_within_a_batch_is_read_natively() -> None:
    model, frames = posts(300)
    codec = Codec(model, 7)
    codec.learn(8, codec.schema.text)
    (first, second) = native_plans(codec)
    others = [wire.header(8) + frame[wire.HEADER_SIZE :] for frame in frames]

    assert codec.decode([*frames[:150], *others[150:], frames[0]]) == [*codec.decode(frames), codec.decode(frames)[0]]
    assert (first.taken, second.taken) == (3, 1)


def test_rules_of_a_subclass_are_asked() -> None:
    base, frames = posts(200)

    class Strict(base):  # type: ignore[misc,valid-type] # made at run time
        @field_validator("id")
        @classmethod
        def _shout(cls, value: str) -> str:
            if value == "p150":
                raise ValueError("no")
            return value.upper()

    codec = Codec(Strict, 7)
    (plan,) = native_plans(codec)

    assert [post.id for post in codec.decode(frames[:150])] == [f"P{n}" for n in range(150)]
    assert plan.taken == 1
    with pytest.raises(DecodeError) as refused:
        codec.decode(frames)
    assert refused.value.kind == "model"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ({"type": "fixed", "name": "F", "size": 2}, "shop.F is a fixed"),
        ("null", "null outside of an optional"),
        (["null"], "a union of several types"),
        (["int", "string"], "a union of several types"),
        (["null", "int", "string"], "a union of several types"),
        (array("null"), "null outside of an optional"),
        (record(name="Empty"), "shop.Empty has no fields"),
        (record(("next", ["null", "Node"]), name="Node"), "shop.Node holds itself"),
        ("bytes", None),
        (DECIMAL, None),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, None),
        ({"type": "string", "logicalType": "uuid"}, None),
        (["string", "null"], None),
    ],
    ids=str,
)
def test_the_plan_of_a_schema_says_why_it_is_not_native(kind: Any, why: str | None) -> None:
    (plan,) = Codec(model_of(of(kind)), 7).plans.values()
    assert (plan.engine, plan.why) == ((NATIVE, "") if why is None else (GENERATED, why))


def test_schemas_that_grow_without_end_when_written_out_are_not_native() -> None:
    schema: Any = "long"
    for level in range(12):
        name = f"R{level}"
        schema = record(("a", schema), ("b", "long" if level == 0 else f"R{level - 1}"), name=name)
    root = Schema(json.dumps(schema)).root
    assert isinstance(root, Record)
    assert str(why_not(root)).startswith("over ")
    assert str(why_not(Schema(json.dumps(of(_nested(40)))).root)).startswith("over ")


def _nested(levels: int) -> Any:
    return "long" if not levels else array(_nested(levels - 1))


def test_most_of_the_malformed_table_meets_the_library() -> None:
    met = sum(why_not(Schema(json.dumps(schema)).root) is None for _, schema, _, _ in MALFORMED)
    print(f"{met} of {len(MALFORMED)} malformed bodies reach the native plan")
    assert met >= 35


# --- what the library does


class PanicException(BaseException):
    """What a panic in Rust arrives as."""


class Library:
    """Stands for the native library."""

    def __init__(self, error: BaseException) -> None:
        self.calls = 0
        self.error = error

    def deserialize_array(self, _bodies: list[bytes], _schema: str) -> Any:
        self.calls += 1
        raise self.error


def test_a_panic_reaches_nobody_and_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = posts(200)
    codec = Codec(model, 7)
    panics = Library(PanicException("index out of bounds"))
    monkeypatch.setattr(wire_columns, "library", lambda _: panics)

    assert [codec.decode(frames) for _ in range(3)] == [strict(model, frames)] * 3
    assert panics.calls == 1


def test_an_error_of_the_library_is_no_reason_to_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = posts(200)
    codec = Codec(model, 7)
    fails = Library(ValueError("a bug"))
    monkeypatch.setattr(wire_columns, "library", lambda _: fails)

    assert [codec.decode(frames) for _ in range(4)] == [strict(model, frames)] * 4
    assert fails.calls == 2


def test_an_interruption_is_none_of_the_guards_business(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = posts(200)
    codec = Codec(model, 7)
    monkeypatch.setattr(wire_columns, "library", lambda _: Library(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        codec.decode(frames)


def test_a_real_panic_is_caught(capfd: pytest.CaptureFixture[str]) -> None:
    model, frames = posts(200)
    codec = Codec(model, 7)
    (plan,) = native_plans(codec)
    local = {"type": "long", "logicalType": "local-timestamp-millis"}
    plan._reader._schema = json.dumps(of(local))

    assert codec.decode(frames) == strict(model, frames)
    assert "panicked" in capfd.readouterr().err


WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from events import Post
from streams.avro.codec import Codec
codec = Codec(Post, 7)
values = [Post(id=str(n), tags=("a",)) for n in range(500)]
assert codec.decode(codec.encode(values)) == values
print(codec.plans[7].engine, codec.plans[7].why)
"""


@pytest.mark.parametrize("missing", ["pyruhvro", "pyarrow"])
def test_everything_works_without_the_library(missing: str, tmp_path: Any) -> None:
    source = record(("id", "string"), ("tags", STRINGS), name="Post")
    (tmp_path / "schemas" / "shop" / "Post").mkdir(parents=True)
    (tmp_path / "schemas" / "shop" / "Post" / "v1.avsc").write_text(json.dumps(source))
    generate = [sys.executable, "-m", "streams", "schema", "generate", "--out", "events.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(generate, cwd=tmp_path, check=True, env=environment)

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])},
    )

    assert done.stdout == "generated pyruhvro is not installed\n"


def test_the_recursive_schema_keeps_its_strict_decoder() -> None:
    (plan,) = Codec(model_of(NODE), 7).plans.values()
    assert not isinstance(plan.decode, NativeDecode)
