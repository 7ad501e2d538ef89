"""What Prometheus gets: the names that dashboards know, no keys, and counters that never go down."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from streams.health.board import Board
from streams.health.judge import problems
from streams.health.metrics import Metrics
from streams.health.progress import PartitionProgress, Stopwatch, Totals, WorkerProgress
from streams.health.report import Report
from streams.health.usage import usage

NOW_MS = 1_000_000


def progress(counts: Mapping[str, int], key: str = "'secret'") -> WorkerProgress:
    watch = Stopwatch()
    watch.note(0.03, 10)
    watch.note(70.0)
    parts = (
        PartitionProgress("shop.items", 0, 5, 5, 5, "idle"),
        PartitionProgress("shop.items", 1, 5, 4, 12, "running", NOW_MS - 2_500, "handler", 3.0, 5, key, 2, 1),
    )
    totals = Totals(counts, 4, 1, watch.read(), watch.read())
    return WorkerProgress("count", "shop.count", "shop.items", 1, 0, 9.0, True, totals, partitions=parts)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Parse the text as Prometheus would."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            where = (sample.name, tuple(sorted(sample.labels.items())))
            assert where not in found, "a series twice makes Prometheus refuse all of them"
            found[where] = sample.value
    return found


def board(workers: int = 1) -> tuple[Board, Metrics]:
    made = Board(lambda: 0.0)
    for _ in range(workers):
        made.started(made.place("count", "shop.count"))
    return made, Metrics(made.views, lambda views: not problems(views, 60), lambda: NOW_MS)


def test_names_and_values() -> None:
    made, metrics = board()
    made.put(0, progress({"processed": 7, "failed_in_decode": 2, "failed_in_process": 1, "outputs": 9, "retries": 3}))
    found = samples(metrics)
    one = (("consumergroup", "shop.count"), ("partition", "1"), ("topic", "shop.items"))
    ours = (("partition", "1"), ("processor", "shop.count"), ("topic", "shop.items"))
    processor = (("processor", "shop.count"),)
    expected = {
        ("kafka_consumergroup_lag", one): 7,
        ("kafka_consumergroup_lag_sum", (("consumergroup", "shop.count"), ("topic", "shop.items"))): 7,
        ("kafka_consumergroup_current_offset", one): 4,
        ("kafka_topic_partition_current_offset", (("partition", "1"), ("topic", "shop.items"))): 12,
        ("streams_lag_seconds", ours): 2.5,
        ("streams_waiting_records", ours): 2,
        ("streams_parked_records", ours): 1,
        ("streams_dlq_total", processor): 3,
        ("streams_retries_total", processor): 3,
        ("streams_commits_total", processor): 4,
        ("streams_aborts_total", processor): 1,
        ("streams_worker_restarts_total", processor): 0,
        ("streams_workers", (*processor, ("state", "ready"))): 1,
        ("streams_healthy", ()): 1,
        ("streams_process_seconds_count", processor): 11,
        ("streams_process_seconds_bucket", (("le", "0.005"), *processor)): 10,
        ("streams_process_seconds_bucket", (("le", "60.0"), *processor)): 10,
        ("streams_process_seconds_bucket", (("le", "+Inf"), *processor)): 11,
        ("streams_commit_seconds_sum", processor): 70.03,
    }
    assert {where: found.get(where) for where in expected} == expected
    outcomes = {dict(labels)["outcome"]: value for (name, labels), value in found.items() if "processed" in name}
    assert outcomes == {"processed": 7, "failed_in_decode": 2, "failed_in_process": 1}
    idle = (("consumergroup", "shop.count"), ("partition", "0"), ("topic", "shop.items"))
    assert found["kafka_consumergroup_lag", idle] == 0


def test_no_key_of_a_record_is_told() -> None:
    made, metrics = board()
    made.put(0, progress({"processed": 7}))
    assert b"secret" not in metrics.text()


def test_counters_never_go_down_over_restarts() -> None:
    made, metrics = board()
    counts = [{"processed": 5}, {"processed": 9, "failed_in_send": 1}, {}, {"processed": 2}]
    last: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    compared = 0
    for death, told in enumerate(counts):
        made.put(0, progress(told))
        now = samples(metrics)
        counters = {where for where in last if where[0].endswith(("_total", "_count", "_bucket", "_sum"))}
        counters -= {where for where in counters if where[0].startswith("kafka_")}
        compared += len(counters)
        assert [where for where in counters if now[where] < last[where]] == []
        last = now
        made.ended(0)
        made.started(0)
        assert samples(metrics)["streams_worker_restarts_total", (("processor", "shop.count"),)] == death + 1
    print(f"compared {compared} samples")
    assert compared > 100


def test_two_workers_that_both_name_a_partition_give_one_series() -> None:
    made, metrics = board(workers=2)
    made.put(0, progress({}))
    made.put(1, progress({}))
    assert sum(name == "kafka_consumergroup_lag" for name, _ in samples(metrics)) == 2


def test_before_anything_is_known_there_is_still_an_answer() -> None:
    _, metrics = board()
    found = samples(metrics)
    assert found["streams_workers", (("processor", "shop.count"), ("state", "starting"))] == 1


def test_each_worker_tells_its_cpu_time_memory_and_start() -> None:
    now = 0.0
    made = Board(lambda: now)
    metrics = Metrics(made.views, lambda _: True, lambda: NOW_MS)
    place = made.place("count", "shop.count")
    made.started(place)
    starting = progress({})._replace(joined=False, memory_bytes=50 << 20)
    now = 1.0
    made.put(place, starting)
    assert made.views()[0].start_seconds is None
    now = 3.0
    ready = progress({})
    made.put(place, ready._replace(memory_bytes=60 << 20, totals=ready.totals._replace(cpu_seconds=1.0)))
    now = 5.0
    made.put(place, ready._replace(memory_bytes=70 << 20, totals=ready.totals._replace(cpu_seconds=1.5)))
    worker = (("processor", "shop.count"), ("slot", "0"))
    found = samples(metrics)
    assert found["streams_worker_memory_bytes", worker] == 70 << 20
    assert found["streams_worker_start_seconds", worker] == 3.0
    assert found["streams_cpu_seconds_total", worker[:1]] == 1.5
    assert made.views()[0].cores == 0.25
    [told] = Report(made, 60, lambda: now, lambda: NOW_MS).health().content["workers"]
    assert (told["start_seconds"], told["cpu_seconds"], told["cores"], told["memory_bytes"]) == (
        3.0,
        1.5,
        0.25,
        70 << 20,
    )
    made.ended(place)
    made.started(place)
    found = samples(metrics)
    assert found["streams_cpu_seconds_total", worker[:1]] == 1.5  # of the process before
    assert ("streams_worker_memory_bytes", worker) not in found
    assert made.views()[0].start_seconds is None


def test_a_process_measures_itself() -> None:
    before = usage()
    held = bytearray(os.urandom(1 << 20)) * 256  # beside which nothing counts that another test gives back meanwhile
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    after = usage()
    assert after.memory_bytes - before.memory_bytes > len(held) * 0.8
    assert after.memory_bytes <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 1.02  # and not its map
    assert 0.05 <= after.cpu_seconds - before.cpu_seconds < 5
