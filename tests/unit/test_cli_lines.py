"""Lines of JSON to records, and records to lines: what is told of a bad one, and that nothing gets lost on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.avro.schema import Schema
from streams.avro.to_json import frame_to_json
from streams.cli import produce
from streams.cli.envelope import Describer
from streams.cli.lines import Contract, Lines
from streams.errors import EncodeError, StreamsError, UsageError
from streams.record import RawRecord, Record

FIELDS = [("id", "long"), ("name", "string"), ("raw", "bytes"), ("price", "double"), ("tag", ["null", "string"])]
SCHEMA = Schema(
    json.dumps({"type": "record", "name": "Item", "fields": [{"name": name, "type": kind} for name, kind in FIELDS]})
)
ITEM = {"id": 7, "name": "x", "raw": {"base64": "AP8="}, "price": 1.5, "tag": None}


class Schemas:
    """A registry that knows one schema."""

    def schema(self, schema_id: int) -> str:
        assert schema_id == 5
        return SCHEMA.text


def lines(*, key: str | None = None, envelope: bool = False) -> Lines:
    return Lines("items", Contract(SCHEMA, 5, key), envelope=envelope)


def printed(record: RawRecord) -> bytes:
    described = Describer(Schemas()).describe(record)  # type: ignore[arg-type] # a double
    return json.dumps(described, ensure_ascii=False, allow_nan=False).encode()


FRAME = lines().record(json.dumps(ITEM).encode()).value


@given(
    st.none() | st.binary(max_size=12) | st.text(max_size=4).map(str.encode) | st.integers(0, 99).map(b"%08d".__mod__),
    st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=5)), max_size=4),
    st.integers(0, 1 << 42),
    st.sampled_from([None, FRAME]),
)
def test_whatever_a_record_is_it_comes_back_from_what_is_printed(
    key: bytes | None, headers: list[tuple[str, bytes | None]], timestamp_ms: int, value: bytes | None
) -> None:
    record = Record("items", key, value, timestamp_ms, 3, 14, tuple(headers))
    found = lines(envelope=True).record(printed(record))
    assert found == record._replace(partition=-1, offset=-1)


@pytest.mark.parametrize(
    ("field", "key"), [("id", b"\0\0\0\0\0\0\0\7"), ("name", b"x"), ("raw", b"\x00\xff"), (None, None)]
)
def test_a_key_is_a_field_of_the_value(field: str | None, key: bytes | None) -> None:
    assert lines(key=field).record(json.dumps(ITEM).encode()).key == key


@pytest.mark.parametrize(
    ("field", "told"),
    [("price", "cannot be a key"), ("tag", "cannot be a key"), ("nmae", "is no field of Item")],
)
def test_a_field_that_cannot_be_a_key_is_refused_before_anything_is_read(field: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        lines(key=field)
    assert refused.value.fix == "use one of id, name, raw"


def test_a_key_of_the_value_beats_that_of_the_envelope_and_a_tombstone_keeps_its_own() -> None:
    keyed = lines(key="name", envelope=True)
    assert keyed.record(json.dumps({"key": "other", "value": ITEM}).encode()).key == b"x"
    assert keyed.record(b'{"key": "gone", "value": null}')[1:3] == (b"gone", None)
    with pytest.raises(EncodeError, match="a tombstone has no field 'name'"):
        keyed.record(b'{"value": null}')


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"id": NaN}', 'NaN is not JSON; write "NaN"'),
        (b'{"id": 1, "id": 2}', "the key 'id' occurs twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 5_000, "not JSON"),
        (b"null", "null is not an object"),
        (b"{}", "Item needs a field 'id'"),
        (json.dumps({**ITEM, "id": "7"}).encode(), '/id: "7" is not a whole long'),
        (printed(Record("items", None, FRAME, 0, 0, 0)), "use --envelope"),
    ],
)
def test_a_bad_value_is_refused_with_its_reason(line: bytes, told: str) -> None:
    with pytest.raises(EncodeError) as refused:
        lines().record(line)
    assert told in str(refused.value)


def test_a_number_keeps_its_digits_where_a_float_would_not() -> None:
    price = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
    schema = Schema(json.dumps({"type": "record", "name": "Sale", "fields": [{"name": "price", "type": price}]}))
    record = Lines("sales", Contract(schema, 5, None), envelope=False).record(b'{"price": 123456789012345678.90}')
    assert frame_to_json(schema.text, record.value or b"") == {"price": "123456789012345678.90"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (5, "without --envelope a line is a value"),
        (ITEM, "without --envelope a line is a value"),
        ({"value": ITEM, "vlaue": 1}, "a record has no 'vlaue'"),
        ({"value": {"base64": "AA=="}, "error": "bad-magic: x"}, "was not decoded where it was read: bad-magic"),
        ({"value": {}}, "Item needs a field 'id'"),
        ({"value": ITEM, "key": 1 << 63}, "the key: "),
        ({"value": ITEM, "key": 1.5}, "the key: "),
        ({"value": ITEM, "key": {"base64": "?"}}, "the key: '?' is not base64"),
        ({"value": ITEM, "timestamp_ms": "now"}, "timestamp_ms 'now'"),
        ({"value": ITEM, "timestamp_ms": -5}, "timestamp_ms -5"),
        ({"value": ITEM, "headers": "x"}, "headers are an object"),
        ({"value": ITEM, "headers": {"a": 5}}, "header 'a'"),
        ({"value": ITEM, "headers": [["a"]]}, "header ['a'] is not"),
    ],
)
def test_a_bad_envelope_is_refused_with_its_reason(data: Any, told: str) -> None:
    with pytest.raises(EncodeError) as refused:
        lines(envelope=True).record(json.dumps(data).encode())
    assert told in str(refused.value)


def test_a_value_that_does_not_decode_is_shown_as_bytes_with_the_reason() -> None:
    shown = json.loads(printed(Record("items", None, b"\x07junk", 0, 0, 0)))
    assert shown["value"] == {"base64": "B2p1bms="}
    assert "bad-magic" in shown["error"]


class Broker:
    """Takes records and acknowledges them when it is flushed."""

    def __init__(self) -> None:
        self.sent: list[tuple[RawRecord, str]] = []
        self.acknowledged = 0

    def send(self, records: Iterable[RawRecord], origin: str) -> None:
        self.sent += [(record, origin) for record in records]

    def flush(self) -> None:
        self.acknowledged = len(self.sent)


@pytest.mark.parametrize(
    ("skip_bad", "sent", "bad"), [(False, ["line 1", "line 3"], [4]), (True, ["line 1", "line 3", "line 6"], [4, 5])]
)
def test_lines_up_to_a_bad_one_are_sent_and_counted(
    capsys: pytest.CaptureFixture[str], *, skip_bad: bool, sent: list[str], bad: list[int]
) -> None:
    good, broker = json.dumps(ITEM) + "\n", Broker()
    source = io.BytesIO(f"{good}\n{good}{{}}\n[]\n{good}".encode())
    assert produce._send(broker, lines(), source, skip_bad=skip_bad) == bad  # type: ignore[arg-type] # a double
    assert [origin for _, origin in broker.sent] == sent
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told[:-1]] == [f"line {number}" for number in bad]
    assert told[-1] == f"{len(sent)} records sent, {len(sent)} acknowledged"


def test_what_was_sent_is_counted_when_the_broker_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    class Refusing(Broker):
        def send(self, records: Iterable[RawRecord], origin: str) -> None:
            super().send(records, origin)
            if origin == "line 2":
                raise StreamsError("too large")

        def flush(self) -> None:
            self.acknowledged = 1

    source = io.BytesIO((json.dumps(ITEM) + "\n").encode() * 3)
    with pytest.raises(StreamsError, match="too large"):
        produce._send(Refusing(), lines(), source, skip_bad=False)  # type: ignore[arg-type] # a double
    assert capsys.readouterr().err == "2 records sent, 1 acknowledged\n"
