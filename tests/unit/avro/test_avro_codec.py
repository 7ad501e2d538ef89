import copy
import gc
import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from posts import COUNTS, NOON, POST, post
from pydantic import PrivateAttr, ValidationError, computed_field, field_validator

from streams.avro import wire
from streams.avro.codec import Codec
from streams.avro.plain import decode_plain
from streams.errors import DecodeError, EncodeError, UnknownSchemaError, UsageError
from streams.testing.conformance.random_contracts import model_of, module_of, record


@pytest.fixture
def model() -> type[Any]:
    return model_of(POST)


# --- ids and schemas


def test_an_id_that_is_neither_learnt_nor_refused_is_asked_for(model: type[Any]) -> None:
    codec = Codec(model, 7)

    with pytest.raises(UnknownSchemaError) as unknown:
        codec.decode([*codec.encode([post(model)]), wire.header(8) + b"x"])

    assert unknown.value.schema_id == 8


def test_a_refused_id_can_still_be_learnt(model: type[Any]) -> None:
    writer, reader = Codec(model, 7), Codec(model)
    frames = writer.encode([post(model)])
    reader.refuse(7, "nobody knows it")

    with pytest.raises(DecodeError, match="schema-unknown: nobody knows it"):
        reader.decode(frames)
    reader.learn(7, writer.schema.text)

    assert reader.decode(frames) == [post(model)]


@pytest.mark.parametrize("text", ["", "{", '"nope"', '{"type": "object"}'])
def test_a_text_that_is_no_schema_refuses_its_frames(model: type[Any], text: str) -> None:
    codec = Codec(model)
    codec.learn(7, text)

    with pytest.raises(DecodeError) as refused:
        codec.decode([wire.header(7)])

    assert refused.value.kind == "schema-invalid"


@pytest.mark.parametrize("schema", ["string", record(("id", "string")), record(name="Other")])
def test_a_schema_that_does_not_resolve_refuses_its_frames(model: type[Any], schema: Any) -> None:
    codec = Codec(model)
    codec.learn(7, json.dumps(schema))

    with pytest.raises(DecodeError) as refused:
        codec.decode([wire.header(7) + b"\0"])

    assert refused.value.kind == "schema-incompatible"


def test_only_the_values_that_do_not_resolve_are_refused() -> None:
    codec = Codec(model_of(record(("a", "long"))))
    codec.learn(7, json.dumps(record(("a", ["null", "int"]))))

    assert codec.decode([wire.header(7) + b"\2\4"])[0].a == 2
    with pytest.raises(DecodeError, match=r"schema-incompatible: .*null cannot be read as long"):
        codec.decode([wire.header(7) + b"\0"])


def test_a_union_s_own_type_comes_before_a_promotion() -> None:
    codec = Codec(model_of(record(("a", ["double", "int"]))))
    codec.learn(7, json.dumps(record(("a", "int"))))
    codec.learn(8, json.dumps(record(("a", "float"))))

    found = codec.decode([wire.header(7) + b"\4", wire.header(8) + b"\0\0\0\0"])

    assert [type(value.a) for value in found] == [int, float]


def test_a_batch_may_mix_the_ids_of_several_versions() -> None:
    first, second = record(("a", "int")), record(("a", "long"), ("b", "string", "new"))
    old_model, new_model = model_of(first), model_of(first, second)
    old, new = Codec(old_model, 1), Codec(new_model, 2)
    new.learn(1, old.schema.text)
    old_frames = old.encode([old_model(a=n) for n in range(3)])
    new_frames = new.encode([new_model(a=n, b="x") for n in range(3)])

    found = new.decode([old_frames[0], new_frames[0], new_frames[1], old_frames[1], old_frames[2], new_frames[2]])

    assert [(value.a, value.b) for value in found] == [(0, "new"), (0, "x"), (1, "x"), (1, "new"), (2, "new"), (2, "x")]


def test_without_an_id_a_codec_only_decodes(model: type[Any]) -> None:
    with pytest.raises(UsageError, match="no schema id"):
        Codec(model).encode([post(model)])


@pytest.mark.parametrize("kind", [dict, list, object, Decimal])
def test_a_type_without_a_schema_is_refused(kind: type) -> None:
    with pytest.raises(UsageError, match="no Avro schema"):
        Codec(kind)


def test_a_type_that_is_only_a_part_of_contracts_is_refused() -> None:
    module = module_of(record(("inner", record(("x", "int"), name="Inner"))))

    with pytest.raises(UsageError, match="Inner has no Avro schema"):
        Codec(module.Inner)


# --- primitive values


@pytest.mark.parametrize(
    ("kind", "values", "wrong"),
    [
        (str, ["", "é", "x" * 20_000], [b"x", 1, None]),
        (int, [0, -1, 63, 64, 8191, 8192, -(1 << 63), (1 << 63) - 1], [True, 1.0, "1", 1 << 63, -(1 << 63) - 1, None]),
        (float, [0.0, -1.5, float("inf")], [True, "1", None]),
        (bytes, [b"", b"\xff" * 9000], ["x", bytearray(b"x"), None]),
        (bool, [True, False], [1, "x", None]),
    ],
)
def test_primitives_are_values_of_their_own(kind: type[Any], values: list[Any], wrong: list[Any]) -> None:
    codec = Codec(kind, 3)

    decoded = codec.decode(codec.encode(values))

    assert decoded == values
    assert {type(value) for value in decoded} == {kind}
    for value in wrong:
        with pytest.raises(EncodeError):
            codec.encode([value])


def test_a_whole_number_is_a_float_too() -> None:
    codec = Codec(float, 3)

    assert codec.decode(codec.encode([2])) == [2.0]


# --- trusted construction is as good as pydantic's own


def test_decoded_models_are_whole(model: type[Any]) -> None:
    codec = Codec(model, 7)
    built = post(model)
    decoded = codec.decode(codec.encode([built]))[0]

    assert decoded == built
    assert hash(decoded) == hash(built)
    assert repr(decoded) == repr(built)
    assert decoded.model_dump() == built.model_dump()
    assert decoded.model_dump_json() == built.model_dump_json()
    assert decoded.model_extra is None
    assert pickle.loads(pickle.dumps(decoded)) == built
    assert copy.deepcopy(decoded) == built
    assert type(decoded.kind) is type(built.kind)
    assert gc.is_tracked(decoded)


def test_copies_do_not_change_what_they_share(model: type[Any]) -> None:
    codec = Codec(model, 7)
    one, other = codec.decode(codec.encode([post(model)] * 2))

    changed = one.model_copy(update={"id": "p2"})
    changed.model_fields_set.add("surprise")

    assert (one.id, changed.id) == ("p1", "p2")
    assert other.model_fields_set == {"id", "tags", "kind", "at", "to"}


def test_a_model_cannot_be_changed_at_any_depth() -> None:
    inner = record(("x", "int"), name="Inner")
    model = model_of(record(("items", {"type": "array", "items": inner}), ("counts", COUNTS)))
    codec = Codec(model, 7)
    built = model(items=[{"x": 1}], counts={"a": 1})

    for value in (built, codec.decode(codec.encode([built]))[0]):
        with pytest.raises(ValidationError, match="frozen"):
            value.items = ()
        with pytest.raises(ValidationError, match="frozen"):
            value.items[0].x = 2
        for change in CHANGES:
            with pytest.raises(TypeError, match="cannot be changed"):
                change(value.counts)
        assert hash(value) == hash(built)
        assert pickle.loads(pickle.dumps(value)) == value
        assert json.loads(value.model_dump_json()) == {"items": [{"x": 1}], "counts": {"a": 1}}


CHANGES: list[Callable[[Any], Any]] = [
    lambda found: found.__setitem__("a", 2),
    lambda found: found.__delitem__("a"),
    lambda found: found.update(a=2),
    lambda found: found.pop("a"),
    lambda found: found.popitem(),
    lambda found: found.setdefault("b", 2),
    lambda found: found.clear(),
    lambda found: found.__ior__({"b": 2}),
]


# --- subclasses


def test_a_subclass_with_rules_is_validated(model: type[Any]) -> None:
    class Short(model):
        @field_validator("id")
        @classmethod
        def is_short(cls, found: str) -> str:
            if len(found) > 2:
                raise ValueError("too long")
            return found.upper()

    frames = Codec(model, 7).encode([post(model), post(model, id="long")])
    codec = Codec(Short, 7)

    decoded = codec.decode(frames[:1])[0]
    assert (type(decoded), decoded.id, decoded.kind) == (Short, "P1", "REPLY")
    with pytest.raises(DecodeError, match=r"(?s)model: .*too long"):
        codec.decode(frames)


@pytest.mark.parametrize("rule", ["validator", "private", "default", "post_init", "init"])
def test_whatever_a_subclass_adds_takes_effect(model: type[Any], rule: str) -> None:
    if rule == "validator":
        namespace: dict[str, Any] = {"check": field_validator("id")(lambda found: found + "!")}
    elif rule == "private":
        namespace = {"_seen": PrivateAttr(default=3), "__annotations__": {"_seen": int}}
    elif rule == "default":
        namespace = {"extra": 5, "__annotations__": {"extra": int}}
    elif rule == "post_init":
        namespace = {"model_post_init": lambda self, _: self.__dict__.update(id="made")}
    else:
        namespace = {"__init__": lambda self, **fields: super(child, self).__init__(**fields | {"id": "made"})}
    child = type("Child", (model,), namespace | {"__module__": __name__})

    decoded = Codec(child, 7).decode(Codec(model, 7).encode([post(model)]))[0]

    assert decoded == child(**post(model).model_dump())
    assert type(decoded) is child


def test_a_subclass_that_only_adds_methods_is_built_like_its_base(model: type[Any]) -> None:
    class Named(model):
        @property
        def title(self) -> str:
            return f"post {self.id}"

        @computed_field  # type: ignore[prop-decorator] # as pydantic has it
        @property
        def shout(self) -> str:
            return self.id.upper()

    decoded = Codec(Named, 7).decode(Codec(model, 7).encode([post(model)]))[0]

    assert (type(decoded), decoded.title, decoded.shout) == (Named, "post p1", "P1")
    assert decoded == Named(**post(model).model_dump())


def test_a_subclass_may_narrow_a_part() -> None:
    module = module_of(record(("inner", record(("x", "int"), name="Inner"))))

    class Positive(module.Inner):
        @field_validator("x")
        @classmethod
        def is_positive(cls, found: int) -> int:
            if found < 0:
                raise ValueError("negative")
            return found

    child = type("Child", (module.Event,), {"__annotations__": {"inner": Positive}, "__module__": __name__})
    codec = Codec(child, 7)

    assert type(codec.decode([wire.header(7) + b"\4"])[0].inner) is Positive
    with pytest.raises(DecodeError, match="negative"):
        codec.decode([wire.header(7) + b"\3"])


def test_values_of_a_subclass_are_encoded_as_the_model(model: type[Any]) -> None:
    child = type("Child", (model,), {"__module__": __name__})
    codec = Codec(model, 7)

    assert codec.encode([child(**post(model).model_dump())]) == codec.encode([post(model)])


# --- without a model


def test_a_frame_can_be_read_without_a_model(model: type[Any]) -> None:
    codec = Codec(model, 7)
    frame = codec.encode([post(model)])[0]

    assert decode_plain(codec.schema.text, frame) == {
        "id": "p1",
        "tags": ("a", "b"),
        "kind": "REPLY",
        "at": NOON,
        "to": None,
    }
    with pytest.raises(DecodeError, match="trailing-bytes"):
        decode_plain(codec.schema.text, frame + b"\0")
