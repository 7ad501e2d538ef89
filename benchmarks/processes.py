"""What processes cost: start, CPU and memory of an app of 30 processors and of a topic of 1,000 partitions.

    python -m benchmarks.processes [--json] [--case NAME …] [--idle SECONDS]

Each case is one command, `streams worker`, from its start until `/readyz` is good and until every partition's first
record is dealt with. Then it is left alone. The program ends with 1 if a record is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import Producer

from benchmarks.events import Post
from benchmarks.programs import shapes
from benchmarks.programs.wire import Contract
from benchmarks.suite.command import Command
from benchmarks.suite.errors import BenchmarkError, run_program
from benchmarks.suite.manifest import surroundings
from benchmarks.suite.processes import Footprint, footprint
from benchmarks.suite.watch import busy_seconds, cpu_seconds
from streams import App
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.embedded import Addresses, Cluster
from streams.kafka.admin import Admin
from streams.record import TopicPartition
from streams.settings import Settings

LONGEST_DEPLOY = 300.0  # seconds
SETTLE = 3.0  # seconds between the last record and what counts as idle


@dataclass(frozen=True)
class Case:
    """A command: an app's shape, and how many workers each of its processors has."""

    shape: str
    workers: int

    @property
    def app(self) -> App:
        app: App = getattr(shapes, self.shape)
        return app


CASES = {
    "30 processors": Case("many", 1),
    "1,000 partitions, one worker": Case("wide", 1),
    "1,000 partitions, four workers": Case("wide", 4),
    "1,000 partitions with state, one worker": Case("deep", 1),
    "1,000 partitions with state, four workers": Case("deep", 4),
}


class Bench:
    """A cluster and the topics of a shape, with one record in each partition of the input."""

    def __init__(self, addresses: Addresses, scratch: Path) -> None:
        self._addresses = addresses
        self._scratch = scratch
        settings = Settings(bootstrap_servers=addresses.bootstrap_servers, state_dir=scratch)
        self._admin = Admin(settings, LONGEST_DEPLOY)
        self._registry = Registry(addresses.schema_registry_url)

    def deploy(self, app: App) -> int:
        """Make an app's topics and fill its input; return how many records that are."""
        self._admin.create_topics(app.topics())
        for spec in app.topics():  # answered before the partitions have leaders
            self._admin.ranges(TopicPartition(spec.name, number) for number in range(spec.partitions))
        ids = {
            subject: self._registry.register(subject, [schema_of(model).text], "BACKWARD")[-1]
            for subject, model in app.contracts()
        }
        [source] = {processor.source for processor in app.processors.values()}
        self._fill(source.name, source.partitions, Contract(schema_of(Post).text, ids[source.subject]))
        return source.partitions * len(app.processors)

    def _fill(self, topic: str, partitions: int, contract: Contract) -> None:
        producer = Producer({"bootstrap.servers": self._addresses.bootstrap_servers})
        for number in range(partitions):
            post = {
                "post_id": f"p{number}",
                "author": f"u{number}",
                "text": "one of many",
                "tags": ["rest"],
                "posted_at": datetime.now(UTC),
                "audience": "PUBLIC",
                "reply_to": None,
            }
            producer.produce(topic, contract.encode(post), f"u{number}", number)
        if producer.flush(60):
            raise BenchmarkError("the input could not be written")

    def run(self, case: Case, idle: float) -> dict[str, Any]:
        """Run a case and return its figures."""
        expected = self.deploy(case.app)
        target = f"benchmarks.programs.shapes:{case.shape}"
        with Command(target, case.workers, self._addresses, self._scratch) as command:
            ready = command.until(command.ready)
            first = command.until(lambda: any(command.done().values()))
            every = command.until(lambda: sum(command.done().values()) >= expected)
            time.sleep(SETTLE)
            figures = _over(command, idle)
            dealt_with = sum(command.done().values())
            drained = command.end()
        if dealt_with < expected:  # what an aborted transaction had is dealt with, and counted, again
            raise BenchmarkError(f"{dealt_with} records dealt with, {expected} there")
        return {
            "records_compared": expected,
            "redone": dealt_with - expected,
            "ready_seconds": round(ready, 2),
            "first_record_seconds": round(first, 2),
            "every_partition_seconds": round(every, 2),
            "drain_seconds": round(drained, 2),
            **figures,
        }


def _over(command: Command, seconds: float) -> dict[str, Any]:
    """Leave the workers alone for so long, and return what they hold and have used."""
    started = {worker["pid"]: worker for worker in command.workers()}
    before, busy = {pid: cpu_seconds(pid) for pid in started}, busy_seconds()
    time.sleep(seconds)
    found: list[Footprint] = [footprint(pid) for pid in started]
    idle = [(cpu_seconds(pid) - was) / seconds for pid, was in before.items()]
    own = footprint(command.process.pid)
    return {
        "processes": len(started),
        "start_seconds_per_worker": _spread([worker["start_seconds"] for worker in started.values()]),
        "cpu_seconds_until_idle_per_worker": _spread(list(before.values())),
        "idle_cores_per_worker": _spread(idle, 4),
        "idle_cores": round(sum(idle), 3),
        "machine_cores_meanwhile": round((busy_seconds() - busy) / seconds, 2),
        "rss_mb_per_worker": _spread([one.rss_mb for one in found]),
        "pss_mb_per_worker": _spread([one.pss_mb for one in found]),
        "uss_mb_per_worker": _spread([one.uss_mb for one in found]),
        "pss_mb_of_all_workers": round(sum(one.pss_mb for one in found)),
        "supervisor_pss_mb": own.pss_mb,
        "threads_per_worker": _spread([one.threads for one in found]),
        "files_per_worker": _spread([one.files for one in found]),
    }


def _spread(values: list[float], digits: int = 2) -> dict[str, float]:
    return {
        "median": round(median(values), digits),
        "least": round(min(values), digits),
        "most": round(max(values), digits),
    }


def main() -> None:
    """Run the cases and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--idle", type=float, default=20.0)
    chosen = parser.parse_args()
    results = {}
    for name in chosen.case or CASES:  # a cluster each: static members of the case before would still count
        with tempfile.TemporaryDirectory() as scratch, Cluster.ephemeral() as cluster:
            results[name] = Bench(cluster.addresses, Path(scratch)).run(CASES[name], chosen.idle)
            print(f"{name}: {json.dumps(results[name])}", file=sys.stderr, flush=True)
    if chosen.json:
        print(json.dumps({"benchmark": "processes", "cases": results, "manifest": surroundings()}, indent=2))


if __name__ == "__main__":
    run_program(main)
