"""Random contracts, beyond the conformance suite: an accepted frame is the one that its value encodes to."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.avro.codec import Codec
from streams.avro.plain import decode_plain
from streams.errors import DecodeError
from streams.testing.conformance.random_contracts import Case, contracts, damage, has_nan, mentions, model_of, plain

random_contracts = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_a_frame_is_read_without_a_model_too() -> None:
    compared: Counter[str] = Counter()

    @random_contracts
    @given(contracts(), st.data())
    def agree(case: Case, data: Any) -> None:
        model = model_of(case.schema)
        codec = Codec(model, 7)
        values = [model(**data.draw(case.values)) for _ in range(3)]
        frames = codec.encode(values)
        assert [plain(decode_plain(codec.schema.text, frame)) for frame in frames] == [plain(v) for v in values]
        compared["values"] += len(frames)

    agree()
    assert compared["values"] >= 100


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
