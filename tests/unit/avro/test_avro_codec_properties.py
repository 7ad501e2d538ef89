"""Random contracts and values: generated codecs agree with fastavro, and no damage goes unseen."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from avro_support import (
    LEAVES,
    Case,
    contracts,
    fastavro_body,
    fastavro_value,
    mentions,
    model_of,
    plain,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.avro import wire
from streams.avro.codec import Codec
from streams.avro.plain import decode_plain
from streams.errors import DecodeError

random_contracts = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_frames_and_values_are_fastavro_s() -> None:
    compared: Counter[str] = Counter()

    @random_contracts
    @given(contracts(), st.data())
    def agree(case: Case, data: Any) -> None:
        model = model_of(case.schema)
        codec = Codec(model, 7)
        values = [model(**data.draw(case.values)) for _ in range(3)]

        frames = codec.encode(values)

        assert codec.decode(frames) == values
        assert [plain(value) for value in codec.decode(frames)] == [fastavro_value(case.schema, f) for f in frames]
        assert [plain(decode_plain(codec.schema.text, frame)) for frame in frames] == [plain(v) for v in values]
        compared["values"] += len(frames)
        if not mentions(case.schema, "decimal"):  # fastavro writes -128 in two bytes, Java and we in one
            bodies = [fastavro_body(case.schema, value) for value in values]
            assert [frame[wire.HEADER_SIZE :] for frame in frames] == bodies
            compared["bodies"] += len(frames)
        theirs = [wire.header(7) + fastavro_body(case.schema, value) for value in values]
        assert codec.decode(theirs) == values

    agree()
    assert compared["values"] >= 100
    assert compared["bodies"] >= 30


def test_damaged_frames_are_refused_or_mean_what_they_say() -> None:
    seen: Counter[str] = Counter()

    @random_contracts
    @given(contracts(), st.data())
    def refused_or_exact(case: Case, data: Any) -> None:
        model = model_of(case.schema)
        codec = Codec(model, 7)
        frame = codec.encode([model(**data.draw(case.values))])[0]
        many_forms = mentions(case.schema, "array", "map", "decimal")  # blocks, leading zeros
        for _ in range(20):
            damaged = damage(frame, data.draw)
            try:
                value = codec.decode([damaged])[0]
            except DecodeError as error:
                seen[error.kind] += 1
                continue
            if has_nan(value):
                continue
            again = codec.encode([value])[0]
            assert codec.decode([again]) == [value]
            assert many_forms or again == damaged
            seen["exact"] += not many_forms

    refused_or_exact()
    assert seen.total() >= 300
    assert all(seen[outcome] for outcome in ("exact", "truncated", "trailing-bytes"))


def damage(frame: bytes, draw: Any) -> bytes:
    at = draw(st.integers(wire.HEADER_SIZE, len(frame)))
    cut = draw(st.integers(0, 3))
    return frame[:at] + draw(st.binary(max_size=3)) + frame[at + cut :]


def has_nan(value: Any) -> bool:
    match plain(value):
        case float() as number:
            return math.isnan(number)
        case list() as items:
            return any(map(has_nan, items))
        case Mapping() as items:
            return any(map(has_nan, items.values()))
    return False


def test_an_evolved_reader_reads_what_fastavro_resolves() -> None:
    compared: Counter[str] = Counter()

    @random_contracts
    @given(contracts(), st.data())
    def agree(case: Case, data: Any) -> None:
        reader = evolved(case.schema, data.draw, compared)
        writer_model, reader_model = model_of(case.schema), model_of(reader)
        frame = Codec(writer_model, 7).encode([writer_model(**data.draw(case.values))])[0]
        codec = Codec(reader_model)
        codec.learn(7, Codec(writer_model).schema.text)

        assert plain(codec.decode([frame])[0]) == fastavro_value(case.schema, frame, reader)

    agree()
    assert compared.total() >= 100
    assert all(compared[change] for change in ("kept", "dropped", "added", "promoted", "optional"))


PROMOTED = {"int": ["long", "double"], "long": ["double"], "float": ["double"]}


def evolved(schema: Any, draw: Any, compared: Counter[str]) -> Any:
    """Return a reader's schema for records of this one."""
    fields = []
    for field in schema["fields"]:
        found = field["type"]
        promotable = isinstance(found, str) and found in PROMOTED
        change = draw(st.sampled_from(["promoted"] if promotable else ["kept", "dropped", "optional"]))
        if change == "dropped":
            compared[change] += 1
            continue
        if change == "promoted":
            new = {"type": draw(st.sampled_from(PROMOTED[found]))}
        elif change == "optional" and not isinstance(found, list):
            new = {"type": ["null", found], "default": None}
        else:
            change, new = "kept", {}
        compared[change] += 1
        fields.append(field | new)
    if draw(st.booleans()):
        added = draw(st.sampled_from(sorted(DEFAULTS)))
        fields.append({"name": "added", "type": added, "default": DEFAULTS[added]})
        compared["added"] += 1
    return {**schema, "fields": draw(st.permutations(fields))}


DEFAULTS = {"boolean": True, "int": -3, "long": 1 << 40, "float": 0.5, "double": 1.25, "string": "é"}
assert DEFAULTS.keys() < LEAVES.keys()
