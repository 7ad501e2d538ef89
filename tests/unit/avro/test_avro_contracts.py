import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from streams.avro.contracts import load
from streams.avro.history import changed
from streams.errors import UsageError
from streams.testing.conformance.random_contracts import record


def write(folder: Path, schema: Any, version: int = 1, place: str = "shop/Event") -> Path:
    file = folder / place / f"v{version}.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema, indent=1), encoding="utf-8")
    return file


def test_contracts_are_loaded_by_name_with_versions_in_order(tmp_path: Path) -> None:
    for version in range(1, 12):
        write(tmp_path, record(("a", "int", version)), version)
    write(tmp_path, record(name="Account") | {"namespace": "bank"}, 1, "bank/Account")

    account, event = load(tmp_path)

    assert (account.name, event.name) == ("bank.Account", "shop.Event")
    assert [json.loads(schema.text)["fields"][0]["default"] for schema in event.versions] == list(range(1, 12))
    assert [file.name for file in event.files] == [f"v{n}.avsc" for n in range(1, 12)]
    assert [contract.name for contract in load(tmp_path, ["bank"])] == ["bank.Account"]


@pytest.mark.parametrize(
    ("place", "version", "schema", "word"),
    [
        ("shop/Event", 2, record(), "without a gap"),
        ("shop/Other", 1, record(), r"shop\.Event, its place says shop\.Other"),
        ("bank/Event", 1, record(), r"its place says bank\.Event"),
        ("shop/Event", "1b", record(), "not v<N>"),
        ("shop/Event", "01", record(), "not v<N>"),
        ("shop/Event", 1, "nope", "unknown type"),
        ("shop/Event", 1, record(("a", "nope")), "unknown type"),
    ],
)
def test_a_contract_out_of_place_is_refused(tmp_path: Path, place: str, version: int, schema: Any, word: str) -> None:
    file = write(tmp_path, schema, version, place)

    with pytest.raises(UsageError, match=word) as refused:
        load(tmp_path)
    assert str(file.parent) in refused.value.where


def test_no_contracts_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no contracts here"):
        load(tmp_path)
    write(tmp_path, record())
    with pytest.raises(UsageError, match="no contracts of bank here"):
        load(tmp_path, ["bank"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'\xef\xbb\xbf"int"', b"{"])
def test_a_file_that_is_no_text_or_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    file = write(tmp_path, record())
    file.write_bytes(content)

    with pytest.raises(UsageError) as refused:
        load(tmp_path)
    assert str(file) in refused.value.where


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """A folder of contracts inside a git checkout, two versions committed."""
    folder = tmp_path / "project" / "my schemas"
    write(folder, record(("a", "int")), 1)
    write(folder, record(("a", "int"), ("b", "int", 0)), 2)
    git(folder.parent, "init", "-q")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "-q", "-m", "contracts")
    return folder


def test_new_versions_and_white_space_are_no_change_of_a_merged_version(schemas: Path) -> None:
    write(schemas, record(("a", "int"), ("b", "int", 0), ("c", "int", 0)), 3)
    first = schemas / "shop/Event/v1.avsc"
    first.write_text(json.dumps(json.loads(first.read_text())))

    assert changed(schemas) == []


def test_a_rewritten_and_a_deleted_version_are_told(schemas: Path) -> None:
    first, second = schemas / "shop/Event/v1.avsc", schemas / "shop/Event/v2.avsc"
    first.write_text(json.dumps(record(("a", "long"))))
    second.unlink()

    assert changed(schemas) == [first, second]


def test_a_change_is_seen_against_the_base_even_after_it_is_committed(schemas: Path) -> None:
    first = write(schemas, record(("a", "long")), 1)
    git(schemas, "commit", "-q", "-a", "-m", "rewrite")

    assert changed(schemas) == []
    assert changed(schemas, "HEAD~1") == [first]
    with pytest.raises(UsageError, match="'nope' is no git revision"):
        changed(schemas, "nope")


def test_without_history_there_is_nothing_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, record())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert changed(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert changed(tmp_path) is None
