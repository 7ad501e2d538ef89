"""`streams replay` on a real cluster: the same handler over past records, and nothing of the live group touched."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from live.app import RAISE
from live.workers import Live
from typer.testing import CliRunner

from streams.cli import app
from streams.cli.moments import shown
from streams.errors import UsageError
from streams.record import RawRecord, TopicPartition
from streams.replay.job import parts_of
from streams.replay.run import Hearing, replay
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(8)]
EACH = 10
ALL = ("--from", "1970-01-01")


def run(live: Live, *arguments: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Run `streams replay`; return what it printed and what it told."""
    with live.run("replay", live.target, *arguments) as command:
        printed = command.output.read().decode().splitlines()
        assert command.wait(60) == code, command.log()
        assert "Traceback" not in command.log()
        return [json.loads(line) for line in printed], command.log()


def feed(live: Live, count: int, text: str = "") -> None:
    live.send(live.item(key, n, text) for n in range(count) for key in KEYS)


def work_off(live: Live, processor: str) -> None:
    with live.worker(processor) as worker:
        live.settle(processor)
        assert worker.end(signal.SIGTERM) == 143, worker.log()


def content(records: Iterable[RawRecord]) -> Counter[tuple[bytes | None, bytes | None, int]]:
    return Counter((record.key, record.value, record.timestamp_ms) for record in records)


def committed(live: Live, processor: str) -> dict[TopicPartition, int]:
    return live.admin.committed(f"{live.name}.{processor}")


class Kept:
    """An outlet that keeps the records."""

    def __init__(self) -> None:
        self.records: list[RawRecord] = []

    def send(self, outputs: Sequence[RawRecord]) -> None:
        self.records += outputs

    def commit(self, done: object) -> None:
        del done

    def abort(self) -> None:
        raise AssertionError("nothing refuses")


def own_topics(live: Live) -> dict[str, int]:
    """Return the topics of this test's app; others make theirs meanwhile."""
    return {name: count for name, count in live.admin.topics().items() if name.startswith(live.name)}


@pytest.mark.parametrize("processor", ["copy", "append"])
def test_a_replay_gives_byte_for_byte_what_the_live_run_published(live: Live, processor: str) -> None:
    live.deploy(processor)
    feed(live, EACH)
    work_off(live, processor)
    chosen = live.app.processors[processor]
    (output,) = chosen.outputs.values()
    published, before, topics = live.read(output.name), committed(live, processor), own_topics(live)
    changelog = live.read(f"{live.name}.append.histories.changelog") if chosen.stores else []

    outlet, advanced, failed = Kept(), Counter[str](), []
    held = live.admin.ranges(TopicPartition(chosen.source.name, number) for number in range(4))
    hearing = Hearing(failed.append, lambda count: advanced.update(offsets=count), lambda: False)
    counts = replay(chosen, parts_of(held, {}), outlet, None, live.settings, hearing)

    assert content(outlet.records) == content(published)
    assert len(published) == counts.records == counts.outputs == len(KEYS) * EACH
    assert failed == []
    assert advanced["offsets"] == sum(span.end - span.start for span in held.values())

    printed, told = run(live, "--processor", processor, *ALL)
    shown_live = [json.loads(line) for line in consumed(live, output.name)]
    assert by_text({**row, "partition": 0, "offset": 0} for row in printed) == by_text(
        {**row, "partition": 0, "offset": 0} for row in shown_live
    )
    assert "80 records, 80 outputs, 0 failed" in told
    assert committed(live, processor) == before
    assert own_topics(live) == topics
    assert live.read(output.name) == published
    assert not chosen.stores or live.read(f"{live.name}.append.histories.changelog") == changelog
    assert not [group for group in live.admin.groups() if group.startswith(f"{live.name}.{processor}.replay")]
    print(f"{len(published)} records compared")


def consumed(live: Live, topic: str) -> list[str]:
    with live.run("topic", "consume", topic) as command:
        return command.output.read().decode().splitlines()


def by_text(rows: Iterable[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in rows)


def test_times_and_a_key_bound_a_replay(live: Live) -> None:
    live.deploy("copy")
    began = int(time.time() * 1000) - 100_000
    live.send(live.item(key, n)._replace(timestamp_ms=began + n * 1000) for n in range(EACH) for key in KEYS)
    printed, _ = run(live, "--processor", "copy", "--from", shown(began + 3000), "--to", shown(began + 7000))
    assert Counter(row["value"]["n"] for row in printed) == dict.fromkeys([3, 4, 5, 6], len(KEYS))
    printed, _ = run(live, "--processor", "copy", "--from", shown(began + 3000), "--key", KEYS[2])
    assert [(row["key"], row["value"]["n"]) for row in printed] == [(KEYS[2], n) for n in range(3, EACH)]


def test_state_begins_empty_or_is_built_from_the_start(live: Live) -> None:
    live.deploy("append")
    began = int(time.time() * 1000) - 100_000
    live.send(live.item(key, n)._replace(timestamp_ms=began + n * 1000) for n in range(EACH) for key in KEYS)
    window = ("--from", shown(began + 6000), "--to", shown(began + 9000))
    empty, told = run(live, "--processor", "append", *window)
    assert "stores begin empty (histories)" in told
    assert Counter(row["value"]["size"] for row in empty) == dict.fromkeys([1, 2, 3], len(KEYS))
    built, told = run(live, "--processor", "append", *window, "--state-from-start")
    assert Counter(row["value"]["size"] for row in built) == dict.fromkeys([7, 8, 9], len(KEYS))
    assert {row["value"]["n"] for row in built} == {6, 7, 8}
    assert "24 records, 24 outputs" in told


def test_records_that_fail_are_listed_and_nothing_is_written(live: Live) -> None:
    live.deploy("copy")
    feed(live, 2)
    feed(live, 1, RAISE)
    live.send([live.item(KEYS[0], 9)._replace(value=b"poison")])
    printed, told = run(live, "--processor", "copy", *ALL, code=1)
    assert len(printed) == 2 * len(KEYS)
    assert told.count("failed: live") == len(KEYS) + 1
    assert "process: ValueError: item 0 is not welcome" in told
    assert "decode: bad-magic" in told
    assert f"{3 * len(KEYS) + 1} records, 16 outputs, 9 failed" in told
    assert live.read(f"{live.name}.copy.dlq") == []


def test_an_output_that_the_broker_refuses_is_found_and_the_others_are_published(live: Live) -> None:
    live.deploy("copy")
    feed(live, 2)
    live.send([live.item(KEYS[1], 7, "large")])
    feed(live, 2)
    _, told = run(live, "--processor", "copy", *ALL, "--publish", code=1)
    assert told.count("failed: live") == 1
    assert "send: " in told
    assert "33 records, 32 outputs, 1 failed" in told
    assert len(live.read(live.topic("copies"))) == 32


def test_everything_goes_to_another_topic_on_demand(live: Live) -> None:
    live.deploy("pair")
    feed(live, 2)
    elsewhere = live.topic("elsewhere")
    live.admin.create_topics([TopicSpec(elsewhere, 2, {})])
    run(live, "--processor", "pair", *ALL, "--to-topic", elsewhere)
    assert len(live.read(elsewhere)) == 4 * len(KEYS)
    assert live.read(live.topic("left")) == live.read(live.topic("right")) == []
    assert committed(live, "pair") == {}


@pytest.mark.parametrize("processor", ["copy", "append"])
def test_a_replay_that_was_killed_goes_on_and_publishes_each_once(live: Live, processor: str) -> None:
    live.deploy(processor)
    each = 8_000 if processor == "copy" else 300  # several transactions: of 10,000 outputs, or of a second
    feed(live, each)
    (output,) = live.app.processors[processor].outputs.values()
    arguments = ("replay", live.target, "--processor", processor, *ALL, "--publish", "--job", "again")
    kills = []
    for _ in range(2):
        with live.run(*arguments) as command:
            kills.append(await_place(live, f"{live.name}.{processor}.replay.again", sum(kills[-1:]), command))
            os.kill(command.process.pid, signal.SIGKILL)
            assert command.process.wait(10) == -signal.SIGKILL, "it was done before it was killed"
    _, told = run(live, *arguments[2:])
    records = live.read(output.name)
    reference = Kept()
    held = live.admin.ranges(TopicPartition(live.topic("items"), number) for number in range(4))
    chosen = live.app.processors[processor]
    replay(chosen, parts_of(held, {}), reference, None, live.settings, Hearing(print, lambda _: None, lambda: False))
    assert content(records) == content(reference.records)
    assert len(records) == each * len(KEYS)
    print(f"{len(records)} records compared, killed at {kills}")

    _, told = run(live, *arguments[2:])
    assert "0 records, 0 outputs" in told
    assert len(live.read(output.name)) == len(records)
    assert "was begun with --key None" in run(live, *arguments[2:], "--key", KEYS[0], code=2)[1]


def await_place(live: Live, group: str, before: int, command: Any) -> int:
    """Wait until a job has committed more offsets than before, and return how many."""
    deadline = time.monotonic() + 40
    while (found := sum(live.admin.committed(group).values())) <= before:
        assert time.monotonic() < deadline
        assert command.process.poll() is None, command.log()
    return found


def refused(live: Live, *arguments: str) -> str:
    """Run a command in this process, which has to end with exit 2, and return what it told."""
    ended = CliRunner().invoke(app, arguments, env=live.environment)
    assert ended.exit_code == 2 or isinstance(ended.exception, UsageError), ended.output
    return f"{ended.output}{ended.exception}"


SENSELESS = {
    ("--processor", "copy"): "Missing option",
    ("--processor", "nobody", *ALL): "has no processor 'nobody'",
    ("--processor", "copy", "--from", "tomorrow"): "not a point in time",
    ("--processor", "copy", "--from", "2999-01-01"): "lies in the future",
    ("--processor", "copy", "--from", "-1h", "--to", "-2h"): "is not before --to",
    ("--processor", "copy", *ALL, "--job", "a"): "keeps no place to go on from",
    ("--processor", "copy", *ALL, "--job", "a/b", "--publish"): "cannot name a job",
    ("--processor", "copy", *ALL, "--publish", "--to-topic", "x"): "name two places",
    ("--processor", "copy", *ALL, "--to-topic", "nobody"): "there is no topic nobody",
    ("--processor", "copy", *ALL, "--effects"): "has no effects",
}


def test_what_makes_no_sense_is_exit_2(live: Live) -> None:
    live.deploy("copy")
    for arguments, told in SENSELESS.items():
        assert told in refused(live, "replay", live.target, *arguments)
    own = ("--processor", "copy", *ALL, "--to-topic", live.topic("items"))
    assert "is read by the processor itself" in refused(live, "replay", live.target, *own)
    print(f"{len(SENSELESS) + 1} refused")
