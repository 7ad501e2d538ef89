import inspect
import json
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from streams.avro.codec import Codec
from streams.avro.generate import generate
from streams.avro.schema import Schema
from streams.errors import UsageError
from streams.testing.conformance.random_contracts import model_of, module_of, record

SHARE = {"type": "fixed", "name": "Share", "size": 3, "logicalType": "decimal", "precision": 5}
EVERYTHING: Any = record(
    ("flag", "boolean", True),
    ("small", "int", -7),
    ("big", "long", 1 << 40),
    ("single", "float", 0.5),
    ("double", "double", 1),
    ("raw", "bytes", "\u00ff\u0000"),
    ("text", "string", 'quote " \' \\ \n\u2028'),
    ("nothing", "null", None),
    ("day", {"type": "int", "logicalType": "date"}, 20_000),
    ("clock", {"type": "int", "logicalType": "time-millis"}, 3_600_000),
    ("fine_clock", {"type": "long", "logicalType": "time-micros"}, 1),
    ("at", {"type": "long", "logicalType": "timestamp-millis"}, 1_000),
    ("fine_at", {"type": "long", "logicalType": "timestamp-micros"}, -1),
    ("local", {"type": "long", "logicalType": "local-timestamp-millis"}, 1_000),
    ("fine_local", {"type": "long", "logicalType": "local-timestamp-micros"}, 1),
    ("amount", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}, "\u0001\u0000"),
    ("share", SHARE, "\u0000\u0000\u0007"),
    ("ident", {"type": "string", "logicalType": "uuid"}, "12345678-1234-5678-1234-567812345678"),
    ("ident16", {"type": "fixed", "name": "Ident", "size": 16, "logicalType": "uuid"}, "\u0000" * 15 + "\u0001"),
    ("hash", {"type": "fixed", "name": "Hash", "size": 2}, "ab"),
    ("kind", {"type": "enum", "name": "Kind", "symbols": ["POST", "REPLY"], "doc": "A kind."}, "REPLY"),
    ("tags", {"type": "array", "items": "string"}, ["a", "b"]),
    ("counts", {"type": "map", "values": "long"}, {"a": 1}),
    ("inner", record(("x", "int"), ("y", "int", 2), name="Inner"), {"x": 1}),
    ("inners", {"type": "array", "items": "Inner"}, [{"x": 1}, {"x": 2, "y": 3}]),
    ("maybe", ["null", "Inner"], None),
    ("either", ["string", "long", "null"], "x"),
    ("children", {"type": "array", "items": "Everything"}, []),
    name="Everything",
    doc="All of it.",
)  # fmt: skip
DEFAULTS = {
    "flag": True, "small": -7, "big": 1 << 40, "single": 0.5, "double": 1.0, "raw": b"\xff\0", "nothing": None,
    "text": 'quote " \' \\ \n\u2028', "day": date(2024, 10, 4), "clock": time(1), "fine_clock": time(0, 0, 0, 1),
    "at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "fine_at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "local": datetime(1970, 1, 1, 0, 0, 1), "fine_local": datetime(1970, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 - local times have no zone
    "amount": Decimal("2.56"), "share": Decimal(7), "ident": UUID("12345678-1234-5678-1234-567812345678"),
    "ident16": UUID(int=1), "hash": b"ab", "kind": "REPLY", "tags": ("a", "b"), "counts": {"a": 1}, "maybe": None,
    "either": "x", "children": (),
}  # fmt: skip


def write(folder: Path, schema: Any, version: int = 1) -> Path:
    file = folder / schema["namespace"] / schema["name"] / f"v{version}.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema, indent=2), encoding="utf-8")
    return file


def test_every_type_has_its_default_and_goes_around() -> None:
    module = module_of(EVERYTHING)
    value = module.Everything()
    codec = Codec(module.Everything, 7)

    assert {name: getattr(value, name) for name in DEFAULTS} == DEFAULTS
    assert value.inner == module.Inner(x=1, y=2)
    assert value.inners == (module.Inner(x=1, y=2), module.Inner(x=2, y=3))
    full = module.Everything(children=[value, value], maybe=module.Inner(x=5), either=9)
    assert codec.decode(codec.encode([value, full])) == [value, full]


def test_defaults_stand_in_for_what_the_writer_does_not_have() -> None:
    module = module_of(EVERYTHING)
    codec = Codec(module.Everything)
    codec.learn(7, json.dumps(record(name="Everything")))

    assert codec.decode([b"\0\0\0\0\7"]) == [module.Everything()]


def test_fields_keep_the_order_of_the_schema() -> None:
    model = model_of(record(("c", "int"), ("a", "int", 1), ("b", "int")))

    assert list(model.model_fields) == ["c", "a", "b"]
    assert model(c=1, b=2).a == 1


def test_the_module_is_the_same_for_the_same_contracts(tmp_path: Path) -> None:
    first, second = record(("a", "int"), name="First"), record(("b", "int"), name="Second")
    write(tmp_path / "x", second), write(tmp_path / "x", first)
    write(tmp_path / "y", first), write(tmp_path / "y", second)

    assert generate(tmp_path / "x") == generate(tmp_path / "y")


def test_all_versions_are_carried_without_white_space(tmp_path: Path) -> None:
    versions = [record(("a", "int")), record(("a", "int"), ("b", "string", 'it\'s "é"'))]
    for number, schema in enumerate(versions, 1):
        write(tmp_path, schema, number)
    namespace: dict[str, Any] = {"__name__": "generated_versions"}
    sys.modules["generated_versions"] = sys.modules[__name__]
    exec(generate(tmp_path), namespace)

    texts = namespace["Event"].__avro_versions__
    assert [json.loads(text) for text in texts] == versions
    assert all(Schema(text).text == text for text in texts)
    assert not any(": " in text or "\n" in text for text in texts)


def test_an_older_version_can_be_pinned(tmp_path: Path) -> None:
    write(tmp_path, record(("a", "int")), 1)
    write(tmp_path, record(("a", "int"), ("b", "int", 0)), 2)

    for key in ("Event", "shop.Event"):
        source = generate(tmp_path, {key: 1})
        assert "a: Int" in source
        assert "b: Int" not in source
    with pytest.raises(UsageError, match="no version 3"):
        generate(tmp_path, {"Event": 3})
    with pytest.raises(UsageError, match="no contract is called Evnt"):
        generate(tmp_path, {"Evnt": 1})


# --- names


HOSTILE = [
    "class", "None", "import", "self", "cls", "str", "int", "bytes", "tuple", "bool", "float", "datetime", "Decimal",
    "UUID", "Field", "AvroModel", "Long", "Kind", "Event", "model_config", "model_fields", "copy", "json", "dict",
    "schema", "validate", "construct", "__class__", "__dict__", "_id", "_", "__", "_1", "id", "id_", "class_", "print",
]  # fmt: skip


def test_names_that_would_hide_something_get_an_underscore() -> None:
    kind = {"type": "enum", "name": "Kind", "symbols": ["A"]}
    model = model_of(record(("first", kind), *((name, "string", name) for name in HOSTILE), ("last", "Kind", "A")))
    codec = Codec(model, 7)
    attributes = {field.alias or name: name for name, field in model.model_fields.items()}

    assert attributes.keys() == {"first", *HOSTILE, "last"}
    assert attributes["class"] == "class__"  # for class_ is a field too
    assert attributes["_id"] == "id__"
    value = model(first="A", **{attributes[name]: name.upper() for name in HOSTILE})
    assert codec.decode(codec.encode([value])) == [value]
    assert model.model_validate_json(value.model_dump_json()) == value
    assert json.loads(value.model_dump_json())["class"] == "CLASS"


def test_symbols_that_would_hide_a_method_get_an_underscore() -> None:
    symbols = ["encode", "name", "value", "mro", "class", "None", "_value_", "__init__", "title", "A"]
    model = model_of(record(("kind", {"type": "enum", "name": "Kind", "symbols": symbols}, "encode")))
    codec = Codec(model, 7)

    for symbol in symbols:
        value = codec.decode(codec.encode([model(kind=symbol)]))[0]
        assert value.kind == value.kind.value == symbol
        assert value.kind.encode() == symbol.encode()


@pytest.mark.parametrize(
    "name", ["Decimal", "Field", "AvroModel", "Int", "str", "None", "class", "datetime", "_Hidden"]
)
def test_types_that_would_hide_something_get_an_underscore(name: str) -> None:
    model = model_of(record(("inner", record(("x", "long"), name=name)), ("d", {"type": "array", "items": name}, [])))
    codec = Codec(model, 7)
    value = model(inner={"x": 1}, d=[{"x": 2}])

    assert codec.decode(codec.encode([value])) == [value]


DOC = '"""\' \\ \n\r\t \x1b[31m\u2028 {x} """ + __import__("os").abort() + """'


def test_documentation_cannot_become_code() -> None:
    kind = {"type": "enum", "name": "Kind", "symbols": ["A"], "doc": DOC}
    schema = record(("kind", kind), doc=DOC)
    schema["fields"][0]["doc"] = DOC
    module = module_of(schema)

    assert inspect.cleandoc(module.Event.__doc__ or "") == inspect.cleandoc(DOC)  # Python 3.13 keeps no indents
    assert inspect.cleandoc(module.Kind.__doc__ or "") == inspect.cleandoc(DOC)


# --- what does not go


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}, "duration"),
        (["int", "long"], "int and long are the same type in Python"),
        (["float", "double"], "same type"),
        (["bytes", {"type": "fixed", "name": "F", "size": 2}], "same type"),
    ],
)  # fmt: skip
def test_what_python_cannot_hold_is_refused_with_its_place(kind: Any, word: str, tmp_path: Path) -> None:
    file = write(tmp_path, record(("a", kind)))

    with pytest.raises(UsageError, match=word) as refused:
        generate(tmp_path)
    assert str(file) in refused.value.where
    assert refused.value.fix


def test_one_name_in_two_namespaces_is_refused_and_one_namespace_is_not(tmp_path: Path) -> None:
    write(tmp_path, record(("a", "int")))
    write(tmp_path, record(("a", "int")) | {"namespace": "bank"})

    with pytest.raises(UsageError, match=r"bank.Event and shop.Event would both be class Event"):
        generate(tmp_path)
    assert "'bank.Event'" in generate(tmp_path, namespaces=["bank"])


def test_a_type_shared_by_contracts_is_one_class_and_must_be_one_type(tmp_path: Path) -> None:
    point = record(("x", "int"), name="Point", doc="One.")
    write(tmp_path, record(("p", point), name="A"))
    write(tmp_path, record(("p", point | {"doc": "Another."}), name="B"))

    assert generate(tmp_path).count("class Point(") == 1
    write(tmp_path, record(("p", record(("x", "long"), name="Point")), name="B"))
    with pytest.raises(UsageError, match=r"shop.Point is not the same type in two contracts"):
        generate(tmp_path)


def test_types_that_hold_each_other_go_around() -> None:
    back = record(("a", ["null", "Event"], None), name="Back")
    module = module_of(record(("b", back)))
    value = module.Event(b=module.Back(a=module.Event(b=module.Back())))
    codec = Codec(module.Event, 7)

    assert codec.decode(codec.encode([value])) == [value]


def test_nesting_to_the_limit_of_a_schema_is_generated_and_compiled() -> None:
    kind: Any = "int"
    for _ in range(60):
        kind = {"type": "array", "items": kind}
    value: Any = 7
    for _ in range(60):
        value = (value,)
    model = model_of(record(("deep", kind)))
    codec = Codec(model, 7)

    assert codec.decode(codec.encode([model(deep=value)]))[0].deep == value


def test_the_module_passes_mypy_strict(tmp_path: Path) -> None:
    write(tmp_path, EVERYTHING)
    write(tmp_path, record(*((name, "string", name) for name in HOSTILE), name="Hostile"))
    module = tmp_path / "events.py"
    module.write_text(generate(tmp_path), encoding="utf-8")
    (tmp_path / "use.py").write_text(
        "from events import Everything, Inner, Kind\n"
        "found = Everything(tags=('a',), inner=Inner(x=1), kind=Kind.POST, either=5)\n"
        "reveal_type(found.tags)\nreveal_type(found.either)\nreveal_type(found.amount)\nreveal_type(found.counts)\n",
        encoding="utf-8",
    )
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n", encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(settings), "--cache-dir", str(tmp_path / "c"), "use.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    for shown in ("tuple[str, ...]", "str | int | None", "Decimal", "Mapping[str, int]"):
        assert shown in done.stdout


def test_single_records_are_chosen_by_either_name_and_unknown_ones_refused(tmp_path: Path) -> None:
    write(tmp_path, record(("a", "int"), name="A"))
    write(tmp_path, record(("b", "int"), name="B"))

    assert "class B(" not in generate(tmp_path, records=["A"])
    assert generate(tmp_path, records=["shop.A"]) == generate(tmp_path, records=["A"])
    with pytest.raises(UsageError, match="no contract is called C"):
        generate(tmp_path, records=["C"])
