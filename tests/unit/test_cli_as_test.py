"""From a record to a test of the app: the file is well-formed, says the record's bytes, and fails while it should."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import Item

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import UnknownIdError
from streams.cli.as_test import MOST_RECORDS, Plan, plan, write_test
from streams.cli.literals import literal
from streams.errors import HandlerError, UsageError
from streams.failures.dead_letters import Refusal, dead_letter
from streams.load import load_app
from streams.record import RawRecord, Record

APP = """
from streams import SKIP, App, Context
from rig import Item

app = App("shop")
orders = app.topic("orders", Item, key="key")
others = app.topic("others", Item, key="key")
shipped = app.topic("shipped", Item, key="key")

@app.processor(orders, to=shipped)
def ship(item: Item, ctx: Context) -> Item:
    if item.n == 13:
        raise ValueError(f'item {item.key} has a "bad" number\\\\n')
    return item

@app.processor(others)
def one(item: Item, ctx: Context) -> None: ...

@app.processor(others)
def two(item: Item, ctx: Context) -> None: ...

@app.processor(shipped, on_failure=SKIP)
def careless(item: Item, ctx: Context) -> None: ...
"""
ID = 3


class Schemas:
    """A registry that knows one schema."""

    def schema(self, schema_id: int) -> str:
        if schema_id != ID:
            raise UnknownIdError(f"no schema has the id {schema_id}")
        return schema_of(Item).text


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "as_test_shop.py").write_text(APP)
    yield tmp_path
    sys.modules.pop("as_test_shop", None)


def planned(file: Path, processor: str | None = None, **options: Any) -> Plan:
    return plan(file, "as_test_shop:app", processor, **{"force": False, "follow": False, **options})


def order(n: int, topic: str = "orders", **more: Any) -> RawRecord:
    (frame,) = Codec(Item, ID).encode([Item(key=f"k{n}", n=n)])
    return Record(topic, f"k{n}".encode(), frame, 1_700_000_000_000 + n, 1, n, **more)


def refused(record: RawRecord) -> RawRecord:
    error = HandlerError()
    error.__cause__ = ValueError('a "bad" \\ number\nand more')
    letter = dead_letter(record, Refusal(error, "shop.ship", "shop.ship", 1, 0), "shop.ship.dlq")
    return letter._replace(partition=1, offset=0)


def written(folder: Path, records: Sequence[RawRecord], processor: str | None = None) -> Path:
    file = folder / "test_written.py"
    assert write_test(planned(file, processor), records, Schemas()) == len(records)  # type: ignore[arg-type] # a double
    return file


def run_pytest(file: Path) -> str:
    """Run a file as its reader would; return what pytest says."""
    path = os.pathsep.join([str(file.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file.name],
        cwd=file.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def records_in(file: Path) -> list[RawRecord]:
    space: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    found: list[RawRecord] = space["RECORDS"]
    assert space["SCHEMAS"] == ({ID: schema_of(Item).text} if any(r.value for r in found) else {})
    return found


def test_a_dead_letter_becomes_a_test_that_fails_until_the_handler_is_mended(folder: Path) -> None:
    record = order(13, headers=(("trace", b"\x00\xff'\""), ("none", None)))
    file = written(folder, [refused(record)])

    assert records_in(file) == [record]
    assert "It FAILS until the handler is mended" in file.read_text()
    assert "orders[1] offset 13: ValueError: a 'bad' / number\n" in file.read_text()
    said = run_pytest(file)
    assert "1 failed" in said
    assert 'item k13 has a "bad" number' in said
    (folder / "as_test_shop.py").write_text(APP.replace("item.n == 13", "item.n == 14"))
    assert "1 passed" in run_pytest(file)


def test_ordinary_records_become_cases_that_pass(folder: Path) -> None:
    records = [order(1), order(2), order(3)._replace(value=None), order(4, headers=(("a", b"1"), ("a", b"2")))]
    file = written(folder, records)
    assert records_in(file) == records
    assert 'driver.published(topics["shipped"])' in file.read_text()
    assert "4 passed" in run_pytest(file)


def test_a_value_that_is_no_frame_or_names_no_schema_is_a_case_all_the_same(folder: Path) -> None:
    junk = [order(1)._replace(value=b"\x07junk"), order(2)._replace(value=b"\0\0\0\0\x63x", offset=3)]
    file = folder / "test_written.py"
    write_test(planned(file), [refused(record) for record in junk], Schemas())  # type: ignore[arg-type] # a double
    assert "2 failed" in run_pytest(file)


def test_the_file_is_formatted_linted_and_the_same_every_time(folder: Path) -> None:
    long = order(5)._replace(value=bytes(range(256)) * 3, headers=(("trace" * 40, b"'" * 200), ("quote", b'"')))
    file = written(folder, [refused(order(13)), refused(long)], "ship")
    first = file.read_text()
    for width in ("88", "120"):
        formatted = [sys.executable, "-m", "ruff", "format", "--isolated", "--check", "--line-length", width, str(file)]
        assert subprocess.run(formatted, capture_output=True, check=False).returncode == 0, width
    linted = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E4,E7,E9,F,I,B,PT,UP",
        "--config",
        "src=['.']",
        str(file),
    ]
    assert subprocess.run(linted, capture_output=True, check=False).returncode == 0
    file.unlink()
    assert written(folder, [refused(order(13)), refused(long)], "ship").read_text() == first


@given(st.text() | st.binary() | st.text("\\'\"\n\t ", max_size=200) | st.text(min_size=100, max_size=300))
def test_a_literal_is_the_value(value: str | bytes) -> None:
    for indent in (0, 8):
        assert ast.literal_eval(literal(value, "value=", indent)) == value


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"follow": True}, "would never end"),
        ({"processor": "shipp"}, "use one of careless, one, ship, two"),
    ],
)
def test_what_cannot_become_a_test_is_told_before_anything_is_read(
    folder: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError) as wrong:
        planned(folder / "test_new.py", **options)
    assert told in str(wrong.value)
    with pytest.raises(UsageError, match="needs the app"):
        plan(folder / "test_new.py", None, None, force=False, follow=False)


def test_a_file_that_exists_is_not_replaced_unasked(folder: Path) -> None:
    file = written(folder, [order(1)])
    before = file.read_text()
    with pytest.raises(UsageError, match="exists already"):
        planned(file)
    assert file.read_text() == before
    write_test(planned(file, force=True), [order(2)], Schemas())  # type: ignore[arg-type] # a double
    assert records_in(file) == [order(2)]


@pytest.mark.parametrize(
    ("records", "processor", "told"),
    [
        ([], None, "there is no record"),
        ([order(n) for n in range(MOST_RECORDS + 1)], None, f"more than {MOST_RECORDS} records"),
        ([order(1, "elsewhere")], None, "no processor of as_test_shop:app reads elsewhere"),
        ([order(1, "others")], None, "several processors read others: one, two"),
        ([order(1, "others")], "ship", "ship does not read others"),
        ([order(1, "shipped")], None, "careless skips what it refuses"),
        ([refused(order(1))._replace(topic="shop.gone.dlq")], None, "has its dead letters in shop.gone.dlq"),
        ([refused(order(1, "others"))], None, "the record comes from others, and ship reads orders"),
        ([refused(order(1)), order(2, "shop.ship.dlq")], None, "shop.ship.dlq[1] offset 2 is no dead letter of ours"),
    ],
)
def test_records_that_make_no_test_are_told_and_nothing_is_written(
    folder: Path, records: list[RawRecord], processor: str | None, told: str
) -> None:
    file = folder / "test_new.py"
    with pytest.raises(UsageError) as wrong:
        write_test(planned(file, processor), records, Schemas())  # type: ignore[arg-type] # a double
    assert told in str(wrong.value)
    assert not file.exists()


def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_test(planned(folder / "nowhere" / "test_new.py"), [order(1)], Schemas())  # type: ignore[arg-type] # a double


def test_ids_of_a_real_registry_never_mean_another_schema_in_memory() -> None:
    with load_app("as_test_shop:app").test() as driver:
        for schema_id in range(1, 100):
            driver.learn_schema(schema_id, '"string"')
        with pytest.raises(UsageError, match="stands for another schema already"):
            driver.learn_schema(5, '"long"')
