"""How long a record takes through a contender, at fixed rates that do not wait for it.

Records carry as their timestamp the moment at which they were meant to be sent; outputs keep it. The time at which a
read_committed reader has the output, less that, is the latency: a pause of the contender, or of the load, counts in all
records that it delays.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from benchmarks.programs.wire import Contract
from benchmarks.suite.bench import Bench, Started
from benchmarks.suite.contenders import Contender
from benchmarks.suite.environments import ROOT
from benchmarks.suite.errors import FAILURES, BenchmarkError, WrongOutputError
from benchmarks.suite.inputs import frames
from benchmarks.suite.runner import Keep, Row, Say
from benchmarks.suite.workloads import EXACTLY_ONCE, WORKLOADS, Workload

PERCENT = (25, 50, 75)
WARM_UP, MEASURED = 15.0, 15.0  # seconds; a backlog of the start takes long to work off
PATIENCE = 60.0  # seconds for a contender to start, and for the last outputs
LATENCIES: Mapping[str, Workload] = {
    f"latency_{name}": WORKLOADS[name] for name in ("map_half", "map_half_at_least_once")
}


@dataclass(frozen=True)
class _Asked:
    """A rate in records a second, and the number of the run."""

    rate: int
    number: int


def compare(
    bench: Bench, name: str, contenders: Sequence[Contender], records: int, say: Say, keep: Keep
) -> Mapping[str, Row]:
    """Return a row for each contender: its capacity, and the latencies at shares of it."""
    workload = LATENCIES[name]
    rows: dict[str, Row] = {}
    for place, contender in enumerate(contenders):
        if why := contender.not_available(workload):
            rows[contender.name] = {"not_available": why}
            continue
        try:
            rows[contender.name] = _row(bench, workload, contender, int(records * contender.share), place, say)
        except FAILURES as error:
            say(f"{name} {contender.name}: no figure: {error}")
            rows[contender.name] = {"outputs_equal": False, "failed": str(error) or repr(error)}
        keep(rows)
    return rows


def _row(bench: Bench, workload: Workload, contender: Contender, records: int, place: int, say: Say) -> Row:
    runs = [bench.run(contender, workload, records, 100 + number) for number in range(3)]
    capacity = sorted(run.records_per_second for run in runs)[1]
    row: dict[str, Any] = {"capacity": round(capacity), "outputs_equal": True}
    for percent in PERCENT:
        asked = _Asked(int(capacity * percent / 100), place * 1000 + percent)
        figures: Mapping[str, Any]
        try:
            figures = _measure(bench, workload, contender, asked)
        except WrongOutputError:
            raise
        except FAILURES as error:
            figures = {"failed": str(error) or repr(error)}
        row[f"at_{percent}_percent"] = figures
        say(f"latency {workload.name} {contender.name} {percent} %: {figures}")
    return row


def _measure(bench: Bench, workload: Workload, contender: Contender, asked: _Asked) -> Mapping[str, float]:
    name = f"{contender.name}-{workload.name}-latency-{asked.number}".replace("_", "-")
    job = bench.job(workload, f"{name}-in", name)
    with Started(contender, job) as process:
        reader = _Reader(bench.servers, job)
        primed = _prime(bench, job)
        reader.read(primed, process)
        with _load(bench, job, asked.rate) as load:
            try:
                reader.read_while(load, process)
            finally:
                load.kill()  # it has ended, unless the contender did before it
            told = json.loads(load.communicate()[0])
        reader.read(primed + told["public"], process)
    taken = reader.taken(told["began_ms"] + WARM_UP * 1000)
    bench.tidy(job)
    wanted = primed + told["public"]
    if reader.count > wanted and workload.guarantee == EXACTLY_ONCE:
        raise WrongOutputError(f"{reader.count:,} outputs, it has to be {wanted:,}")
    if reader.count != wanted or not taken:
        raise BenchmarkError(f"{reader.count:,} outputs after {PATIENCE:.0f} s, it has to be {wanted:,}")
    return {
        "rate": asked.rate,
        "p50_ms": taken[len(taken) // 2],
        "p99_ms": taken[len(taken) * 99 // 100],
        "p99_9_ms": taken[len(taken) * 999 // 1000],
        "max_ms": taken[-1],
        "records": len(taken),
        "load_late_ms": told["late_ms"],
    }


def _prime(bench: Bench, job: Mapping[str, Any]) -> int:
    """Send some records, so that nobody is measured while it starts; return how many outputs come of them."""
    producer, public = Producer(dict(bench.client)), 0
    contract = Contract(job["source"]["schema"], job["source"]["id"])
    for partition, key, _, frame, post in frames(LATENCIES["latency_map_half"].input, 1_000, contract):
        producer.produce(job["source"]["topic"], frame, key, partition, timestamp=1)
        public += post is not None and post["audience"] == "PUBLIC"
    producer.flush(10)
    return public


def _load(bench: Bench, job: Mapping[str, Any], rate: int) -> subprocess.Popen[str]:
    told = {"source": job["source"], "client": dict(bench.client), "rate": rate, "seconds": WARM_UP + MEASURED}
    command = [sys.executable, "-m", "benchmarks.suite.load", json.dumps(told)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


class _Reader:
    """Reads an output as it grows, and notes for each record when it was meant to be sent and how long it took."""

    def __init__(self, servers: str, job: Mapping[str, Any]) -> None:
        self.count = 0
        self._meant, self._took = array("q"), array("q")
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "benchmark-latency",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 10,
            }
        )
        parts = range(job["partitions"])
        self._consumer.assign([TopicPartition(job["output"]["topic"], part, OFFSET_BEGINNING) for part in parts])

    def read(self, count: int, process: Started) -> None:
        """Read until there were so many, or for as long as patience lasts."""
        deadline = time.monotonic() + PATIENCE
        while self.count < count and time.monotonic() < deadline:
            self._poll(process)

    def read_while(self, load: subprocess.Popen[str], process: Started) -> None:
        """Read while the load runs."""
        while load.poll() is None:
            self._poll(process)

    def taken(self, since_ms: float) -> list[int]:
        """Return the latencies, in milliseconds, of what was meant to be sent since then, in their order."""
        self._consumer.close()
        return sorted(took for meant, took in zip(self._meant, self._took, strict=True) if meant >= since_ms)

    def _poll(self, process: Started) -> None:
        if process.process.poll() is not None:
            raise BenchmarkError(f"it ended\n{process.last_words()}")
        first = self._consumer.consume(1, 0.1)  # more than one would be waited for
        now = time.time() * 1000
        for message in first + self._consumer.consume(2_000, 0) if first else ():
            if message.error() is None:
                meant = message.timestamp()[1]
                self._meant.append(meant)
                self._took.append(max(0, round(now - meant)))
                self.count += 1
