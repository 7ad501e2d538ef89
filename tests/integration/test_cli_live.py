"""The command line against a real cluster: what people and programs see, and how workers end."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from live.events import Kind, Measured
from live.workers import Live

from streams.record import Record

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(20)]
ENDS_WITHIN = 10.0  # seconds
SENSORS = [7, -1, 2**40]


def output(live: Live, *arguments: str, code: int = 0) -> list[str]:
    """Run a command and return the lines of its stdout."""
    with live.run(*arguments) as command:
        printed = command.output.read().decode()
        assert command.wait(30) == code, command.log()
        assert "Traceback" not in command.log()
    return printed.splitlines()


def rows(live: Live, *arguments: str) -> list[dict[str, Any]]:
    """Run a command and return its JSON lines; anything else on stdout is an error."""
    return [json.loads(line) for line in output(live, *arguments)]


def items(live: Live, first: int, count: int) -> None:
    live.send(live.item(KEYS[n % len(KEYS)], n) for n in range(first, first + count))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_commits_what_is_done_and_ends(live: Live, number: signal.Signals, code: int) -> None:
    live.deploy("copy")
    live.environment["STREAMS_COMMIT_INTERVAL"] = "3s"
    with live.worker("copy") as worker:
        items(live, 0, 100)
        live.settle("copy")
        items(live, 100, 100)
        time.sleep(1)
        assert sum(live.lag("copy").values()) > 0, "the records have to wait for their commit when the signal comes"
        began = time.monotonic()
        assert worker.end(number) == code
        assert time.monotonic() - began < ENDS_WITHIN
        assert worker.output.read() == b""
    assert sum(live.lag("copy").values()) == 0
    assert sorted(item.n for item in live.items(live.topic("copies"))) == list(range(200))


def members(live: Live, group: str) -> Counter[str]:
    """Count the partitions of each member of a group."""
    return Counter(row["member"] for row in rows(live, "group", "describe", group, "--output", "json"))


def await_members(live: Live, group: str, count: int) -> Counter[str]:
    deadline = time.monotonic() + 30
    while len(found := members(live, group)) != count or None in found:
        assert time.monotonic() < deadline, found
    return found


def test_workers_of_a_processor_share_its_partitions_and_slots(live: Live) -> None:
    live.deploy("copy", "skip")
    group = f"{live.name}.copy"
    with live.worker("copy", "skip", more=["--workers", "2"]):
        items(live, 0, 100)
        live.settle("copy")
        live.settle("skip")
        two = await_members(live, group, 2)
        assert sorted(two.values()) == [2, 2]
        with live.worker("copy") as more:
            three = await_members(live, group, 3)
            assert sorted(three.values()) == [1, 1, 2]
            assert set(two) < set(three)
            assert more.end(signal.SIGTERM) == 143
    slots = sorted(path.name for path in (live.settings.state_dir / live.name / "copy").iterdir())
    assert slots == ["slot-0", "slot-1", "slot-2"]
    listed = {row["group"] for row in rows(live, "group", "list", "--output", "json")}
    assert {group for group in listed if group.startswith(live.name)} == {f"{live.name}.copy", f"{live.name}.skip"}


def test_an_idle_group_has_no_lag_behind_a_transaction_marker(live: Live) -> None:
    live.deploy("copy", "follow")
    with live.worker("copy", "follow"):
        items(live, 0, 100)
        live.settle("copy")
        live.settle("follow")

    described = rows(live, "group", "describe", f"{live.name}.follow", "--output", "json")
    assert [row["partition"] for row in described] == [0, 1, 2, 3]
    assert {row["topic"] for row in described} == {live.topic("copies")}
    assert all(row["lag"] == 0 and row["committed"] == row["end"] > 0 for row in described)
    assert sum(row["end"] for row in described) > 100, "there are markers behind the 100 records"
    table = "\n".join(output(live, "group", "describe", f"{live.name}.follow"))
    assert live.topic("copies") in table
    assert output(live, "group", "describe", "nobody", code=2) == []


def measured(sensor: int, **changes: Any) -> Measured:
    value = {
        "sensor": sensor,
        "at": datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC),
        "day": date(2026, 2, 3),
        "price": Decimal("12.500"),
        "tag": UUID(int=5),
        "raw": b"\x00\xff",
        "kind": Kind.HOT,
        "note": None,
        "labels": {"room": "größer"},
    }
    return Measured(**{**value, **changes})


def test_an_app_is_deployed_and_its_records_are_read_by_the_command_line(live: Live) -> None:
    specs = {spec.name for spec in live.app.topics()}
    assert output(live, "topic", "create", live.target) == sorted(specs)
    assert output(live, "topic", "create", live.target) == []
    registered = output(live, "schema", "register", live.target)
    assert {line.split("\t")[0] for line in registered} == {subject for subject, _ in live.app.contracts()}
    assert all(int(line.split("\t")[1]) > 0 for line in registered)
    assert output(live, "schema", "register", live.target) == registered

    topic = next(topic for topic in live.app._topics.values() if topic.model is Measured)
    live.publish(topic, [measured(sensor, note=f"note {sensor}") for sensor in SENSORS])
    live.send([Record(topic.name, None, b"\x07junk", 1_000, headers=(("trace", b"7"),))])

    listed = {row["topic"]: row for row in rows(live, "topic", "list", "--output", "json")}
    assert specs <= set(listed)
    assert listed[topic.name] == {"topic": topic.name, "partitions": 4, "offsets": 4}
    shown = rows(live, "topic", "consume", topic.name)
    assert len(shown) == 4
    by_key = {row["key"]: row for row in shown}
    assert set(by_key) == {*SENSORS, None}
    assert by_key[7]["value"] == {
        "sensor": 7,
        "at": "2026-02-03T04:05:06.789000+00:00",
        "day": "2026-02-03",
        "price": "12.500",
        "tag": str(UUID(int=5)),
        "raw": {"base64": "AP8="},
        "kind": "HOT",
        "note": "note 7",
        "labels": {"room": "größer"},
    }
    assert "bad-magic" in by_key[None]["error"]
    assert by_key[None]["value"] == {"base64": "B2p1bms="}
    assert by_key[None]["headers"] == {"trace": "7"}
    assert by_key[None]["timestamp_ms"] == 1_000


def test_records_are_shown_by_partition_and_offset(live: Live) -> None:
    live.deploy("copy")
    items(live, 0, 200)
    topic = live.topic("items")

    shown = rows(live, "topic", "consume", topic)
    assert sorted(row["value"]["n"] for row in shown) == list(range(200))
    assert {row["key"] for row in shown} == set(KEYS)
    for partition in range(4):
        found = [row["offset"] for row in shown if row["partition"] == partition]
        assert found == list(range(len(found)))
        alone = rows(live, "topic", "consume", topic, "--partition", str(partition))
        assert alone == [row for row in shown if row["partition"] == partition]
    assert len(rows(live, "topic", "consume", topic, "-n", "3")) == 3
    last = rows(live, "topic", "consume", topic, "--partition", "0", "--offset", "-1")
    assert last == [row for row in shown if row["partition"] == 0][-1:]
    assert output(live, "topic", "consume", topic, "--offset", "end") == []
    assert output(live, "topic", "consume", f"{topic}-none", code=2) == []


def test_a_reader_that_has_enough_is_no_error(live: Live) -> None:
    live.deploy("copy")
    items(live, 0, 5_000)
    consume = shlex.join([sys.executable, "-m", "streams", "topic", "consume", live.topic("items")])
    run = subprocess.run(
        ["sh", "-c", f"{consume} | head -n 1"],
        env=live.full_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert len(run.stdout.splitlines()) == 1
    assert json.loads(run.stdout)["topic"] == live.topic("items")
    assert run.stderr == ""
