"""Prometheus metrics, made from the board whenever somebody asks.

The names of kafka_exporter are kept, so that its dashboards fit; the others begin with `streams_`. No label holds
a key.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from streams.health.board import PartitionView, WorkerView
from streams.health.progress import BOUNDS, NO_OUTCOMES, PartitionProgress, Times, Totals

DISTRIBUTION = "straightstream"

COUNTERS: list[tuple[str, str, Callable[[Totals], float]]] = [
    ("streams_dlq", "Records that became dead letters.", lambda total: total.dead_letters),
    ("streams_retries", "Attempts after the first.", lambda total: total.counts.get("retries", 0)),
    ("streams_without_id", "Records that an inbox found no id of.", lambda total: total.counts.get("without_id", 0)),
    ("streams_commits", "Commits.", lambda total: total.commits),
    ("streams_aborts", "Transactions that were rolled back.", lambda total: total.aborts),
    ("streams_cpu_seconds", "CPU time of worker processes.", lambda total: total.cpu_seconds),
]
HISTOGRAMS: list[tuple[str, str, Callable[[Totals], Times]]] = [
    ("streams_process_seconds", "Time for a record, a batch's mean.", lambda total: total.process_seconds),
    ("streams_commit_seconds", "Time for a commit.", lambda total: total.commit_seconds),
]

Views = Callable[[], list[WorkerView]]
Healthy = Callable[[list[WorkerView]], bool]
Samples = list[tuple[list[str], float]]


class Metrics:
    """A collector over the board: nothing is counted twice, nothing costs a worker anything."""

    def __init__(self, views: Views, healthy: Healthy, now_ms: Callable[[], int]) -> None:
        self._views = views
        self._healthy = healthy
        self._now_ms = now_ms
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; called by prometheus-client."""
        views = self._views()
        yield _gauge("streams_info", "Always 1.", ["version"], [([version(DISTRIBUTION)], 1)])
        yield _gauge("streams_healthy", "1 while nothing stands still.", [], [([], float(self._healthy(views)))])
        yield from _of_partitions([(view.group, one) for view in views for one in view.partitions], self._now_ms())
        yield from _of_processors(views)
        yield from _of_processes(views)


def oldest_age(one: PartitionProgress, now_ms: int) -> float:
    """Return the age of a partition's oldest unfinished record in seconds; 0 without one."""
    return max(0.0, (now_ms - one.oldest_ms) / 1000) if one.oldest_ms is not None else 0.0


def _of_partitions(found: list[tuple[str, PartitionView]], now_ms: int) -> Iterator[Metric]:
    def each(value: Callable[[PartitionView], float]) -> Samples:
        return [([group, one.progress.topic, str(one.progress.partition)], value(one)) for group, one in found]

    exporter, ours = ["consumergroup", "topic", "partition"], ["processor", "topic", "partition"]
    lag = each(lambda one: one.progress.lag)
    yield _gauge("kafka_consumergroup_lag", "Records between the group and the end.", exporter, lag)
    yield _gauge("kafka_consumergroup_lag_sum", "The same over the partitions held here.", exporter[:2], _sums(lag))
    committed = each(lambda one: one.progress.committed)
    yield _gauge("kafka_consumergroup_current_offset", "The committed offset.", exporter, committed)
    ends = {(one.progress.topic, str(one.progress.partition)): float(one.progress.end) for _, one in found}
    known = [(list(labels), end) for labels, end in ends.items()]
    yield _gauge("kafka_topic_partition_current_offset", "The end of a partition.", ["topic", "partition"], known)
    ages = each(lambda one: oldest_age(one.progress, now_ms))
    yield _gauge("streams_lag_seconds", "Age of the oldest unfinished record.", ours, ages)
    yield _gauge("streams_stalled_seconds", "Work at hand and nothing finished.", ours, each(lambda one: one.stalled))
    yield _gauge("streams_waiting_records", "Records tried again later.", ours, each(lambda one: one.progress.waiting))
    yield _gauge("streams_parked_records", "Records put aside.", ours, each(lambda one: one.progress.parked))


def _of_processors(views: Iterable[WorkerView]) -> Iterator[Metric]:
    totals: dict[str, Totals] = defaultdict(Totals)
    workers: Counter[tuple[str, ...]] = Counter()
    restarts: Counter[str] = Counter()
    topics: dict[str, str] = {}
    for view in views:
        totals[view.group] = totals[view.group].plus(view.totals)
        topics[view.group] = view.topic or topics.get(view.group, "")
        restarts[view.group] += view.restarts
        workers[view.group, "ready" if view.ready else "starting" if view.alive else "down"] += 1
    outcomes = [
        ([group, topics[group], outcome], float(count))
        for group, total in totals.items()
        for outcome, count in total.counts.items()
        if outcome not in NO_OUTCOMES
    ]
    labels = ["processor", "topic", "outcome"]
    yield _counter("streams_records_processed", "Records that came to an end, by how they did.", labels, outcomes)
    for name, help_text, value in COUNTERS:
        yield _counter(name, help_text, ["processor"], [([group], value(total)) for group, total in totals.items()])
    again: Samples = [([group], float(count)) for group, count in restarts.items()]
    yield _counter("streams_worker_restarts", "Processes started again.", ["processor"], again)
    states = [(list(labels), float(count)) for labels, count in workers.items()]
    yield _gauge("streams_workers", "Workers by state.", ["processor", "state"], states)
    for name, help_text, times in HISTOGRAMS:
        yield _histogram(name, help_text, {group: times(total) for group, total in totals.items()})


def _of_processes(views: Iterable[WorkerView]) -> Iterator[Metric]:
    running = {(view.group, str(view.progress.slot)): view for view in views if view.progress is not None}
    labels = ["processor", "slot"]
    memory = [(list(who), float(view.progress.memory_bytes)) for who, view in running.items() if view.progress]
    yield _gauge("streams_worker_memory_bytes", "Resident memory of a worker process.", labels, memory)
    starts = [(list(who), view.start_seconds) for who, view in running.items() if view.start_seconds is not None]
    yield _gauge("streams_worker_start_seconds", "From the process's start until it was ready.", labels, starts)


def _sums(lag: Samples) -> Samples:
    sums: Counter[tuple[str, ...]] = Counter()
    for (group, topic, _), value in lag:
        sums[group, topic] += int(value)
    return [(list(labels), float(value)) for labels, value in sums.items()]


def _gauge(name: str, help_text: str, labels: list[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, help_text: str, labels: list[str], samples: Samples) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(name: str, help_text: str, found: dict[str, Times]) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=["processor"])
    bounds = [*map(str, BOUNDS), "+Inf"]
    for group, times in found.items():
        family.add_metric([group], list(zip(bounds, accumulate(times.counts), strict=True)), times.seconds)
    return family
