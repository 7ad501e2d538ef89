"""The language of `--where`: what it says, what it refuses before anything is read, and that nothing gets out of it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.moments import milliseconds
from streams.dlq.fields import LETTER_NAMES, now_ms, where
from streams.dlq.where import MOST_CHARACTERS, Where
from streams.errors import UsageError

FIELDS: dict[str, Any] = {
    "value": {
        "n": 5,
        "price": 2.5,
        "text": "größer",
        "paid": True,
        "nothing": None,
        "items": {"keys": [1, {"deep": "x"}], "from": 1},
        "amount": "12.50",
        "__class__": "field",
    },
    "key": "k1",
    "headers": {"content-type": "json"},
    "error": {"kind": "ValueError", "message": "bad total", "time": 1_700_000_000_000, "attempts": 6},
    "stage": "process",
    "redrives": 0,
}


def language(text: str) -> Where:
    return where(text, LETTER_NAMES, lambda moment: milliseconds(moment, "time", now_ms()))


@pytest.mark.parametrize(
    "text",
    [
        "value.n == 5",
        "value.n > 2 and value.price < 10 or false",
        "1 < value.n <= 5",
        "not value.n == 6",
        "-value.n < -4.5",
        'value.text == "größer" and lower("GRÖSSER") != value.text',
        "value.paid",
        "value.nothing == null and value.paid == true",
        "value.items.keys[1].deep == 'x'",
        'value.items["from"] == 1',
        'headers["content-type"] == "json"',
        'error.kind in ["ValueError", "KeyError"] and "total" in error.message',
        'key not in ("k2", "k3")',
        'startswith(error.message, "bad") and endswith(key, "1")',
        "number(value.amount) > 12 and len(value.items.keys) == 2",
        'error.time >= time("2023-11-14T22:13:20") and error.time < time("2023-11-15")',
        'value.__class__ == "field"',
        " \n value.n == 5 ",
        '"\\d" != key',
    ],
)
def test_what_it_says(text: str) -> None:
    expression = language(text)
    assert expression.matches(FIELDS) is True
    assert not expression.left_out
    assert language(f"not ({text.strip()})").matches(FIELDS) is False


@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("value.n >", 10, "write it as in"),
        ("valeu.n > 1", 1, "did you mean value?"),
        ('key == "ä" and error.knd == 1', 16, "did you mean error.kind?"),
        ("total > 1", 1, "a field of the record is value.total"),
        ("value.n == 5 and value.n ** 9 ** 9 > 1", 18, "there is no arithmetic"),
        ('key * 1000000000 == "k"', 1, "there is no arithmetic"),
        ("value.a is null", 1, "write == null"),
        ("value.n = 5", 1, "write == to compare"),
        ("value.n == 5 && true", 15, "write and, or, not"),
        ("value.from == 5", 7, 'value["from"]'),
        ("lenn(key) > 1", 1, "did you mean len?"),
        ("value.text.upper() == key", 1, "there is no function value.text.upper"),
        ("().__class__.__bases__[0].__subclasses__()", 1, "there is no function"),
        ("startswith(key)", 1, "missing a required argument: 'start'"),
        ("len(key, 2)", 1, "too many positional arguments"),
        ("len(obj=key)", 1, "arguments have no names"),
        ('time("yesterday") > 1', 1, "not a point in time"),
        ("time(5) > 1", 1, "int is not text"),
        ("[x for x in value]", 1, "ListComp is not part of it"),
        ("lambda: 1", 1, "Lambda is not part of it"),
        ('f"{value}" == key', 1, "JoinedStr is not part of it"),
        ("value.text[1:2] == key", 12, "Slice is not part of it"),
        ("__import__('os')", 1, "there is no function __import__"),
        ('key == b"x"', 8, "is not part of it"),
        ("key == 1j", 8, "is not part of it"),
        ("true; false", 1, "this is not one expression"),
        ("import os", 1, "this is not one expression"),
        ("", 1, "this is not one expression"),
        ("(x := 5) == 5", 2, "write == to compare"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, place: int, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        language(text)
    assert told in str(raised.value)
    assert raised.value.where.splitlines()[0] == f"character {place}"


@pytest.mark.parametrize(
    "text", ["x" * (MOST_CHARACTERS + 1), "(" * 900 + "1" + ")" * 900, "not " * 490 + "true", "-" * 1_900 + "1", "\0"]
)
def test_what_is_too_much_is_refused_or_done_in_no_time(text: str) -> None:
    began = time.process_time()
    with suppress(UsageError):
        language(text).matches(FIELDS)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("value.missing == 1", "there is no field missing"),
        ("value.nothing.more == 1", "NoneType"),
        ("value.text < 5", "not supported between"),
        ("value.items.keys[7] == 1", "out of range"),
        ("value.n", "neither true nor false but int"),
        ("lower(value.n) == key", "int is not text"),
        ("number(value.text) > 1", "could not convert"),
        ("topic == key", "not defined"),
        ("time(value.text) > 1", "not a point in time"),
    ],
)
def test_a_record_that_it_cannot_be_applied_to_does_not_match_and_is_counted(text: str, why: str) -> None:
    expression = language(text)
    assert [expression.matches(FIELDS) for _ in range(3)] == [False] * 3
    ((told, count),) = expression.left_out.items()
    assert why in told
    assert count == 3


def test_reasons_are_bounded() -> None:
    expression = language("number(value.text) > 1")
    for number in range(100):
        expression.matches({"value": {"text": f"x{number}"}})
    assert expression.left_out.total() == 100
    assert len(expression.left_out) == 21


def test_a_deep_value_is_no_harm() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    expression = language("value.deep == 1")
    assert expression.matches({"value": {"deep": deep}}) is False
    assert expression.left_out.total() == 1


def test_it_says_which_fields_it_needs() -> None:
    assert language('error.kind == "x" and stage == "y" and null == null').uses == {"error", "stage"}


@given(st.text(max_size=60) | st.text("value.n()[]'\"=<> andornotin0123*+-:,_", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert language(text).matches(FIELDS) in {True, False}
