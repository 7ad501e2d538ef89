"""Random contracts with fitting values, and fastavro as the independent second opinion."""

from __future__ import annotations

import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
from hypothesis import strategies as st

from streams.avro import wire
from streams.avro.contracts import Contract
from streams.avro.generate import render
from streams.avro.model import AvroModel
from streams.avro.schema import Schema

_serial = count(1)


def record(*fields: Any, name: str = "Event", **more: Any) -> dict[str, Any]:
    """Return the schema of a record, from (name, type) or (name, type, default)."""
    made = [dict(zip(("name", "type", "default"), field, strict=False)) for field in fields]
    return {"type": "record", "name": name, "namespace": "shop", "fields": made, **more}


def module_of(*versions: Any) -> ModuleType:
    """Generate, compile and return the module of one contract, from the JSON of its versions."""
    schemas = tuple(Schema(json.dumps(version)) for version in versions)
    files = tuple(Path(f"v{number}.avsc") for number in range(1, len(schemas) + 1))
    module = ModuleType(f"generated_{next(_serial)}")
    sys.modules[module.__name__] = module  # pydantic and pickle look names up there
    source = render([Contract(schemas[-1].name, schemas, files)])
    exec(compile(source, module.__name__, "exec"), module.__dict__)  # noqa: S102 (own source)
    return module


def model_of(*versions: Any) -> type[Any]:
    """Return the generated class of a contract."""
    name = Schema(json.dumps(versions[-1])).name
    found = vars(module_of(*versions)).values()
    model: type[Any] = next(each for each in found if getattr(each, "__avro_name__", None) == name)
    return model


def plain(value: Any) -> Any:
    """Return what fastavro reads and writes for a value."""
    match value:
        case AvroModel():
            fields = type(value).model_fields
            return {field.alias or name: plain(getattr(value, name)) for name, field in fields.items()}
        case Enum():
            return value.value
        case tuple() | list():
            return [plain(item) for item in value]
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
    return value


def fastavro_body(schema: Any, value: Any) -> bytes:
    """Return what fastavro writes for a value, without a header."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), plain(value))
    return out.getvalue()


def fastavro_value(schema: Any, frame: bytes, reader: Any = None) -> Any:
    """Return what fastavro reads from a frame, resolved to a reader's schema if there is one."""
    body = io.BytesIO(frame[wire.HEADER_SIZE :])
    return fastavro.schemaless_reader(body, fastavro.parse_schema(schema), reader and fastavro.parse_schema(reader))


@dataclass
class Case:
    """A type: its JSON, and a strategy for its values as a model takes them."""

    schema: Any
    values: Any


text = st.text(max_size=70)
moments = st.datetimes()


def _whole_millis(moment: Any) -> Any:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


LEAVES = {
    "boolean": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-9000, 9000),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=70),
    "string": text,
}
LOGICAL = {
    "date": ("int", st.dates()),
    "time-millis": ("int", st.times().map(_whole_millis)),
    "time-micros": ("long", st.times()),
    "timestamp-millis": ("long", moments.map(_whole_millis).map(_in_utc)),
    "timestamp-micros": ("long", moments.map(_in_utc)),
    "local-timestamp-millis": ("long", moments.map(_whole_millis)),
    "local-timestamp-micros": ("long", moments),
    "uuid": ("string", st.uuids()),
}


def _leaves() -> st.SearchStrategy[Case]:
    primitive = st.sampled_from(sorted(LEAVES)).map(lambda name: Case(name, LEAVES[name]))
    logical = st.sampled_from(sorted(LOGICAL)).map(
        lambda name: Case({"type": LOGICAL[name][0], "logicalType": name}, LOGICAL[name][1])
    )
    return primitive | logical


@st.composite
def _decimals(draw: Any) -> Case:
    precision = draw(st.integers(1, 30))
    scale = draw(st.integers(0, precision))
    schema = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    limit = 10**precision - 1
    digits = st.integers(-limit, limit)
    return Case(schema, digits.map(lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale))))


def _enums() -> st.SearchStrategy[Case]:
    def enum(size: int) -> Case:
        symbols = [f"S{number}" for number in range(size)]
        return Case({"type": "enum", "name": "Enum", "symbols": symbols}, st.sampled_from(symbols))

    return st.integers(1, 5).map(enum)


def _fixeds() -> st.SearchStrategy[Case]:
    def fixed(size: int) -> Case:
        return Case({"type": "fixed", "name": "Fixed", "size": size}, st.binary(min_size=size, max_size=size))

    return st.integers(1, 20).map(fixed)


def _arrays(item: Case) -> Case:
    return Case({"type": "array", "items": item.schema}, st.lists(item.values, max_size=4).map(tuple))


def _maps(item: Case) -> Case:
    return Case({"type": "map", "values": item.schema}, st.dictionaries(text, item.values, max_size=4))


def _optionals(item: Case) -> Case:
    if isinstance(item.schema, list):  # a union holds no union
        return item
    return Case(["null", item.schema], st.none() | item.values)


def _records(parts: Any) -> st.SearchStrategy[Case]:
    def made(found: list[Case]) -> Case:
        fields = [{"name": f"f{number}", "type": part.schema} for number, part in enumerate(found)]
        values = st.fixed_dictionaries({f"f{number}": part.values for number, part in enumerate(found)})
        return Case({"type": "record", "name": "Record", "fields": fields}, values)

    return st.lists(parts, max_size=5).map(made)


def _unions() -> st.SearchStrategy[Case]:
    """Unions whose values tell their branch to fastavro too (which takes b"" for an empty array)."""
    pool = [Case("null", st.none()), *(Case(name, LEAVES[name]) for name in ("boolean", "long", "string"))]
    pool += [_arrays(pool[2]), _maps(pool[3])]

    def union(branches: list[Case]) -> Case:
        return Case([branch.schema for branch in branches], st.one_of([branch.values for branch in branches]))

    return st.lists(st.sampled_from(pool), min_size=1, max_size=5, unique_by=lambda c: str(c.schema)).map(union)


def _types() -> st.SearchStrategy[Case]:
    flat = _leaves() | _decimals() | _enums() | _fixeds() | _unions()
    nested = st.recursive(
        flat,
        lambda parts: parts.map(_arrays) | parts.map(_maps) | parts.map(_optionals) | _records(parts),
        max_leaves=6,
    )
    return _leaves() | flat | nested


def contracts(fits: Callable[[Any], bool] = lambda _: True) -> st.SearchStrategy[Case]:
    """Records, as contracts are, every named type under a name of its own, of fields whose type `fits`."""
    fields = _types().filter(lambda case: fits(_with_names(case.schema, count(1))))
    return _records(fields).map(lambda case: Case(_with_names(case.schema, count(1)), case.values))


def _with_names(schema: Any, numbers: Any) -> Any:
    match schema:
        case list():
            return [_with_names(branch, numbers) for branch in schema]
        case dict():
            named = {"name": f"{schema['name']}{next(numbers)}"} if "name" in schema and "type" in schema else {}
            if schema.get("name", "").startswith("f"):  # a field
                named = {}
            return {key: _with_names(part, numbers) for key, part in schema.items()} | named
    return schema


def mentions(schema: Any, *words: str) -> bool:
    """Tell whether a type occurs in a schema."""
    return any(f'"{word}"' in json.dumps(schema) for word in words)


def damage(frame: bytes, draw: Any) -> bytes:
    """Return the frame with some bytes changed, taken out or put in."""
    at = draw(st.integers(wire.HEADER_SIZE, len(frame)))
    cut = draw(st.integers(0, 3))
    put_in: bytes = draw(st.binary(max_size=3))
    return frame[:at] + put_in + frame[at + cut :]


def has_nan(value: Any) -> bool:
    """Tell whether a number in a value is none, so that it does not equal itself."""
    match plain(value):
        case float() as number:
            return math.isnan(number)
        case list() as items:
            return any(map(has_nan, items))
        case Mapping() as items:
            return any(map(has_nan, items.values()))
    return False


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
