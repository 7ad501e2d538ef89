"""The codec of one topic's values: frames to models and back, a batch in one call, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from streams.avro import wire
from streams.avro.model import Models, models_of, schema_of
from streams.avro.plans import Plan, plan, refusal
from streams.avro.schema import Schema
from streams.avro.writing import Writing
from streams.errors import DecodeError, EncodeError, UnknownSchemaError, UsageError

V = TypeVar("V")


class Codec(Generic[V]):
    """Encodes and decodes the values of one model; used by one thread, like the worker that owns it.

    `model` is a generated model, a subclass of one, or str, int, float, bytes or bool. `schema_id` is the
    registry's number for the model's own schema; without one the codec only decodes.

    Raises:
        UsageError: the type has no Avro schema, or one whose values Python cannot tell apart.
    """

    def __init__(self, model: type[V], schema_id: int | None = None) -> None:
        self.schema: Schema = schema_of(model)
        self._models = models_of(model)
        self._plans: dict[int, Plan] = {}
        self._encode = _encoder(self.schema, self._models, schema_id)
        if schema_id is not None:
            self._plans[schema_id] = plan(schema_id, self.schema, self.schema, self._models)

    @property
    def plans(self) -> Mapping[int, Plan]:
        """How frames are decoded, by schema id, as far as ids are known."""
        return self._plans

    def learn(self, schema_id: int, schema_text: str) -> None:
        """Compile the plan for frames of this id, written with this schema.

        Never raises: with a text that is no schema, frames of the id are refused as `schema-invalid`; what the
        model's schema cannot resolve is refused as `schema-incompatible`, value by value.
        """
        try:
            self._plans[schema_id] = plan(schema_id, Schema(schema_text), self.schema, self._models)
        except Exception as error:  # noqa: BLE001 (whatever a foreign schema leads to is a fault of its records)
            self._plans[schema_id] = refusal("schema-invalid", str(error))

    def refuse(self, schema_id: int, reason: str) -> None:
        """Let frames of this id raise DecodeError `schema-unknown` from now on, until `learn` is told the id."""
        self._plans[schema_id] = refusal("schema-unknown", reason)

    def decode(self, frames: Sequence[bytes]) -> list[V]:
        """Return the values of all frames, or of none.

        Every byte is checked against the writer's schema, those of fields that the model does not have too.

        Raises:
            UnknownSchemaError: a frame has an id that is neither learnt nor refused.
            DecodeError: a frame is malformed; the values before it are `before`. Nothing else is ever raised for any
                bytes.
        """
        values: list[V] = []
        try:
            while len(values) < len(frames):  # once for every run of frames with the same id
                schema_id = wire.split(frames[len(values)])
                plan = self._plans.get(schema_id)
                if plan is None:
                    raise UnknownSchemaError(schema_id)
                plan.decode(frames[len(values) :] if values else frames, values)
        except DecodeError as error:
            error.before = values
            raise
        return values

    def encode(self, values: Sequence[V]) -> list[bytes]:
        """Return one frame for every value, or none. Timestamps lose what is finer than their unit.

        Raises:
            EncodeError: a value is not of the model, or does not fit its schema.
            UsageError: the codec has no schema id.
        """
        frames: list[bytes] = []
        self._encode(values, frames)
        return frames


def _encoder(schema: Schema, models: Models, schema_id: int | None) -> Callable[[Sequence[Any], list[bytes]], None]:
    writing = Writing(schema.root, models, wire.header(schema_id or 0))
    encode = writing.compile()

    def plan(values: Sequence[Any], frames: list[bytes]) -> None:
        if schema_id is None:
            raise UsageError(f"the codec of {schema.name} has no schema id to encode with")
        try:
            encode(values, frames)
        except Exception as error:
            where = f"{schema.name}{writing.source.locate(error.__traceback__)}"
            raise EncodeError(f"{where}: {error or type(error).__name__}") from error

    return plan
