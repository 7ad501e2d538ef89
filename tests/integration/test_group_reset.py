"""`streams group reset` on a real cluster: workers go on where it says, with the state that belongs there."""

from __future__ import annotations

import json
import shlex
import signal
import time
from collections import defaultdict
from typing import Any

import pytest
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient
from live.app import RAISE, digest
from live.events import Appended
from live.workers import Live
from typer.testing import CliRunner

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.cli import app
from streams.cli.moments import shown
from streams.errors import IncompatibleError, UsageError
from streams.record import TopicPartition
from streams.replay.moves import Destination, Kind
from streams.replay.reset import Reset
from streams.replay.subject import subject_of

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(8)]
EACH = 10
WAIT = ("--wait", "20s")  # a static member counts until its session times out, 6 s here


def reset(live: Live, *arguments: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Run `streams group reset`; return its rows and what it told."""
    with live.run("group", "reset", *arguments, "-o", "json") as command:
        printed = command.output.read().decode().splitlines()
        assert command.wait(60) == code, command.log()
        assert "Traceback" not in command.log()
        return [json.loads(line) for line in printed], command.log()


def feed(live: Live, first: int, count: int) -> None:
    live.send(live.item(key, n) for n in range(first, first + count) for key in KEYS)


def run(live: Live, processor: str, *more: str) -> None:
    """Let a worker work off what there is, and stop it."""
    with live.worker(processor, more=more) as worker:
        live.settle(processor)
        assert worker.end(signal.SIGTERM) == 143, worker.log()


def committed(live: Live, processor: str) -> dict[TopicPartition, int]:
    return live.admin.committed(f"{live.name}.{processor}")


@pytest.fixture
def copied(live: Live) -> Live:
    """An app whose stateless processor has worked everything off and stopped."""
    live.deploy("copy")
    feed(live, 0, EACH)
    run(live, "copy")
    return live


def test_a_worker_goes_on_where_a_reset_said(copied: Live) -> None:
    live, read = copied, len(KEYS) * EACH
    target = (live.target, "--processor", "copy")
    before = committed(live, "copy")
    moved = 0
    for place in [("--to", "earliest"), ("--shift", "-3"), ("--to", "1970-01-01T00:00:00.007"), ("--to", "4")]:
        dry, told = reset(live, *target, *place, *WAIT)
        assert "nothing was changed" in told
        assert committed(live, "copy") == before
        done, _ = reset(live, *target, *place, "--execute")
        assert done == dry
        assert {TopicPartition(row["topic"], row["partition"]): row["new"] for row in dry} == committed(live, "copy")
        again = records_from(live, {row["partition"]: row["new"] for row in dry})
        assert again > 0
        assert [(row["first_record"], row["last_record"]) for row in dry] == [times(live, row) for row in dry]
        run(live, "copy")
        read += again
        moved += 1
        assert len(live.read(live.topic("copies"))) == read
    print(f"{moved} resets, {read} records copied")


def times(live: Live, row: dict[str, Any]) -> tuple[str | None, str | None]:
    inside = [
        record.timestamp_ms
        for record in live.read(live.topic("items"))
        if record.partition == row["partition"] and row["new"] <= record.offset < row["committed"]
    ]
    return (shown(inside[0]), shown(inside[-1])) if inside else (None, None)


def records_from(live: Live, offsets: dict[int, int]) -> int:
    return sum(record.offset >= offsets[record.partition] for record in live.read(live.topic("items")))


def test_a_reset_to_the_latest_skips_what_is_unread_and_says_so(copied: Live) -> None:
    live = copied
    feed(live, EACH, 5)
    rows, told = reset(live, f"{live.name}.copy", "--to", "latest", "--execute", *WAIT)
    assert sum(row["skipped"] for row in rows) == 5 * len(KEYS)
    assert "40 unread ones are skipped" in told
    assert all("unread" in row["note"] for row in rows if row["skipped"])
    feed(live, EACH + 5, 1)
    run(live, "copy")
    assert {item.n for item in live.items(live.topic("copies"))} == {*range(EACH), EACH + 5}


def test_one_partition_is_moved_alone(copied: Live) -> None:
    live, before = copied, committed(copied, "copy")
    place = TopicPartition(live.topic("items"), 1)
    reset(live, live.target, "--processor", "copy", "--to", "earliest", "--partition", "1", "--execute", *WAIT)
    assert committed(live, "copy") == {**before, place: 0}


def test_a_group_that_never_ran_can_begin_at_the_end(live: Live) -> None:
    live.deploy("append")
    feed(live, 0, 1)
    reset(live, live.target, "--processor", "append", "--to", "latest", "--execute")
    feed(live, 1, 1)
    run(live, "append")
    assert {value.n for value in appended(live)} == {1}


def refused(live: Live, *arguments: str) -> str:
    """Run a command in this process, which has to end with exit 2, and return what it told."""
    ended = CliRunner().invoke(app, arguments, env=live.environment)
    assert ended.exit_code == 2 or isinstance(ended.exception, UsageError), ended.output
    return f"{ended.output}{ended.exception}"


SENSELESS = {
    ("--to", "1000"): "no partition of",
    ("--to", "2999-01-01"): "lies in the future",
    ("--to", "soon"): "names no place in a topic",
    ("--to", "-7"): "write --shift -7",
    ("--shift", "0"): "moves nothing",
    (): "give --to",
    ("--to", "earliest", "--partition", "9"): "use 0 to 3",
    ("--to", "earliest", "--topic", "nobody"): "does not read topic nobody",
    ("--to", "earliest", "--with-state", "--keep-state"): "leave one of them out",
}


def test_what_makes_no_sense_is_exit_2(live: Live) -> None:
    live.deploy("copy")
    feed(live, 0, 1)
    for arguments, told in SENSELESS.items():
        whole = ("group", "reset", live.target, "--processor", "copy", "--execute", *arguments)
        assert told in refused(live, *whole)
    assert committed(live, "copy") == {}
    print(f"{len(SENSELESS)} refused")


def test_an_unknown_group_and_an_ambiguous_app_are_exit_2(live: Live) -> None:
    assert "there is no group" in refused(live, "group", "reset", f"{live.name}.nobody", "--to", "latest")
    assert "has several processors" in refused(live, "group", "reset", live.target, "--to", "latest")


@pytest.mark.parametrize("processor", ["copy", "append"])
def test_a_live_group_is_left_alone(live: Live, processor: str) -> None:
    live.deploy(processor)
    feed(live, 0, 2)
    with live.worker(processor):
        live.settle(processor)
        before = committed(live, processor)
        rows = changelog(live) if processor == "append" else []
        _, told = reset(
            live, live.target, "--processor", processor, "--to", "earliest", "--with-state", "--execute", code=4
        )
        assert "the group has 1 members: stop its workers" in told
        assert committed(live, processor) == before
        # a worker that joins after the look at the group
        subject = subject_of(live.app.processors[processor])
        job = Reset(live.settings, live.admin, subject)
        planned = job.plan(Destination(Kind.EARLIEST), list(before))
        with pytest.raises(IncompatibleError, match="a worker joined"):
            job.execute(planned, with_state=True)
        assert committed(live, processor) == before
        assert not rows or changelog(live) == rows


def changelog(live: Live) -> list[Any]:
    return live.read(f"{live.name}.append.histories.changelog")


def appended(live: Live) -> list[Appended]:
    codec = Codec(Appended)
    topic = live.topic("appended")
    codec.learn(live.registry.lookup(f"{topic}-value", schema_of(Appended).text), schema_of(Appended).text)
    return codec.decode([record.value or b"" for record in live.read(topic)])


def of_keys(values: list[Appended]) -> dict[str, list[tuple[int, int, str]]]:
    found: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for value in values:
        found[value.key].append((value.n, value.size, value.digest))
    return found


@pytest.mark.parametrize(("guarantee", "by_name"), [("exactly_once", False), ("at_least_once", True)])
def test_a_run_after_a_reset_with_state_gives_what_a_run_from_scratch_gives(
    live: Live, guarantee: str, by_name: bool
) -> None:
    live.deploy("append")
    live.environment |= {"STREAMS_GUARANTEE": guarantee, "STREAMS_COMMIT_RECORDS": "4"}
    live.send(live.item(key, n) for key in KEYS for n in range(EACH))  # the last row of a key: long before the end
    run(live, "append")
    first = appended(live)
    target = (f"{live.name}.append",) if by_name else (live.target, "--processor", "append")
    _, told = reset(live, *target, "--to", "earliest", *WAIT, code=4)
    assert "would count records twice that are read again: --with-state empties it" in told
    _, told = reset(live, *target, "--to", "latest", "--keep-state")
    before = committed(live, "append")
    _, told = reset(live, *target, "--to", "earliest", "--keep-state", "--execute", code=4)
    assert committed(live, "append") == before
    _, told = reset(live, *target, "--to", "earliest", "--with-state", "--execute")
    assert f"rows of state that are deleted: {len(KEYS)} of" in told

    run(live, "append")
    by_key = of_keys(appended(live))
    scratch = of_keys(first)
    assert {key: values[EACH:] for key, values in by_key.items()} == scratch

    # what the changelog holds now is the state of the second run, for a machine that has none
    feed(live, EACH, 1)
    run(live, "append", "--state-dir", f"{live.settings.state_dir}-elsewhere")
    last = {key: values[-1] for key, values in of_keys(appended(live)).items()}
    assert last == {key: (EACH, EACH + 1, digest(range(EACH + 1))) for key in KEYS}
    print(f"{len(by_key)} keys with {len(first)} records compared")


def test_parked_records_stand_in_the_way_until_they_are_given_up(live: Live) -> None:
    live.environment["STREAMS_GUARANTEE"] = "at_least_once"  # rows that a reset must not let be taken for old ones
    live.deploy("park")
    feed(live, 0, 2)
    live.send([live.item(KEYS[3], 2, RAISE)])
    feed(live, 3, 2)
    target = (live.target, "--processor", "park")
    run(live, "park")
    _, told = reset(live, *target, "--to", "earliest", "--execute", *WAIT, code=4)
    assert f"records wait or are parked in {live.name}.park.waiting (3 in partition " in told
    with live.run("dlq", "drop", *target, "--parked", "--execute") as drop:
        assert drop.wait(30) == 0, drop.log()
    with live.worker("park") as worker:
        await_count(live, f"{live.name}.park.dlq", 3)
        assert worker.end(signal.SIGTERM) == 143
    reset(live, *target, "--to", "earliest", "--execute", *WAIT)

    run(live, "park", "--state-dir", f"{live.settings.state_dir}-second")
    live.send([live.item(KEYS[3], 5)])
    run(live, "park", "--state-dir", f"{live.settings.state_dir}-third")
    _, told = reset(live, *target, "--to", "latest", code=4)
    assert f"records wait or are parked in {live.name}.park.waiting (4 in partition " in told
    copies = [item.n for item in live.items(live.topic("copies")) if item.key == KEYS[3]]
    assert copies == [0, 1, 0, 1], "what came later is behind the parked record, on every machine"


def await_count(live: Live, topic: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(live.read(topic)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_remedy_for_records_deleted_before_they_were_read_works(copied: Live) -> None:
    live = copied
    feed(live, EACH, 4)
    items = live.topic("items")
    held = live.admin.ranges(TopicPartition(items, number) for number in range(4))
    gone = {tp: span.end - 2 for tp, span in held.items() if tp.partition != 3}
    client = AdminClient({"bootstrap.servers": live.settings.bootstrap_servers})
    deleted = client.delete_records([Assigned(tp.topic, tp.partition, at) for tp, at in gone.items()])
    assert all(answer.result() for answer in deleted.values())

    with live.worker("copy") as worker:
        assert worker.wait(40) == 4, worker.log()
        log = worker.log()
    command = log.split("`")[1]
    assert command == f"streams group reset {live.name}.copy --to committed"
    reset(live, *shlex.split(command)[3:], *WAIT)
    rows, _ = reset(live, *shlex.split(command)[3:], "--execute")
    assert sum("were deleted before they were read" in (row["note"] or "") for row in rows) == 3
    assert sum(row["again"] + row["skipped"] for row in rows) == 0
    copies = len(live.read(live.topic("copies")))
    left = records_from(live, {row["partition"]: row["new"] for row in rows})
    assert left > 0
    run(live, "copy")
    assert len(live.read(live.topic("copies"))) == copies + left
    print(f"{left} records were left and read")
