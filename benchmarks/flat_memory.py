"""Whether memory stays flat: two workers at full speed for minutes, on a map and on a keyed count.

    python -m benchmarks.flat_memory [--minutes N] [--keys N] [--json]

Posts are sent for as long as it lasts, so fast that both workers always have some at hand; retention bounds the disk.
Resident memory is looked at every second. The slope is that of the last two thirds, by least squares. It ends with 1
if memory rises or is over the limit, if a worker was started again, or if it dealt with fewer records than were sent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from confluent_kafka import Producer

from benchmarks.events import Post
from benchmarks.programs import flat
from benchmarks.programs.wire import Contract
from benchmarks.suite.command import Command
from benchmarks.suite.errors import BenchmarkError, run_program
from benchmarks.suite.inputs import frames
from benchmarks.suite.manifest import surroundings
from benchmarks.suite.processes import footprint
from benchmarks.suite.workloads import Input
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.embedded import Cluster
from streams.kafka.admin import Admin
from streams.settings import Settings

LIMIT_MB = 400
FLAT_MB_PER_MINUTE = 1.0
AT_HAND = 200_000  # records that the slower worker has before it; more are kept
CHUNK = 10_000
SHORTEST = 5.0  # minutes; before, caches still fill


class Load:
    """Sends the same posts again and again, with authors that come around."""

    def __init__(self, servers: str, contract: Contract, keys: int) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "compression.type": "lz4"})
        # one of each author, so that all of them have state
        self._pool = [(one[3], one[1], one[0]) for one in frames(Input(each_once=True), keys, contract)]
        self.sent = 0

    def send(self, records: int) -> None:
        """Send the next ones."""
        for number in range(self.sent, self.sent + records):
            value, key, partition = self._pool[number % len(self._pool)]
            self._producer.produce(flat.posts.name, value, key, partition)
            if number % 2_000 == 0:
                self._producer.poll(0)
        if self._producer.flush(60):
            raise BenchmarkError("the input could not be written")
        self.sent += records


def deploy(cluster: Cluster, scratch: Path) -> Contract:
    """Make the topics and register the contracts; return that of the input."""
    admin = Admin(Settings(bootstrap_servers=cluster.bootstrap_servers, state_dir=scratch), 60.0)
    admin.create_topics(flat.app.topics())
    registry = Registry(cluster.schema_registry_url)
    ids = {
        subject: registry.register(subject, [schema_of(model).text], "BACKWARD")[-1]
        for subject, model in flat.app.contracts()
    }
    return Contract(schema_of(Post).text, ids[flat.posts.subject])


def run(cluster: Cluster, scratch: Path, minutes: float, keys: int) -> dict[str, Any]:
    """Run the workers and return what they held."""
    load = Load(cluster.bootstrap_servers, deploy(cluster, scratch), keys)
    samples: dict[str, list[tuple[float, float]]] = {}
    with Command("benchmarks.programs.flat:app", 1, cluster.addresses, scratch / "state") as command:
        command.until(command.ready)
        workers = {worker["processor"]: worker["pid"] for worker in command.workers()}
        began = looked = time.monotonic()
        done = dict.fromkeys(workers, 0)
        while time.monotonic() - began < minutes * 60:
            if load.sent - min(done.values()) < AT_HAND:
                load.send(CHUNK)
            else:
                time.sleep(0.05)
            if time.monotonic() - looked >= 1:
                looked = time.monotonic()
                done = {name: command.done().get(name, 0) for name in workers}
                for name, pid in workers.items():
                    samples.setdefault(name, []).append((looked - began, footprint(pid).rss_mb))
        command.until(lambda: min(command.done().values()) >= load.sent, minutes * 60 + 300)
        ended = {worker["processor"]: worker for worker in command.workers()}
        for name, worker in ended.items():
            if worker["pid"] != workers[name] or worker["counts"]["processed"] < load.sent:
                raise BenchmarkError(f"{name}: started again, or {load.sent} sent and not as many dealt with: {worker}")
        command.end()
    return {name: _figures(of, load.sent, minutes) for name, of in samples.items()}


def _figures(samples: list[tuple[float, float]], records: int, minutes: float) -> dict[str, Any]:
    late = [(at / 60, held) for at, held in samples if at > minutes * 20]
    slope, _ = linear_regression([at for at, _ in late], [held for _, held in late])
    return {
        "records": records,
        "samples": len(samples),
        "mb_per_minute_over_the_last_two_thirds": round(slope, 3),
        "median_mb": median(held for _, held in late),
        "peak_mb": max(held for _, held in samples),
        "each_minute_mb": [round(held) for number, (_, held) in enumerate(samples) if number % 60 == 30],
    }


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster.ephemeral() as cluster:
        figures = run(cluster, Path(folder), chosen.minutes, chosen.keys)
    told = {
        "benchmark": "flat_memory",
        "minutes": chosen.minutes,
        "keys": chosen.keys,
        "limit_mb": LIMIT_MB,
        "flat_mb_per_minute": FLAT_MB_PER_MINUTE,
        "workers": figures,
        **surroundings(),
    }
    print(json.dumps(told, indent=2 if chosen.json else None))
    over = [name for name, of in figures.items() if of["peak_mb"] > LIMIT_MB]
    rising = [
        name
        for name, of in figures.items()
        if of["mb_per_minute_over_the_last_two_thirds"] > FLAT_MB_PER_MINUTE and chosen.minutes >= SHORTEST
    ]
    if over or rising:
        raise BenchmarkError(f"over {LIMIT_MB} MB: {over}; not flat: {rising}")


if __name__ == "__main__":
    run_program(main)
