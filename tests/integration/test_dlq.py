"""`streams dlq` on a real Kafka: what is shown, what is sent again byte for byte, and that nothing is done twice."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from dead_letters import PARTITIONS, Letters, content, text
from live.app import RAISE
from live.kcat import Kcat
from live.workers import Live

from streams.avro.codec import Codec
from streams.avro.model import versions_of
from streams.failures.waiting_record import WaitingHeader, WaitingRecord, WaitingStatus
from streams.record import RawRecord, Record
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

OWN = (("trace", b"\x00\xff"), ("trace", b"2"), ("none", None), ("streams-like", b"x"))


@pytest.fixture
def letters(live: Live) -> Letters:
    return Letters(live)


def origins(sent: list[RawRecord]) -> Counter[str]:
    return Counter(text(dict(record.headers)["streams.origin"]) for record in sent)


def expected(letters: Letters, numbers: range) -> Counter[str]:
    return Counter(f"{letters.live.topic('items')}/{(n + 1) % PARTITIONS}/{n}" for n in numbers)


def test_open_dead_letters_are_listed_by_their_error(letters: Letters) -> None:
    letters.fill(30)
    letters.live.send([letters.letter(n, message="gone", **{"streams.error.kind": "KeyError"}) for n in range(30, 33)])
    letters.live.send([Record(letters.dlq, b"k", b"somebody else's", 5)])

    said = letters.run("list", letters.group)
    assert "item <n> is not welcome" in said.stdout
    assert "33 open dead letters with 2 kinds of error" in said.stderr
    assert "1 no dead letter" in said.stderr
    first, second = letters.rows("list", letters.group)
    assert first["count"] == 30
    assert first["message"] == "ValueError: item <n> is not welcome"
    assert first["first"] == "2023-11-14T22:13:20.000+00:00"
    assert first["last"] == "2023-11-14T22:13:20.029+00:00"
    assert first["example"] == "1/7"
    assert first["handler"] == "live.app.copy"
    assert first["error"] == "ValueError"
    assert (second["count"], second["error"], second["message"]) == (3, "KeyError", "gone")
    assert [row["count"] for row in letters.rows("list", letters.live.target, "--processor", "copy")] == [30, 3]
    late = letters.rows("list", letters.group, "--from", "1700000000010", "--to", "1700000000031")
    assert [row["count"] for row in late] == [20, 1]


def test_a_filter_reads_fields_and_tells_what_lacks_them(letters: Letters) -> None:
    letters.fill(20)
    letters.live.send([letters.letter(20)._replace(value=b"\x07junk")])
    said = letters.run("list", letters.group, "--where", 'value.n >= 15 and error.kind == "process"')
    assert "5 open dead letters" in said.stderr
    assert "1 do not match because --where cannot be applied to them: there is no field n (1)" in said.stderr
    assert letters.rows("list", letters.group, "--where", 'key == "key 3"')[0]["count"] == 1
    assert letters.rows("list", letters.group, "--where", 'dead_letter in ["0/0", "3/1"]')[0]["count"] == 2
    before = letters.run("list", f"{letters.group}x", "--where", "valeu.n > 1", code=2)
    assert "did you mean value?" in before.stderr, "the expression is judged before anything is asked"
    assert "character 1" in before.stderr


def test_one_dead_letter_is_shown_whole(letters: Letters) -> None:
    letters.fill(8, own=OWN)
    (shown,) = letters.rows("show", letters.group, "3/1")
    assert shown["value"] == {"key": "key 7", "n": 7, "text": ""}
    assert (shown["topic"], shown["partition"], shown["offset"]) == (letters.live.topic("items"), 0, 7)
    assert shown["key"] == "key 7"
    assert shown["headers"][0] == ["trace", {"base64": "AP8="}]
    assert shown["failed"]["message"] == "ValueError: item 7 is not welcome"
    assert shown["open"] is True
    assert shown["history"] == []
    newest = letters.rows("show", letters.group, "-n", "3")
    assert [row["failed"]["time"][-10:-6] for row in newest] == [".007", ".006", ".005"]
    assert "Traceback (most" in letters.run("show", letters.group, "3/1").stdout
    assert "there is no dead letter 0/99" in letters.run("show", letters.group, "0/99", code=2).stderr
    assert "write it as in 0/17" in letters.run("show", letters.group, "seven", code=2).stderr


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(letters: Letters) -> None:
    letters.fill(30)
    rows = letters.rows("redrive", letters.group, "--where", "value.n < 25")
    assert [row["dead_letter"] for row in rows if row["partition"] == 1] == [f"0/{n}" for n in range(7)]
    assert {row["to"] for row in rows} == {letters.redrive}
    assert len(rows) == 25
    said = letters.run("redrive", letters.group, "--to", "origin", "--max", "22")
    assert "DRY RUN, nothing was written: 22 dead letters would be redriven; 8 beyond --max" in said.stderr
    assert "and 2 more" in said.stderr
    assert "add --execute" in said.stderr
    assert "DRY RUN" in letters.run("drop", letters.group).stderr
    assert letters.live.read(letters.redrive) == []
    assert letters.live.read(letters.live.topic("items")) == []


def test_records_are_sent_again_byte_for_byte_to_the_processor(letters: Letters, kcat: Kcat) -> None:
    before = letters.fill(40, own=OWN)
    said = letters.run("redrive", letters.group, "--execute", "--job", "after the fix", "--where", "value.n < 30")
    assert "30 of 30 dead letters redriven, job after the fix" in said.stderr

    sent = letters.sent(letters.redrive)
    wanted = [record._replace(partition=(n + 1) % PARTITIONS) for n, record in enumerate(before[:30])]
    assert content(sent) == content(wanted)
    assert origins(sent) == expected(letters, range(30))
    assert all(record.headers[: len(OWN)] == OWN for record in sent)
    assert {name for record in sent for name, _ in record.headers[len(OWN) :]} == {
        "streams.origin",
        "streams.redrives",
        "streams.dead_letter",
    }
    seen = [
        (row.partition, row.key, row.value)
        for row in kcat.read(letters.redrive)
        if row.value in {r.value for r in sent}
    ]
    assert sorted(seen) == sorted((record.partition, record.key, record.value) for record in sent)
    assert Counter(letters.notes()) == Counter(("redriven", f"{n % 4}/{n // 4}") for n in range(30))

    assert letters.rows("list", letters.group)[0]["count"] == 10
    assert letters.rows("list", letters.group, "--all")[0]["count"] == 40
    (shown,) = letters.rows("show", letters.group, "0/0")
    (event,) = shown["history"]
    assert (shown["open"], event["job"], event["target"], event["filter"]) == (
        False,
        "after the fix",
        "processor",
        "value.n < 30",
    )
    assert "@" in event["who"]
    assert "10 of 10" in letters.run("redrive", letters.group, "--execute").stderr
    assert "0 of 0" in letters.run("redrive", letters.group, "--execute").stderr
    assert origins(letters.sent(letters.redrive)) == expected(letters, range(40))


def test_records_are_sent_again_to_where_they_came_from(letters: Letters) -> None:
    before = letters.fill(20, own=OWN)
    letters.run("redrive", letters.group, "--to", "origin", "--execute")
    sent = letters.live.read(letters.live.topic("items"))
    assert content(sent) == content(r._replace(partition=(n + 1) % PARTITIONS) for n, r in enumerate(before))
    assert {name for record in sent for name, _ in record.headers[len(OWN) :]} == {"streams.origin", "streams.redrives"}
    assert len(letters.notes()) == 20


def test_what_failed_again_keeps_its_origin_and_is_held_back_in_the_end(letters: Letters) -> None:
    letters.fill(4)
    letters.run("redrive", letters.group, "--execute")
    again = [letters.letter(n, **{"streams.redrives": "1", "streams.origin": "x"}) for n in range(4)]
    letters.live.send([*again[:2], *(letters.letter(n, **{"streams.redrives": "3"}) for n in (2, 3))])

    said = letters.run("redrive", letters.group, "--execute")
    assert "2 of 2 dead letters redriven" in said.stderr
    assert "2 held back: sent again too often" in said.stderr
    counts = Counter(text(dict(r.headers)["streams.redrives"]) for r in letters.sent(letters.redrive))
    assert counts == {"1": 4, "2": 2}
    (shown,) = letters.rows("show", letters.group, "0/1")
    assert [event["dead_letter"] for event in shown["history"]] == ["0/0", "0/1"]
    assert "2 of 2" in letters.run("redrive", letters.group, "--max-redrives", "4", "--execute").stderr


def test_dead_letters_are_dropped_with_a_note(letters: Letters) -> None:
    letters.fill(10)
    letters.run("drop", letters.group, "--where", "value.n != 3", "--execute")
    assert Counter(action for action, _ in letters.notes()) == {"dropped": 9}
    assert letters.sent(letters.redrive) == []
    said = letters.run("redrive", letters.group)
    assert "1 dead letters would be redriven; 9 dropped already" in said.stderr


def test_what_has_no_place_to_go_is_told(letters: Letters) -> None:
    live = letters.live
    live.send(
        [
            letters.letter(0, **{"__connect.errors.topic": "nowhere"}),
            letters.letter(1, **{"__connect.errors.partition": "9"}),
        ]
    )
    live.send([letters.letter(2, **{"__connect.errors.offset": "x"}), letters.letter(3, **{"streams.redrives": "-1"})])
    said = letters.run("redrive", letters.group, "--to", "origin", "--execute")
    assert "2 held back: its topic or partition is gone; 2 no dead letter" in said.stderr
    assert live.read(letters.redrive) == []


def test_topics_that_do_not_exist_are_told(letters: Letters) -> None:
    live = letters.live
    assert f"did you mean {letters.group}?" in letters.run("list", f"{letters.group}y", code=2).stderr
    other = f"{letters.group}.old"
    live.admin.create_topics([TopicSpec(f"{other}.dlq", 2, {}), TopicSpec(f"{other}.redrive", 1, {})])
    assert f"topic {other}.redrive has 1 partitions" in letters.run("redrive", other, code=4).stderr
    live.admin.delete_topics([f"{other}.redrive"])
    told = letters.run("drop", other, "--execute", code=4).stderr
    assert f"topic {other}.redrive does not exist" in told
    assert "streams topic create" in told
    assert "0 open dead letters" in letters.run("list", other).stderr
    assert "no topic" in letters.run("list", letters.group, "--waiting", code=2).stderr


def test_the_commands_of_the_document_run(letters: Letters) -> None:
    letters.fill(20)
    letters.live.admin.create_topics([TopicSpec(f"{letters.group}.waiting", PARTITIONS, {"cleanup.policy": "compact"})])
    document = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text()
    ran = 0
    for line in re.findall(r"^streams dlq (.+?)(?: +#.*)?$", document, re.MULTILINE):
        if "--as-test" not in line:
            letters.run(*shlex.split(line.replace("shop.ship", letters.group)))
            ran += 1
    print(f"{ran} commands ran")
    assert ran > 10
    assert "streams dlq show shop.ship -n 1 --as-test" in document


def test_dead_letters_become_a_test(letters: Letters, tmp_path: Path) -> None:
    letters.fill(3)
    file = tmp_path / "test_written.py"
    letters.run("show", letters.group, "-n", "2", "--as-test", str(file), "--app", letters.live.target)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        env=letters.live.full_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr
    assert json.dumps("ValueError: item 2")[1:-1] in file.read_text()


def test_a_worker_takes_back_what_it_gave_up(letters: Letters) -> None:
    live = letters.live
    live.send([live.item("bad", 1, RAISE), *(live.item(f"k{n}", n) for n in range(2, 5))])
    with live.worker("copy"):
        live.settle("copy")
        (shown,) = letters.rows("show", letters.group, "-n", "1")
        origin = (shown["topic"], shown["partition"], shown["offset"])
        assert (shown["failed"]["type"], shown["failed"]["handler"]) == ("ValueError", "live.app.build.<locals>.copy")
        letters.fill(100)  # they were given up, and are good now
        letters.run("redrive", letters.group, "--execute")
        deadline = time.monotonic() + 30
        while len(live.read(letters.dlq)) < 102 or len(live.read(live.topic("copies"))) < 103:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        (again,) = letters.rows("show", letters.group, "-n", "1")
    assert (again["topic"], again["partition"], again["offset"]) == origin
    assert (again["redrives"], len(again["history"])) == (1, 1)
    assert Counter(item.n for item in live.items(live.topic("copies"))) == Counter([2, 3, 4, *range(100)])


def row(live: Live, n: int, status: WaitingStatus, key: bytes | None) -> RawRecord:
    """Make the row of item n that waits in partition 1."""
    item = live.item("k", n)
    value = WaitingRecord(
        status=status,
        key=key,
        value=item.value,
        timestamp_ms=n,
        headers=(WaitingHeader(name="trace", value=b"1"),),
        topic=item.topic,
        partition=1,
        offset=n,
        attempts=0 if status is WaitingStatus.QUEUED else 6,
        due_ms=1_700_000_000_000,
        failed_ms=1_700_000_000_000 + n,
        stage="process",
        kind="ValueError",
        message=f"item {n}",
    )
    topic = f"{live.name}.copy.waiting"
    schema_id = live.registry.register(f"{topic}-value", versions_of(WaitingRecord), "BACKWARD")[-1]
    (frame,) = Codec(WaitingRecord, schema_id).encode([value])
    return Record(topic, n.to_bytes(8, "big"), frame, n, 1)


def test_keys_that_wait_are_listed_released_and_dropped(letters: Letters) -> None:
    live, waiting = letters.live, f"{letters.group}.waiting"
    live.admin.create_topics([TopicSpec(waiting, PARTITIONS, {"cleanup.policy": "compact"})])
    parked, retrying, queued = WaitingStatus.PARKED, WaitingStatus.RETRYING, WaitingStatus.QUEUED
    rows = [
        row(live, 1, retrying, b"a"),
        row(live, 2, queued, b"a"),
        row(live, 3, retrying, b"b"),
        row(live, 4, retrying, None),
        row(live, 5, parked, b"gone"),
        row(live, 1, parked, b"a"),
        Record(waiting, b"odd", b"odd", 1, 1),
    ]
    live.send([*rows, rows[4]._replace(value=None)])

    shown = letters.rows("list", letters.group, "--waiting")
    assert [(r["offset"], r["key"], r["status"], r["behind"]) for r in shown] == [
        (1, "a", "PARKED", 1),
        (3, "b", "RETRYING", 0),
        (4, None, "RETRYING", 0),
    ]
    assert (shown[0]["due"], shown[1]["due"]) == (None, "2023-11-14T22:13:20.000+00:00")
    said = letters.run("list", letters.group, "--parked").stderr
    assert "1 keys are parked, with 2 records" in said
    assert "1 rows in" in said
    (whole,) = letters.rows("show", letters.group, "1/2", "--waiting")
    assert (whole["status"], whole["value"]["n"]) == ("QUEUED", 2)
    assert "nothing waits at 1/5" in letters.run("show", letters.group, "1/5", "--waiting", code=2).stderr

    assert (
        "2 keys would be given the command release"
        in letters.run("redrive", letters.group, "--waiting", "--where", 'status == "RETRYING"').stderr
    )
    assert live.read(letters.redrive) == []
    letters.run("redrive", letters.group, "--parked", "--execute", "--job", "fixed")
    letters.run("drop", letters.group, "--waiting", "--where", "value.n > 3", "--execute")
    release, drop = live.read(letters.redrive)
    assert (release.partition, release.key, release.headers) == (1, b"a", (("streams.command", b"release"),))
    assert json.loads(release.value or b"")["job"] == "fixed"
    assert (drop.partition, drop.key) == (1, None)
    assert drop.headers == (("streams.command", b"drop"), ("streams.offset", b"4"))
    assert (
        "--to belongs to dead letters"
        in letters.run("redrive", letters.group, "--parked", "--to", "origin", code=2).stderr
    )
