import io
import json
from pathlib import Path

import fastavro
import pytest

SCHEMAS = Path(__file__).parents[3] / "schemas"
FILES = sorted(SCHEMAS.glob("*/*/v*.avsc"))
CONTRACTS = [pytest.param(path, id=str(path.relative_to(SCHEMAS))) for path in FILES]


def contract(name):
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def types(node):
    """Every record and enum that a schema defines, itself included."""
    if isinstance(node, list):
        for part in node:
            yield from types(part)
    elif isinstance(node, dict):
        if node.get("type") in ("record", "enum"):
            yield node
        for part in (node.get("type"), node.get("items"), *node.get("fields", ())):
            if isinstance(part, dict | list):
                yield from types(part)


def recode(value, writer, reader):
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(writer), value)
    buffer.seek(0)
    return fastavro.schemaless_reader(buffer, fastavro.parse_schema(writer), fastavro.parse_schema(reader))


def test_both_stories_have_contracts():
    assert {path.parts[-3] for path in FILES} == {"shipping", "social", "streams"}


@pytest.mark.parametrize("path", CONTRACTS)
def test_a_contract_parses_alone_and_is_named_by_its_folder(path):
    schema = json.loads(path.read_text(encoding="utf-8"))
    assert fastavro.parse_schema(schema)["name"] == ".".join(path.parts[-3:-1])


@pytest.mark.parametrize("path", CONTRACTS)
def test_everything_of_a_contract_is_explained(path):
    for defined in types(json.loads(path.read_text(encoding="utf-8"))):
        assert defined["doc"], defined["name"]
        for field in defined.get("fields", ()):
            assert field["doc"].endswith("."), field["name"]


@pytest.mark.parametrize("path", CONTRACTS)
def test_what_may_be_null_is_null_by_default(path):
    for defined in types(json.loads(path.read_text(encoding="utf-8"))):
        for field in defined.get("fields", ()):
            assert isinstance(field["type"], list) == (field.get("default", "none") is None), field["name"]


def test_a_type_that_several_contracts_hold_is_the_same_in_all():
    seen = {}
    for path in FILES:
        for defined in types(json.loads(path.read_text(encoding="utf-8"))):
            if path.parts[-2] != defined["name"]:
                name = f"{path.parts[-3]}.{defined['name']}"
                assert seen.setdefault(name, defined) == defined, f"{path}: {name}"
    assert {"shipping.Mode", "shipping.Product", "shipping.Status"} <= seen.keys()


def test_versions_of_a_post_read_each_other():
    old, new = contract("social/PostPublished/v1.avsc"), contract("social/PostPublished/v2.avsc")
    post = {"post_id": "p1", "author_id": "7", "posted_at": 1_700_000_000_000, "text": "hi", "kind": "link"}
    added = {"tags": ["news"], "origin": {"source": "posts", "line": 3}}
    at_old = recode(post, old, old)
    assert recode(post, old, new) == at_old | {"tags": [], "origin": None}
    assert recode(post | added, new, old) == at_old
    assert recode(post | added, new, new) == at_old | added


def test_a_notification_needs_no_more_than_the_user_and_the_post():
    fields = contract("social/Notification/v1.avsc")["fields"]
    assert [field["name"] for field in fields if "default" not in field] == ["user_id", "post_id"]
