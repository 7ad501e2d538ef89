"""The suite for a codec: whatever makes values of frames and frames of values has to pass it.

The values and frames are random; `streams.avro.codec.Codec` and fastavro say what is right.
"""

# ruff: noqa: D102 - the name of a check says what it checks, with figures of its own
from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streams.avro import wire
from streams.avro.codec import Codec
from streams.errors import DecodeError, EncodeError, UnknownSchemaError
from streams.testing.conformance.base import Conformance
from streams.testing.conformance.malformed import MALFORMED, NODE
from streams.testing.conformance.random_contracts import (
    Case,
    contracts,
    damage,
    evolved,
    fastavro_body,
    fastavro_value,
    has_nan,
    mentions,
    model_of,
    plain,
    record,
)

V = TypeVar("V")

OWN, OTHER = 7, 8  # ids of schemas
POST = record(
    ("id", "string"),
    ("tags", {"type": "array", "items": "string"}),
    ("score", ["null", "double"], None),
)
OLD_POST = record(("id", "string"), ("likes", "int"))
BAD = wire.header(OWN) + b"\xff"
_ROWS = [pytest.param(*row[1:], id=row[0]) for row in MALFORMED]
_DROPPED = [row for row in _ROWS if row.values[-1] not in ("decimal", "value")]  # what is not read is not converted


class ValueCodec(Protocol[V]):
    """What the runtime asks of a codec; `streams.avro.codec.Codec` says what each call promises."""

    def learn(self, schema_id: int, schema_text: str) -> None:
        """Read frames of this id by this writer's schema from now on."""

    def refuse(self, schema_id: int, reason: str) -> None:
        """Refuse frames of this id from now on."""

    def decode(self, frames: Sequence[bytes]) -> list[V]:
        """Return the values of all frames, or of none."""

    def encode(self, values: Sequence[V]) -> list[bytes]:
        """Return the frames of all values, or of none."""


@dataclass(frozen=True)
class CodecFeatures:
    """What a codec claims.

    `encodes`: it makes frames too. `resolves`: it reads what writers with other schemas wrote. `kinds`: it tells
    defects by the names that ours does. `slowest` bounds the work on a malformed frame, in seconds of CPU. `examples`
    is how many random contracts each property tries.
    """

    encodes: bool = True
    resolves: bool = True
    kinds: bool = True
    slowest: float = 0.05
    examples: int = 60


class CodecConformance(Conformance, ABC):
    """Subclass it as `Test…`, set `features`, give `codec`."""

    features: ClassVar[CodecFeatures] = CodecFeatures()

    @abstractmethod
    def codec(self, model: type[Any], schema_id: int | None = None) -> ValueCodec[Any]:
        """Make a codec for a generated model or a primitive type, that knows its own schema under this id."""

    # --- what is whole

    def test_random_values_come_back_as_they_were(self) -> None:
        def check(case: Case, data: Any) -> None:
            model = model_of(case.schema)
            codec = self.codec(model, OWN)
            values = [model(**data.draw(case.values)) for _ in range(3)]
            frames = Codec(model, OWN).encode(values)
            found = codec.decode(frames)
            self.same(found, values)
            self.same([type(value) for value in found], [model] * 3)
            self.same([plain(value) for value in found], [fastavro_value(case.schema, frame) for frame in frames])
            theirs = [wire.header(OWN) + fastavro_body(case.schema, value) for value in values]
            self.same(codec.decode(theirs), values)

        self._for_random_contracts(check)

    def test_frames_are_the_same_for_every_codec(self) -> None:
        """Fastavro writes some decimals longer than Java and we do, so it is not asked about them."""
        self.needs("encodes")

        def check(case: Case, data: Any) -> None:
            model = model_of(case.schema)
            values = [model(**data.draw(case.values)) for _ in range(3)]
            frames = self.codec(model, OWN).encode(values)
            self.same(frames, Codec(model, OWN).encode(values))
            self.same(self.codec(model, OWN).encode(values), frames)
            if not mentions(case.schema, "decimal"):
                self.same(frames, [wire.header(OWN) + fastavro_body(case.schema, value) for value in values])

        self._for_random_contracts(check)

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (str, ["", "é", "x" * 20_000]),
            (int, [0, -1, 63, 64, 8191, 8192, -(1 << 63), (1 << 63) - 1]),
            (float, [0.0, -1.5, float("inf")]),
            (bytes, [b"", b"\xff" * 9_000]),
            (bool, [True, False]),
        ],
    )
    def test_primitives_are_values_of_their_own(self, kind: type[Any], values: list[Any]) -> None:
        found = self.codec(kind, OWN).decode(Codec(kind, OWN).encode(values))
        self.same(found, values)
        self.same({type(value) for value in found}, {kind})

    def test_a_batch_is_what_its_frames_are_one_by_one(self) -> None:
        model, codec, values = self._posts(2_000)
        frames = Codec(model, OWN).encode(values)
        one_by_one = [codec.decode([frame])[0] for frame in frames]
        self.same(codec.decode(frames) == one_by_one == values, True)
        self.same(codec.decode(tuple(frames[:3])), values[:3])
        self.same(codec.decode([]), [])

    def test_encoding_a_batch_is_encoding_its_values_one_by_one(self) -> None:
        self.needs("encodes")
        _, codec, values = self._posts(2_000)
        self.same(codec.encode(values) == [codec.encode([value])[0] for value in values], True)
        self.same(codec.encode([]), [])

    def test_the_deepest_recursion_that_is_allowed_is_read(self) -> None:
        frame = wire.header(OWN) + b"\2" * 64 + b"\0"
        model = model_of(NODE)
        self.same(self.codec(model, OWN).decode([frame]), Codec(model, OWN).decode([frame]))

    # --- what is broken

    @pytest.mark.parametrize(("schema", "body", "kind"), _ROWS)
    def test_a_malformed_frame_is_refused_at_once(self, schema: Any, body: bytes, kind: str) -> None:
        self._is_refused(self.codec(model_of(schema), OWN), wire.header(OWN) + body, kind)

    @pytest.mark.parametrize(("schema", "body", "kind"), _DROPPED)
    def test_a_field_that_the_reader_drops_is_checked_too(self, schema: Any, body: bytes, kind: str) -> None:
        self.needs("resolves")
        codec = self.codec(model_of(record(name=schema["name"])))
        codec.learn(OWN, json.dumps(schema))
        self._is_refused(codec, wire.header(OWN) + body, kind)

    def test_a_frame_without_a_sound_header_is_refused(self) -> None:
        codec = self.codec(int, OWN)
        for frame in (b"", b"\0", b"\0\0\0\0"):
            self._is_refused(codec, frame, "frame-too-short")
        for frame in (b"\1\0\0\0\7\2", b'{"a": 1}', b"\xff" * 9):
            self._is_refused(codec, frame, "bad-magic")

    def test_every_truncation_and_extension_is_refused(self) -> None:
        model, codec, values = self._posts(1)
        (frame,) = Codec(model, OWN).encode(values)
        for cut in range(len(frame)):
            with pytest.raises(DecodeError):
                codec.decode([frame[:cut]])
        for more in (b"\0", b"\2x"):
            self._is_refused(codec, frame + more, "trailing-bytes")
        self.same(codec.decode([frame]), values)

    def test_damage_is_refused_or_read_as_ours_reads_it(self) -> None:
        def check(case: Case, data: Any) -> None:
            model = model_of(case.schema)
            ours, theirs = Codec(model, OWN), self.codec(model, OWN)
            (frame,) = ours.encode([model(**data.draw(case.values))])
            for _ in range(10):
                damaged = damage(frame, data.draw)
                expected, found = self._outcome(ours, damaged), self._outcome(theirs, damaged)
                if not has_nan(expected):
                    self.same(found, expected)

        self._for_random_contracts(check)

    def test_one_broken_frame_leaves_nothing_of_its_batch(self) -> None:
        model, codec, values = self._posts(3)
        frames = Codec(model, OWN).encode(values)
        for place in range(4):
            batch = [*frames[:place], BAD, *frames[place:]]
            with pytest.raises(DecodeError):
                codec.decode(batch)
            self.same(len(batch), 4)
            self.same(codec.decode(frames), values)

    def test_one_broken_value_leaves_nothing_of_its_batch(self) -> None:
        self.needs("encodes")
        model, codec, values = self._posts(3)
        frames = codec.encode(values)
        for wrong in (
            None,
            "x",
            {},
            object(),
            model.model_construct(id=5, tags=(), score=None),
            model.model_construct(),
        ):
            for place in range(4):
                with pytest.raises(EncodeError):
                    codec.encode([*values[:place], wrong, *values[place:]])
                self.same(codec.encode(values), frames)

    # --- schemas of others

    def test_an_id_that_nobody_told_of_is_asked_for(self) -> None:
        model, codec, values = self._posts(2)
        frames = Codec(model, OWN).encode(values)
        for batch in ([wire.header(OTHER) + b"x"], [*frames, wire.header(OTHER)], [wire.header(OTHER), *frames]):
            with pytest.raises(UnknownSchemaError) as unknown:
                codec.decode(batch)
            self.same(unknown.value.schema_id, OTHER)
        self.same(codec.decode(frames), values)

    def test_an_id_may_be_refused_and_learnt_later(self) -> None:
        self.needs("resolves")
        model, _, values = self._posts(2)
        frames, codec = Codec(model, OWN).encode(values), self.codec(model)
        codec.refuse(OWN, "nobody knows it")
        self._is_refused(codec, frames[0], "schema-unknown")
        codec.learn(OWN, Codec(model).schema.text)
        self.same(codec.decode(frames), values)

    @pytest.mark.parametrize("text", ["", "{", '"nope"', '{"type": "object"}'])
    def test_a_text_that_is_no_schema_refuses_its_frames(self, text: str) -> None:
        self.needs("resolves")
        codec = self.codec(model_of(POST))
        codec.learn(OWN, text)
        self._is_refused(codec, wire.header(OWN), "schema-invalid")

    @pytest.mark.parametrize("schema", ["string", record(("id", "long")), record(name="Other")])
    def test_a_schema_that_does_not_resolve_refuses_its_frames(self, schema: Any) -> None:
        self.needs("resolves")
        codec = self.codec(model_of(POST))
        codec.learn(OWN, json.dumps(schema))
        self._is_refused(codec, wire.header(OWN) + b"\0", "schema-incompatible")

    def test_random_writers_are_resolved_as_fastavro_does(self) -> None:
        self.needs("resolves")
        changes: Counter[str] = Counter()

        def check(case: Case, data: Any) -> None:
            reader = evolved(case.schema, data.draw, changes)
            writer_model, reader_model = model_of(case.schema), model_of(reader)
            (frame,) = Codec(writer_model, OWN).encode([writer_model(**data.draw(case.values))])
            codec, ours = self.codec(reader_model), Codec(reader_model)
            for each in (codec, ours):
                each.learn(OWN, Codec(writer_model).schema.text)
            self.same(codec.decode([frame]), ours.decode([frame]))
            self.same(plain(codec.decode([frame])[0]), fastavro_value(case.schema, frame, reader))

        self._for_random_contracts(check)
        assert changes, "no field was changed between writer and reader"

    def test_a_batch_may_mix_the_ids_of_several_writers(self) -> None:
        self.needs("resolves")
        old_model = model_of(OLD_POST)
        model, _, values = self._posts(3)
        old_values = [old_model(id=f"old {number}", likes=number) for number in range(3)]
        new, old = Codec(model, OWN).encode(values), Codec(old_model, OTHER).encode(old_values)
        reader = record(("id", "string"), ("score", ["null", "double"], None))
        read_model = model_of(reader)
        codec = self.codec(read_model)
        codec.learn(OWN, json.dumps(POST))
        codec.learn(OTHER, json.dumps(OLD_POST))
        mixed = [old[0], new[0], new[1], old[1], old[2], new[2]]
        expected = ["old 0", "post 0", "post 1", "old 1", "old 2", "post 2"]
        self.same([value.id for value in codec.decode(mixed)], expected)
        self.same([value.id for frame in mixed for value in codec.decode([frame])], expected)

    # --- helpers

    def _posts(self, number: int) -> tuple[type[Any], ValueCodec[Any], list[Any]]:
        model = model_of(POST)
        values = [model(id=f"post {n}", tags=["a"] * (n % 4), score=n / 2 if n % 3 else None) for n in range(number)]
        return model, self.codec(model, OWN), values

    def _is_refused(self, codec: ValueCodec[Any], frame: bytes, kind: str) -> None:
        took = math.inf
        for _ in range(3):  # the collector may run in one of them
            started = time.thread_time()
            with pytest.raises(DecodeError) as refused:
                codec.decode([frame])
            took = min(took, time.thread_time() - started)
            if took < self.features.slowest:
                break
        self.same(took < self.features.slowest, True, f"{took:.3f} s")
        if self.features.kinds:
            self.same(refused.value.kind, kind)

    def _outcome(self, codec: ValueCodec[Any], frame: bytes) -> Any:
        """Return the value of a frame, or how it is refused; whatever else is raised fails the check."""
        try:
            return codec.decode([frame])[0]
        except DecodeError as error:
            return error.kind if self.features.kinds else DecodeError

    def _for_random_contracts(self, check: Callable[[Case, Any], None]) -> None:
        @settings(
            max_examples=self.features.examples,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(contracts(), st.data())
        def run(case: Case, data: Any) -> None:
            check(case, data)

        run()
