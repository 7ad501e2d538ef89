"""What the suite takes for right, and what it makes of its figures: no broker, no clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from benchmarks.programs.wire import Contract
from benchmarks.suite import bench, judge, runner, tiers, watch
from benchmarks.suite.bench import Run
from benchmarks.suite.contenders import CONTENDERS
from benchmarks.suite.errors import BenchmarkError, WrongOutputError
from benchmarks.suite.inputs import BROKEN, frames
from benchmarks.suite.judge import Verdict
from benchmarks.suite.reference import Expected
from benchmarks.suite.watch import Sample, Watched
from benchmarks.suite.workloads import WORKLOADS, Input, Workload
from streams.errors import StreamsError

RECORDS = 400


@dataclass
class FakeMessage:
    place: tuple[int, int]
    record: tuple[bytes, int, bytes]

    def partition(self) -> int:
        return self.place[0]

    def offset(self) -> int:
        return self.place[1]

    def key(self) -> bytes:
        return self.record[0]

    def timestamp(self) -> tuple[int, int]:
        return 1, self.record[1]

    def value(self) -> bytes:
        return self.record[2]


def contract(record: str) -> Contract:
    return Contract(bench._schema(record), 7)


def expected_of(workload: Workload) -> Expected:
    expected = Expected(workload, contract(workload.output))
    for one in frames(workload.input, RECORDS, contract(workload.input.schema)):
        expected.see(one)
    return expected


def output_of(workload: Workload, count: int = RECORDS) -> list[FakeMessage]:
    """Half of the posts as headlines, worked out here once more."""
    made = []
    wire = contract("Headline")
    for partition, key, timestamp, _, post in frames(workload.input, count, contract("Post")):
        if post and post["audience"] == "PUBLIC":
            headline = {name: post[name] for name in ("post_id", "author", "text", "posted_at")}
            made.append(FakeMessage((partition, len(made)), (key, timestamp, wire.encode(headline))))
    return made


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> list[FakeMessage]:
    held: list[FakeMessage] = []

    def read(_servers: str, _topic: str, _ends: object) -> Iterator[FakeMessage]:
        return iter(held)

    monkeypatch.setattr(judge, "read", read)
    return held


def judged(expected: Expected, before: int = 0) -> Verdict:
    return judge.judge("", "", {}, dict.fromkeys(range(4), before), expected)


def test_an_output_is_right_in_any_order(topic: list[FakeMessage]) -> None:
    topic += reversed(output_of(WORKLOADS["map_half"]))

    verdict = judged(expected_of(WORKLOADS["map_half"]), before=50)

    assert (verdict.equal, verdict.complete, verdict.compared) == (True, True, RECORDS // 2)
    assert verdict.done_before == 50 / (RECORDS // 2)


def test_an_output_with_one_record_too_few_is_not_complete(topic: list[FakeMessage]) -> None:
    topic += output_of(WORKLOADS["map_half"])[1:]

    verdict = judged(expected_of(WORKLOADS["map_half"]))

    assert not verdict.equal
    assert not verdict.complete


@pytest.mark.parametrize("what", ["twice", "another time", "another key", "another text"])
def test_an_output_with_another_record_is_wrong(topic: list[FakeMessage], what: str) -> None:
    topic += output_of(WORKLOADS["map_half"])
    key, timestamp, value = topic[0].record
    changed = {
        "twice": topic[1].record,
        "another time": (key, timestamp + 1, value),
        "another key": (b"nobody", timestamp, value),
        "another text": (key, timestamp, topic[1].record[2]),
    }
    topic[0].record = changed[what]

    verdict = judged(expected_of(WORKLOADS["map_half"]))

    assert verdict.complete
    assert not verdict.equal


def test_the_last_count_of_a_key_counts(topic: list[FakeMessage]) -> None:
    expected, wire = expected_of(WORKLOADS["count_1k_uniform"]), contract("Count")
    for key, posts in expected.counts.items():
        for told in {1, posts}:
            value = wire.encode({"author": key.decode(), "posts": told})
            topic.append(FakeMessage((0, len(topic)), (key, 0, value)))

    assert judged(expected).equal
    topic.pop()
    assert not judged(expected).complete


def test_a_json_document_may_be_written_in_another_way(topic: list[FakeMessage]) -> None:
    workload, wire = WORKLOADS["theodolite_uc1"], contract("Stored")
    for partition, key, timestamp, _, power in frames(workload.input, RECORDS, contract("ActivePowerRecord")):
        assert power
        watts, at, meter = power["valueInW"], power["timestamp"], power["identifier"]
        document = f'{{"valueInW":{watts!r},"timestamp":{at},"identifier":"{meter}"}}'
        value = wire.encode({"identifier": meter, "document": document})
        topic.append(FakeMessage((partition, len(topic)), (key, timestamp, value)))

    assert judged(expected_of(workload)).equal


def test_of_a_hundred_frames_one_is_broken() -> None:
    expected = expected_of(WORKLOADS["poison_1"])
    broken = [
        frame for _, _, _, frame, post in frames(WORKLOADS["poison_1"].input, RECORDS, contract("Post")) if not post
    ]

    assert expected.refused.count == len(broken) == RECORDS // 100
    for frame in broken:
        assert frame.endswith(BROKEN)
        with pytest.raises((EOFError, IndexError, ValueError)):
            contract("Post").decode(frame)


def test_so_many_percent_pass_a_filter() -> None:
    one, ten, fifty = (expected_of(WORKLOADS[f"filter_{percent}"]).output.count for percent in (1, 10, 50))

    assert 0 < one < 10 < ten < 70
    assert 160 < fifty < 240


def test_inputs_that_differ_lie_in_different_topics() -> None:
    inputs = {workload.input for workload in WORKLOADS.values()} | {Input(each_once=True)}

    assert len({one.topic(1) for one in inputs}) == len(inputs) > 8


def test_figures_leave_out_what_was_there_at_the_beginning() -> None:
    first, last = Sample(10.0, {0: 250}, 1.0, 5.0, 40.0), Sample(12.0, {0: 1000}, 2.5, 5.75, 43.25)

    run = bench._figures(Watched(first, last, 80.0, Verdict(True, True, 1000, "", 0.25)), 2000)

    assert run == Run(750.0, 1000.0, 500.0, 80.0, 2.0, 0.5, 1000)


def test_an_output_that_came_at_once_has_no_figure() -> None:
    sample = Sample(10.0, {0: 250}, 1.0, 5.0, 40.0)

    with pytest.raises(BenchmarkError, match="too few records"):
        bench._figures(Watched(sample, sample, 80.0, Verdict(True, True, 250, "", 1.0)), 250)


def row_of(*rates: float) -> runner._Runs:
    return runner._Runs(100, {number: Run(rate, 1.0, 1.0, 1.0, 1.0, 0.1, 5) for number, rate in enumerate(rates, 1)})


def test_the_ratio_is_that_of_the_same_round() -> None:
    row = runner._row(row_of(10, 40, 90), {"handwritten": row_of(20, 40, 60)})

    assert (row["records_per_second"], row["min"], row["max"], row["ratio"]) == (40, 10, 90, 1.0)
    assert row["compared"] == 15


def test_rounds_that_only_one_had_are_not_compared() -> None:
    row = runner._row(row_of(10), {"handwritten": row_of(20, 40), "kafka_streams": row_of()})

    assert row["ratio"] == 0.5
    assert "ratio_to_kafka_streams" not in row


def test_who_fails_has_no_figure_and_breaks_the_job_only_if_it_is_ours_or_by_hand() -> None:
    failed = runner._row(runner._Runs(100, failed="it lost one"), {})

    assert failed == {"outputs_equal": False, "failed": "it lost one"}
    assert tiers.broken_bounds({"map_half": {"quix": failed}}) == []
    assert tiers.broken_bounds({"map_half": {"ours": failed}}) == ["map_half: no figure for ours: it lost one"]


def test_a_ratio_under_its_bound_is_told() -> None:
    bound = tiers.BOUNDS["map_half"]

    assert tiers.broken_bounds({"map_half": {"ours": {"ratio": bound}}}) == []
    assert len(tiers.broken_bounds({"map_half": {"ours": {"ratio": bound - 0.001}}})) == 1


def test_what_a_contender_lacks_has_a_reason() -> None:
    bytewax, faststream = CONTENDERS["bytewax"], CONTENDERS["faststream"]

    assert bytewax.not_available(WORKLOADS["map_half"]) == "its Kafka sink has no transactions"
    assert bytewax.not_available(WORKLOADS["map_half_at_least_once"]) is None
    assert faststream.not_available(WORKLOADS["count_1k_uniform_at_least_once"]) == "it keeps no state"


class FakeBench:
    """Runs come to the given figures in their order, or to errors."""

    def __init__(self, *of: float | Exception) -> None:
        self.left = list(of)

    def run(self, *_: object) -> Run:
        one = self.left.pop(0)
        if isinstance(one, Exception):
            raise one
        return Run(one, 1.0, 1.0, 1.0, 1.0, 0.1, 5)


def compared(fake: FakeBench, *names: str) -> tuple[dict[str, runner.Row], list[int]]:
    kept: list[int] = []
    rows = runner.compare(
        cast("bench.Bench", fake),
        WORKLOADS["group_10k_columnar"],
        [CONTENDERS[name] for name in names],
        100,
        2,
        lambda _told: None,
        lambda rows: kept.append(rows[names[0]].get("repetitions", 0)),
    )
    return rows, kept


@pytest.mark.parametrize("failure", [BenchmarkError, StreamsError, OSError])
def test_who_fails_later_keeps_what_was_measured_and_says_why_it_stopped(failure: type[Exception]) -> None:
    rows, kept = compared(FakeBench(9, 10, failure("it is not done after 300 s")), "quix")

    assert (rows["quix"]["records_per_second"], rows["quix"]["repetitions"]) == (10, 1)
    assert rows["quix"]["stopped"] == "it is not done after 300 s"
    assert kept == [1, 1]


def test_who_writes_something_else_once_has_no_figure_at_all() -> None:
    rows, _ = compared(FakeBench(9, 10, WrongOutputError("it lost one")), "quix")

    assert rows["quix"] == {"outputs_equal": False, "failed": "it lost one", "works_on": "records"}


def test_columns_stand_beside_the_records_of_kafka_streams() -> None:
    rows, kept = compared(FakeBench(0.5, 0.5, 90, 30, 20, 50), "ours", "kafka_streams")

    assert (rows["ours"]["works_on"], rows["kafka_streams"]["works_on"]) == ("columns", "records")
    assert rows["ours"]["ratio_to_kafka_streams"] == 2.75  # 90 / 30 and 50 / 20
    assert kept == [1, 2]
    assert CONTENDERS["kafka_streams"].kind_of("group") == "count"
    assert CONTENDERS["ours"].kind_of("group") == "group"


def test_the_clock_starts_with_a_fifth_of_the_outputs() -> None:
    samples = [Sample(float(at), {0: end, 1: end}, 0, 0, 0) for at, end in ((1, 5), (2, 19), (3, 20), (4, 100))]

    assert watch.warm(samples).at == 3.0
    assert watch.warm([samples[0], samples[-1]]).at == 1.0  # rather cold than none
    assert watch.warm(samples[-1:]).at == 4.0


def test_a_run_has_limits_and_says_which_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.time, "perf_counter", lambda: 500.0)
    stop_watch = watch.Watch("localhost:1", 0, 300.0)

    assert stop_watch._given_up(3, 499.0, 499.0) == "it ended with 3"
    assert stop_watch._given_up(None, 199.0, 499.0) == "it is not done after 300 s"
    assert stop_watch._given_up(None, 400.0, 409.0) == "nothing came of it for 90 s"
    assert stop_watch._given_up(None, 201.0, 411.0) is None


def test_workloads_are_chosen_by_name_pattern_and_group() -> None:
    assert tiers.chosen(["map_half", "map_half_1*b"]) == (
        "map_half",
        "map_half_1kb",
        "map_half_10kb",
    )
    assert tiers.chosen(["counts"]) == tuple(
        f"count_{keys}_{drawn}" for keys in ("1k", "100k", "10m") for drawn in ("uniform", "zipf")
    )
    assert tiers.chosen(["columnar_at_least_once"]) == ("group_10k_columnar_at_least_once",)
    assert tiers.chosen(["latency", "restore"]) == ("latency_map_half", "restore_1m")
    assert set(tiers.chosen(tiers.GROUPS)) | {"map_half", "map_half_at_least_once"} == set(tiers.EVERYTHING)
    with pytest.raises(ValueError, match="no workload is called 'windows'"):
        tiers.chosen(["windows"])
