import json
from pathlib import Path
from typing import Any

import pytest

from streams.avro.compatibility import Level
from streams.cli.schema import app, register_contracts
from streams.errors import IncompatibleError, StreamsError, UsageError
from streams.testing.conformance.random_contracts import model_of, record


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "schemas"
    write(folder, record(("a", "int")), 1)
    write(folder, record(("a", "int"), ("b", "int", 0)), 2)
    return folder


def write(folder: Path, schema: Any, version: int) -> Path:
    file = folder / "shop/Event" / f"v{version}.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema), encoding="utf-8")
    return file


def run(*arguments: str) -> None:
    app(list(arguments), standalone_mode=False)


def test_generate_writes_and_check_is_content(schemas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas
    run("generate", "--out", "events.py")
    run("generate", "--out", "events.py", "--check")

    assert "class Event(AvroModel)" in Path("events.py").read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [None, "", "# edited\n"])
def test_check_refuses_a_stale_module_and_says_what_to_run(schemas: Path, content: str | None) -> None:
    out = Path("events.py")
    if content is not None:
        run("generate", "--out", "events.py", "--version", "Event=1")
        out.write_text(out.read_text() + content if content else out.read_text())

    with pytest.raises(IncompatibleError) as stale:
        run("generate", "--out", "events.py", "--check", "--schemas", "schemas", "--namespace", "shop")

    assert stale.value.exit_code == 4
    assert stale.value.fix == "streams schema generate --out events.py --namespace shop"
    assert schemas.exists()
    assert out.exists() == (content is not None)


@pytest.mark.parametrize(
    "text", ["Event", "Event=", "=1", "Event=x", "Event=-1", "Event=²", "Event=0", "Event=3", "Other=1"]
)
def test_a_version_that_is_none_is_refused(schemas: Path, text: str) -> None:
    assert schemas
    with pytest.raises(UsageError):
        run("generate", "--out", "events.py", "--version", text)


def test_check_counts_what_it_compared(schemas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas
    run("check")
    run("check", "--level", "full")

    told = capsys.readouterr()
    assert "1 contracts, 3 pairs of versions compared at level BACKWARD" in told.err
    assert "1 contracts, 4 pairs of versions compared at level FULL" in told.err
    assert told.out == ""


def test_check_tells_every_break_with_file_place_and_remedy(schemas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(schemas, record(("a", "string"), ("c", "int")), 3)

    with pytest.raises(IncompatibleError) as broken:
        run("check")

    assert broken.value.exit_code == 4
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("schemas/shop/Event/v3.avsc/fields/0/type: v3 reading records of v2: string cannot be")
    assert "/fields/1: v3 reading records of v2: field c has no default" in lines[1]
    assert "give c a default" in lines[1]


def test_check_of_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StreamsError):
        run("check")


class Notes:
    """A registry that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def register(self, subject: str, versions: tuple[str, ...], level: str) -> list[int]:
        self.told.append((subject, versions, level))
        return [4, 5][: len(versions)]


def test_all_versions_of_an_app_s_contracts_are_registered(capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of(record(), record(("a", "int", 0)))
    registry = Notes()

    register_contracts(registry, [("orders-value", model), ("names-value", str)], Level.FULL)  # type: ignore[arg-type] # wrong on purpose

    texts = model.__avro_versions__
    assert registry.told == [("orders-value", texts, "FULL"), ("names-value", ('"string"',), "FULL")]
    assert capsys.readouterr().out == "orders-value\t4 5\nnames-value\t4\n"
