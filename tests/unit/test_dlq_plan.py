"""What a re-drive would do, how it is done in transactions, and what waits: without a broker."""

from __future__ import annotations

import pytest
from test_dlq_letters import NAMES, dead, letter

from streams.avro.codec import Codec
from streams.cli.eta import told
from streams.cli.redrive import per_second
from streams.dlq.fields import LETTER_NAMES, WAITING_NAMES, letter_fields, where
from streams.dlq.letter import Letter, Place, read_letter
from streams.dlq.plan import ORIGIN, PROCESSOR, Action, Choice, Plan, Verdict
from streams.dlq.run import MOST_BYTES, Pace, batches, run
from streams.dlq.waiting import command, waiter_fields, waiting, waiting_at
from streams.errors import SendError, UsageError
from streams.failures.waiting_record import WaitingHeader, WaitingRecord, WaitingStatus
from streams.record import RawRecord, Record

TOPICS = {"orders": 4, NAMES.redrive: 4}
ID = 7


def planned(target: str | None = PROCESSOR, **more: object) -> Plan:
    def fields(one: Letter) -> dict[str, object]:
        return letter_fields(one, lambda record: {"key": record.key, "value": record.value}, set())

    defaults = {"choice": Choice(), "fields": fields, "topics": TOPICS}
    return Plan(NAMES, target, **{**defaults, **more})  # type: ignore[arg-type] # fields by name


def verdicts(plan: Plan, records: list[RawRecord], settled: dict[Place, str] | None = None) -> list[Verdict]:
    return [verdict for _, verdict in plan.decide(map(read_letter, records), settled or {})]


def test_a_value_is_decoded_only_for_an_expression_that_asks_for_it() -> None:
    seen = []

    def describe(record: RawRecord) -> dict[str, object]:
        seen.append(record.value)
        return {"key": "k", "value": 1, "headers": [["a", "b"]]}

    for text in ('stage == "x"', 'key == "k"', 'headers.a == "b"', "value == 1"):
        expression = where(text, LETTER_NAMES, int)
        expression.matches(letter_fields(letter(), describe, expression.uses))
    assert seen == [None, None, letter().original.value]


def test_what_was_done_or_is_nobodys_is_passed_over() -> None:
    records = [dead(place=Place(0, n)) for n in range(3)]
    settled = {Place(0, 0): "redriven", Place(0, 2): "dropped"}
    odd: RawRecord = Record(NAMES.dead_letters, None, None, 0, 0, 3)
    found = verdicts(planned(), [*records, odd], settled)
    assert found == [Verdict.REDRIVEN, Verdict.CHOSEN, Verdict.DROPPED, Verdict.FOREIGN]


def test_what_was_sent_again_too_often_is_held_back_but_may_be_dropped() -> None:
    records = [dead(**{"streams.redrives": str(n)}) for n in range(5)]
    assert verdicts(planned(), records).count(Verdict.HELD) == 2
    assert verdicts(planned(max_redrives=4), records).count(Verdict.HELD) == 1
    assert verdicts(planned(target=None), records).count(Verdict.CHOSEN) == 5


def test_what_has_no_place_to_go_is_held_back() -> None:
    gone, far = dead(**{"__connect.errors.topic": "gone"}), dead(**{"__connect.errors.partition": "4"})
    assert verdicts(planned(ORIGIN), [gone, far, dead()]) == [Verdict.NOWHERE, Verdict.NOWHERE, Verdict.CHOSEN]
    assert verdicts(planned(PROCESSOR), [gone, far]) == [Verdict.CHOSEN, Verdict.NOWHERE]
    assert verdicts(planned(None), [gone, far]) == [Verdict.CHOSEN, Verdict.CHOSEN]


def test_a_choice_is_by_time_and_by_fields_and_at_most_so_many() -> None:
    records = [
        dead(place=Place(0, n), **{"streams.error.time": str(n), "streams.redrives": str(n % 2)}) for n in range(10)
    ]
    odd = where("redrives == 1", LETTER_NAMES, int)
    assert verdicts(planned(choice=Choice(odd, 3, 8)), records).count(Verdict.CHOSEN) == 3
    assert verdicts(planned(choice=Choice(None, 3, 7)), records).count(Verdict.CHOSEN) == 4
    found = verdicts(planned(choice=Choice(odd), most=2), records)
    assert [n for n, verdict in enumerate(found) if verdict is Verdict.CHOSEN] == [1, 3]
    assert found.count(Verdict.LATER) == 3


def test_each_target_has_its_records() -> None:
    to_processor = planned(PROCESSOR).action(letter(), b"{}", 5)
    assert [record.topic for record in to_processor.records] == [NAMES.redrive, NAMES.redrive]
    assert [record.partition for record in to_processor.records] == [2, 1]
    assert dict(to_processor.records[0].headers)["streams.dead_letter"] == b"1/9"
    to_origin = planned(ORIGIN).action(letter(), b"{}", 5)
    assert [record.topic for record in to_origin.records] == ["orders", NAMES.redrive]
    assert "streams.dead_letter" not in dict(to_origin.records[0].headers)
    (dropped,) = planned(None).action(letter(), b"{}", 5).records
    assert dict(dropped.headers) == {"streams.command": b"dropped", "streams.dead_letter": b"1/9"}


class Broker:
    """Takes batches, but for records with a value that it refuses."""

    def __init__(self, refuses: bytes = b"") -> None:
        self.committed: list[list[RawRecord]] = []
        self._refuses = refuses

    def commit_batch(self, records: list[RawRecord]) -> None:
        if any(record.value == self._refuses for record in records):
            raise SendError("too large")
        self.committed.append(records)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 0.1
        self.now += seconds


def actions(count: int, size: int = 1) -> list[Action]:
    return [
        Action(Place(0, n), (Record("t", None, b"%d" % n * size, 0), Record("n", None, None, 0))) for n in range(count)
    ]


def pace(rate: float | None, clock: Clock | None = None) -> Pace:
    clock = clock or Clock()
    return Pace(rate, lambda: clock.now, clock.sleep)


def test_transactions_are_bounded_and_take_both_records_of_an_action() -> None:
    assert [len(batch) for batch in batches(actions(1_200), 500)] == [500, 500, 200]
    assert [len(batch) for batch in batches(actions(3, size=MOST_BYTES), 500)] == [1, 1, 1]
    assert [len(batch) for batch in batches([], 5)] == []
    broker, heard = Broker(), []
    assert run(broker, actions(700), pace(None), lambda: False, heard.append) == []
    assert heard == [500, 200]
    assert [len(batch) for batch in broker.committed] == [1_000, 400]
    assert [record.topic for record in broker.committed[1]] == ["t"] * 200 + ["n"] * 200, (
        "in runs that a worker batches"
    )


def test_one_that_is_refused_is_found_and_the_others_go_once_each() -> None:
    broker, heard = Broker(refuses=b"13"), []
    (refused,) = run(broker, actions(20), pace(None), lambda: False, heard.append)
    assert (refused.action.place, refused.why) == (Place(0, 13), "too large")
    sent = [record.value for batch in broker.committed for record in batch if record.value]
    assert sent == [b"%d" % n for n in range(20) if n != 13]
    assert heard == [19]


def test_it_ends_between_two_transactions() -> None:
    broker = Broker()
    run(broker, actions(2_000), pace(None), lambda: len(broker.committed) == 2, lambda _: None)
    assert [len(batch) for batch in broker.committed] == [1_000, 1_000]


@pytest.mark.parametrize(
    ("rate", "count", "seconds"), [(50, 150, 2), (1_000, 2_000, 1.5), (0.5, 3, 4), (None, 5_000, 0)]
)
def test_a_rate_is_kept_in_even_steps(rate: float | None, count: int, seconds: float) -> None:
    clock, broker = Clock(), Broker()
    run(broker, actions(count), pace(rate, clock), lambda: False, lambda _: None)
    assert clock.now - 100 == pytest.approx(seconds, abs=0.01)
    assert sum(map(len, broker.committed)) == 2 * count


def test_a_wait_for_the_rate_ends_when_it_is_to_stop() -> None:
    clock, broker = Clock(), Broker()
    run(broker, actions(10), pace(0.01, clock), lambda: clock.now > 100.5, lambda _: None)
    assert len(broker.committed) == 1
    assert clock.now < 101


@pytest.mark.parametrize(("text", "rate"), [("100/s", 100), ("100", 100), ("30/m", 0.5), ("0.5/s", 0.5)])
def test_a_rate_is_a_number_and_a_unit(text: str, rate: float) -> None:
    assert per_second(text) == rate
    assert per_second(None) is None


@pytest.mark.parametrize("text", ["", "fast", "0", "-1/s", "10/h", "1e3", "9" * 400])
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="not a rate"):
        per_second(text)


def test_progress_says_how_long_it_takes() -> None:
    assert told(50, 200, 5, "things done") == "50 of 200 things done, 5.0/s, 0:00:30 left"
    assert told(200, 200, 20.04, "things done") == "200 of 200 things done, 20.0/s"
    assert told(0, 200, 0, "things done") == "0 of 200 things done"


def row(place: int, status: WaitingStatus, key: bytes | None, partition: int = 1) -> RawRecord:
    waits = WaitingRecord(
        status=status, key=key, value=b"\xff", timestamp_ms=5,
        headers=(WaitingHeader(name="streams.redrives", value=b"2"),),
        topic="orders", partition=partition, offset=place, attempts=3, due_ms=9, failed_ms=8, stage="process",
        kind="ValueError", message="no",
    )  # fmt: skip
    (frame,) = Codec(WaitingRecord, ID).encode([waits])
    return Record(NAMES.waiting, place.to_bytes(8, "big"), frame, 0, partition)


def decode(frame: bytes) -> WaitingRecord:
    return Codec(WaitingRecord, ID).decode([frame])[0]


def test_the_newest_row_of_each_place_counts_and_keys_are_kept_apart() -> None:
    parked, retrying, queued = WaitingStatus.PARKED, WaitingStatus.RETRYING, WaitingStatus.QUEUED
    records = [
        row(5, queued, b"a"),
        row(3, retrying, b"a"),
        row(3, parked, b"a"),
        row(4, retrying, None),
        row(6, retrying, None),
        row(7, queued, b"b"),
        row(9, parked, b"b"),
        row(3, queued, b"a", partition=0),
        row(8, parked, b"gone"),
        Record(NAMES.waiting, (8).to_bytes(8, "big"), None, 0, 1),
        Record(NAMES.waiting, b"odd", row(10, parked, b"c").value, 0, 1),
        Record(NAMES.waiting, (10).to_bytes(8, "big"), b"odd", 0, 1),
        Record(NAMES.waiting, None, b"odd", 0, 1),
    ]
    found = waiting(records, decode)
    assert [(w.partition, w.place, w.head.key, w.head.status, w.behind) for w in found.waiters] == [
        (0, 3, b"a", queued, 0),
        (1, 3, b"a", parked, 1),
        (1, 4, None, retrying, 0),
        (1, 6, None, retrying, 0),
        (1, 9, b"b", parked, 1),
    ]
    assert found.unreadable == 3
    behind = waiting_at(records, Place(1, 5), decode)
    assert behind is not None
    assert behind.head.status is queued
    assert waiting_at(records, Place(1, 8), decode) is None


def test_commands_name_the_key_or_the_one_record_without_a_key() -> None:
    named, nameless = waiting([row(3, WaitingStatus.PARKED, b""), row(4, WaitingStatus.PARKED, None)], decode).waiters
    (release,) = command(named, NAMES.redrive, "release", b"{}", 5).records
    assert release == Record(NAMES.redrive, b"", b"{}", 5, 1, headers=(("streams.command", b"release"),))
    (drop,) = command(nameless, NAMES.redrive, "drop", b"{}", 5).records
    assert drop.headers == (("streams.command", b"drop"), ("streams.offset", b"4"))


def test_fields_of_what_waits() -> None:
    (waiter,) = waiting([row(3, WaitingStatus.PARKED, b"k")], decode).waiters
    expression = where(
        'status == "PARKED" and error.kind == "ValueError" and redrives == 2 and offset == 3', WAITING_NAMES, int
    )
    assert expression.matches(waiter_fields(waiter, lambda _: {}, expression.uses))
