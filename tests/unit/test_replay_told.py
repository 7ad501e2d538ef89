"""What a replay prints and tells: outputs once they count, failures by their reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.cli.replay import PrintOutlet, _Refusals
from streams.dlq.groups import MOST_GROUPS
from streams.errors import HandlerError
from streams.record import RawRecord, Record


class Plain:
    """A describer without a registry."""

    def describe(self, record: RawRecord) -> dict[str, Any]:
        return {"key": (record.key or b"").decode(), "partition": record.partition, "offset": record.offset}


def output(key: str) -> RawRecord:
    return Record("out", key.encode(), b"v", 0)


def test_outputs_are_printed_once_although_a_transaction_is_done_again(capsys: pytest.CaptureFixture[str]) -> None:
    outlet = PrintOutlet(Plain())  # type: ignore[arg-type] # a double
    outlet.send([output("a"), output("b")])
    assert capsys.readouterr().out == ""
    outlet.abort()
    outlet.send([output("a")])
    outlet.commit({})
    outlet.send([output("b")])
    outlet.commit({})
    outlet.commit({})

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"key": "a"}, {"key": "b"}]


def refused(text: str) -> tuple[RawRecord, HandlerError]:
    error = HandlerError()
    error.__cause__ = ValueError(text)
    return output("a"), error


def test_failures_are_counted_by_what_they_have_in_common(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = _Refusals()
    for n in range(5_000):
        refusals(refused(f"item {n} is not welcome"))
    refusals.summary()

    assert dict(refusals.reasons) == {"process: ValueError: item <n> is not welcome": 5_000}
    told = capsys.readouterr().err
    assert "item 0 is not welcome" in told
    assert "    5,000  process: ValueError: item <n> is not welcome" in told


def test_messages_without_end_share_a_count() -> None:
    refusals = _Refusals()
    for n in range(2 * MOST_GROUPS):
        refusals(refused("x" * (n % 150) + "y" * (n // 150)))

    assert len(refusals.reasons) == MOST_GROUPS + 1
    assert refusals.reasons.total() == 2 * MOST_GROUPS
