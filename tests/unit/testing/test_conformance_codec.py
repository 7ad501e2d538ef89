"""The suite for codecs over ours, over one that claims less, and over those that are broken."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest
from conformance_support import caught

from streams.avro import wire
from streams.avro.codec import Codec
from streams.avro.model import AvroModel, schema_of
from streams.avro.plain import decode_plain
from streams.errors import DecodeError, EncodeError, UnknownSchemaError
from streams.testing.conformance.codec import CodecConformance, CodecFeatures, ValueCodec

SLOW = 0.06  # seconds
PROPERTIES = [  # random: what the checks by name find, they find too, but take longer to say it
    "test_random_values_come_back_as_they_were",
    "test_damage_is_refused_or_read_as_ours_reads_it",
    "test_random_writers_are_resolved_as_fastavro_does",
    "test_frames_are_the_same_for_every_codec",
]


class TestCodec(CodecConformance):
    """The codec that workers use."""

    def codec(self, model: type[Any], schema_id: int | None = None) -> ValueCodec[Any]:
        return Codec(model, schema_id)


class PlainCodec:
    """Reads frames of its own schema by way of dictionaries, one by one."""

    def __init__(self, model: type[Any], schema_id: int | None) -> None:
        self.model = model
        self.known = {schema_id: schema_of(model).text}

    def learn(self, schema_id: int, schema_text: str) -> None:
        raise NotImplementedError

    def refuse(self, schema_id: int, reason: str) -> None:
        raise NotImplementedError

    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return [self.value(frame) for frame in frames]

    def value(self, frame: bytes) -> Any:
        schema_id = wire.split(frame)
        if schema_id not in self.known:
            raise UnknownSchemaError(schema_id)
        found = decode_plain(self.known[schema_id], frame)
        return self.model.model_validate(found) if issubclass(self.model, AvroModel) else found

    def encode(self, values: Sequence[Any]) -> list[bytes]:
        raise NotImplementedError


class TestPlainCodec(CodecConformance):
    """It claims less: what it does not do is skipped by name."""

    features = CodecFeatures(encodes=False, resolves=False, examples=20)

    def codec(self, model: type[Any], schema_id: int | None = None) -> ValueCodec[Any]:
        return PlainCodec(model, schema_id)


# --- codecs that are broken, each in one way


class Wrapped:
    """Ours, to be spoilt."""

    def __init__(self, model: type[Any], schema_id: int | None) -> None:
        self.inner: Codec[Any] = Codec(model, schema_id)
        self.model = model

    def learn(self, schema_id: int, schema_text: str) -> None:
        self.inner.learn(schema_id, schema_text)

    def refuse(self, schema_id: int, reason: str) -> None:
        self.inner.refuse(schema_id, reason)

    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return self.inner.decode(frames)

    def encode(self, values: Sequence[Any]) -> list[bytes]:
        return self.inner.encode(values)


class IgnoresWhatFollows(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return [self.one(frame) for frame in frames]

    def one(self, frame: bytes) -> Any:
        for end in range(len(frame), len(frame) - 3, -1):
            try:
                return self.inner.decode([frame[:end]])[0]
            except DecodeError as error:
                if error.kind != "trailing-bytes":
                    raise
        raise DecodeError("trailing-bytes")


class ReturnsTheSoundOnes(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        found = []
        for frame in frames:
            try:
                found += self.inner.decode([frame])
            except DecodeError:
                if not found:
                    raise
                return found
        return found


class RaisesWhatPythonRaises(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        try:
            return self.inner.decode(frames)
        except DecodeError as error:
            raise (error.__cause__ if isinstance(error.__cause__, IndexError) else error) from None


class CallsEverythingValue(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        try:
            return self.inner.decode(frames)
        except DecodeError as error:
            raise DecodeError("value") from error


class TurnsBatchesRound(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return self.inner.decode(frames[::-1])


class PassesOverUnknownIds(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        found: list[Any] = []
        for frame in frames:
            try:
                found += self.inner.decode([frame])
            except UnknownSchemaError:
                continue
        return found


class TrustsTheFirstId(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return self.inner.decode([frames[0][:5] + frame[5:] for frame in frames])


class SortsByWriter(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return self.inner.decode(sorted(frames, key=lambda frame: frame[:5]))


class RefusesForEver(Wrapped):
    refused: tuple[int, ...] = ()

    def refuse(self, schema_id: int, reason: str) -> None:
        self.refused += (schema_id,)
        super().refuse(schema_id, reason)

    def learn(self, schema_id: int, schema_text: str) -> None:
        if schema_id not in self.refused:
            super().learn(schema_id, schema_text)


class LearnsOnlySchemas(Wrapped):
    def learn(self, schema_id: int, schema_text: str) -> None:
        if not schema_text.startswith(("{", '"')):
            raise ValueError(schema_text)
        super().learn(schema_id, schema_text)


class GivesDictionaries(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        return [value.model_dump() if hasattr(value, "model_dump") else value for value in super().decode(frames)]


class IsSlowToRefuse(Wrapped):
    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        try:
            return self.inner.decode(frames)
        except DecodeError:
            began = time.thread_time()
            while time.thread_time() - began < SLOW:
                pass
            raise


class RemembersTooMuch(Wrapped):
    """A cache by the wrong key."""

    def __init__(self, model: type[Any], schema_id: int | None) -> None:
        super().__init__(model, schema_id)
        self.seen: dict[bytes, Any] = {}

    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        for frame in frames:
            self.seen.setdefault(frame[:12], self.inner.decode([frame])[0])
        return [self.seen[frame[:12]] for frame in frames]


class EncodesTheSoundOnes(Wrapped):
    def encode(self, values: Sequence[Any]) -> list[bytes]:
        found = []
        for value in values:
            try:
                found += self.inner.encode([value])
            except EncodeError:
                if len(values) == 1:
                    raise
        return found


class EncodesAnything(Wrapped):
    def encode(self, values: Sequence[Any]) -> list[bytes]:
        return self.inner.encode([value for value in values if type(value) is self.model])


class EncodesUnderAnotherId(Wrapped):
    def encode(self, values: Sequence[Any]) -> list[bytes]:
        return [wire.header(1) + frame[5:] for frame in self.inner.encode(values)]


class EncodesByChance(Wrapped):
    numbers = itertools.count()

    def encode(self, values: Sequence[Any]) -> list[bytes]:
        return [frame + b"\0" * (next(self.numbers) % 2) for frame in self.inner.encode(values)]


class FastavroAlone(Wrapped):
    """What decoding is without our checks."""

    def __init__(self, model: type[Any], schema_id: int | None) -> None:
        super().__init__(model, schema_id)
        self.known = {schema_id: self.inner.schema.text}

    def learn(self, schema_id: int, schema_text: str) -> None:
        self.known[schema_id] = schema_text

    def decode(self, frames: Sequence[bytes]) -> list[Any]:
        try:
            return [self.one(frame) for frame in frames]
        except (UnknownSchemaError, DecodeError):
            raise
        except Exception as error:
            raise DecodeError("value") from error

    def one(self, frame: bytes) -> Any:
        schema_id = wire.split(frame)
        if schema_id not in self.known:
            raise UnknownSchemaError(schema_id)
        schemas = [fastavro.parse_schema(json.loads(t)) for t in (self.known[schema_id], self.own)]
        found = fastavro.schemaless_reader(io.BytesIO(frame[5:]), *schemas)
        return self.model(**found) if issubclass(self.model, AvroModel) else found

    @property
    def own(self) -> str:
        return self.inner.schema.text


TOO_MUCH = {  # fastavro would take all memory, or minutes, or the process with it
    "20 million nulls",
    "20 million empty records",
    "recursion of 5,000 levels",
    "recursion in arrays",
    "decimal of 400 KB",
}

BROKEN = [
    (IgnoresWhatFollows, "test_every_truncation_and_extension_is_refused"),
    (ReturnsTheSoundOnes, "test_one_broken_frame_leaves_nothing_of_its_batch"),
    (RaisesWhatPythonRaises, "test_a_malformed_frame_is_refused_at_once"),
    (CallsEverythingValue, "test_a_malformed_frame_is_refused_at_once"),
    (TurnsBatchesRound, "test_a_batch_is_what_its_frames_are_one_by_one"),
    (PassesOverUnknownIds, "test_an_id_that_nobody_told_of_is_asked_for"),
    (TrustsTheFirstId, "test_a_batch_may_mix_the_ids_of_several_writers"),
    (SortsByWriter, "test_a_batch_may_mix_the_ids_of_several_writers"),
    (RefusesForEver, "test_an_id_may_be_refused_and_learnt_later"),
    (LearnsOnlySchemas, "test_a_text_that_is_no_schema_refuses_its_frames"),
    (GivesDictionaries, "test_every_truncation_and_extension_is_refused"),
    (IsSlowToRefuse, "test_a_malformed_frame_is_refused_at_once"),
    (RemembersTooMuch, "test_a_batch_is_what_its_frames_are_one_by_one"),
    (EncodesTheSoundOnes, "test_one_broken_value_leaves_nothing_of_its_batch"),
    (EncodesAnything, "test_one_broken_value_leaves_nothing_of_its_batch"),
]


def suite_of(broken: type[Wrapped], **claims: Any) -> type[CodecConformance]:
    class Suite(CodecConformance):
        features = CodecFeatures(examples=15, **claims)

        def codec(self, model: type[Any], schema_id: int | None = None) -> ValueCodec[Any]:
            return broken(model, schema_id)

    return Suite


@pytest.mark.parametrize(("codec", "by"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_codec_is_caught(codec: type[Wrapped], by: str, tmp_path: Path) -> None:
    found = caught(suite_of(codec), tmp_path, PROPERTIES)
    print(f"{codec.__name__}: {found}")
    assert by in found


@pytest.mark.parametrize("codec", [EncodesUnderAnotherId, EncodesByChance], ids=lambda codec: codec.__name__)
def test_frames_that_are_not_ours_are_caught(codec: type[Wrapped], tmp_path: Path) -> None:
    found = caught(suite_of(codec), tmp_path, PROPERTIES[:3])
    print(f"{codec.__name__}: {found}")
    assert "test_frames_are_the_same_for_every_codec" in found


def test_a_decoder_without_our_checks_is_caught() -> None:
    """Each defect that fastavro accepts, by the row of the table that says so."""
    suite = suite_of(FastavroAlone, kinds=False, slowest=1.0)
    check = suite.test_a_malformed_frame_is_refused_at_once
    rows = [row for row in check.pytestmark[0].args[1] if row.id not in TOO_MUCH]  # type: ignore[attr-defined] # set by the mark
    accepted = []
    for row in rows:
        try:
            check(suite(), *row.values)
        except pytest.fail.Exception:
            accepted.append(row.id)
    print(f"FastavroAlone accepts {len(accepted)} of {len(rows)}: {', '.join(map(str, accepted))}")
    assert len(rows) > 50
    assert {"enum index -1", "varint of 11 bytes", "a byte behind the value", "boolean 7", "duplicate key"} <= set(
        accepted
    )


def test_sound_codecs_are_not_caught(tmp_path: Path) -> None:
    assert caught(TestCodec, tmp_path / "ours", PROPERTIES) == {}
    assert caught(TestPlainCodec, tmp_path / "plain", PROPERTIES) == {}
