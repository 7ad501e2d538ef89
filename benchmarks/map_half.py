"""Map half of a topic's posts to headlines, exactly once: the toolkit's worker beside a hand-written loop.

    python benchmarks/map_half.py [--json] [--records N] [--repetitions N]

One embedded cluster, one topic filled once, the two contenders in turn, each run with a new group and a new output
topic. Nothing counts before the outputs are equal; if they are not, it ends with 1. README.md has the method.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import harness
from harness import BenchmarkError
from ours import SOURCE, build

from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.embedded import Cluster
from streams.errors import StreamsError
from streams.kafka import config
from streams.kafka.admin import Admin
from streams.settings import Settings

OURS, HANDWRITTEN = "ours", "handwritten"
PROGRAMS = {OURS: "ours.py", HANDWRITTEN: "handwritten.py"}


class Benchmark:
    """One cluster with the input in it."""

    def __init__(self, settings: Settings, records: int) -> None:
        self.settings = settings
        self.records = records
        self.compared = 0
        self._admin = Admin(settings)
        self._registry = Registry(str(settings.schema_registry_url))
        ids = self._deploy("fill", "unused")
        client = {name: value for name, value in self._producer("fill").items() if not name.startswith("transaction")}
        self._post_id = ids[SOURCE]
        self.filled = harness.fill(client, SOURCE, self._post_id, records)

    def run(self, contender: str, number: int) -> dict[str, float]:
        """Run a contender, compare its output, and return what it measured.

        Raises:
            BenchmarkError: it failed, or wrote something else than it has to.
        """
        name, output = f"{contender}-{number}", f"headlines-{contender}-{number}"
        ids = self._deploy(name, output)
        job = self._job(name, output, ids[output])
        measured = harness.contend(PROGRAMS[contender], job)
        self._compare(f"{name}.headline", output, ids[output])
        self._admin.delete_topics([output])
        seconds, cpu = measured.pop("seconds"), measured.pop("cpu_seconds")
        return {"rate": self.records / seconds, "cpu_us": cpu * 1e6 / self.records, **measured}

    def configuration(self, contender: str) -> dict[str, Any]:
        """Return the settings of a contender, as it gets them."""
        clients = {"consumer": self._consumer("<slot>"), "producer": self._producer("<slot>")}
        if contender == HANDWRITTEN:
            return {**clients, "commit_interval_ms": self._interval_ms(), "batch": "consume(500, 0.02)"}
        own = ("commit_records", "prefetch_records", "prefetch_bytes", "poll_records")
        return {**clients, "commit_interval_ms": self._interval_ms(), **{n: getattr(self.settings, n) for n in own}}

    def _deploy(self, name: str, output: str) -> dict[str, int]:
        """Make the topics and register the contracts of a run; return the schema id of each topic."""
        app = build(name, output)
        self._admin.create_topics(app.topics())
        return {
            subject.removesuffix("-value"): self._registry.register(subject, [schema_of(model).text], "BACKWARD")[-1]
            for subject, model in app.contracts()
        }

    def _job(self, name: str, output: str, headline_id: int) -> dict[str, Any]:
        return {
            "app": name,
            "source": SOURCE,
            "output": output,
            "ends": self.filled.ends,
            "settings": self.settings.model_dump(mode="json", exclude_unset=True),
            "consumer": self._consumer(name),
            "producer": self._producer(name),
            "commit_interval": self._interval_ms() / 1000,
            "post_schema": harness.POST,
            "headline_schema": harness.HEADLINE,
            "post_id": self._post_id,
            "headline_id": headline_id,
        }

    def _consumer(self, name: str) -> dict[str, Any]:
        return _plain(config.group_consumer(self.settings, f"{name}.headline", name))

    def _producer(self, name: str) -> dict[str, Any]:
        return _plain(config.transactional_producer(self.settings, name))

    def _interval_ms(self) -> float:
        return self.settings.commit_interval.total_seconds() * 1000

    def _compare(self, group: str, output: str, headline_id: int) -> None:
        committed = harness.committed(self._admin, group, SOURCE, self.filled.ends)
        if any(committed.get(partition, 0) < end for partition, end in self.filled.ends.items()):
            raise BenchmarkError(f"group {group} committed {committed}, the ends are {self.filled.ends}")
        found = harness.digest(self._admin, str(self.settings.bootstrap_servers), output, headline_id)
        self.compared += found.count
        if found != self.filled.expected or not found.count:
            refused = harness.written(self._admin, f"{group}.dlq")
            raise BenchmarkError(
                f"{output} holds {found}, it has to hold {self.filled.expected}; {refused:,} dead letters"
            )


def measure(benchmark: Benchmark, repetitions: int) -> dict[str, Any]:
    """Run both in turn, the order reversed each time; the first pair warms broker and page cache up."""
    runs: dict[str, list[dict[str, float]]] = {OURS: [], HANDWRITTEN: []}
    for number in range(repetitions + 1):
        for contender in (OURS, HANDWRITTEN) if number % 2 else (HANDWRITTEN, OURS):
            measured = benchmark.run(contender, number)
            _say(f"{'warm-up' if number == 0 else f'run {number}'} {contender}: {_told(measured)}")
            if number:
                runs[contender].append(measured)
    pairs = [a["rate"] / b["rate"] for a, b in zip(runs[OURS], runs[HANDWRITTEN], strict=True)]
    cpu = [a["cpu_us"] / b["cpu_us"] for a, b in zip(runs[OURS], runs[HANDWRITTEN], strict=True)]
    return {
        "benchmark": "map_half",
        "unit": "input records per second, median of the repetitions",
        OURS: round(median(run["rate"] for run in runs[OURS])),
        HANDWRITTEN: round(median(run["rate"] for run in runs[HANDWRITTEN])),
        "ratio": round(median(pairs), 3),
        "ratio_is": "ours / handwritten, median of the pairs of neighbouring runs",
        "ratio_min": round(min(pairs), 3),
        "ratio_max": round(max(pairs), 3),
        "cpu_ratio": round(median(cpu), 3),
        "outputs_equal": True,  # else there is no result
        "compared": benchmark.compared,
        "records": benchmark.records,
        "repetitions": repetitions,
        "mean_value_bytes": round(benchmark.filled.mean_bytes, 1),
        "partitions": harness.PARTITIONS,
        "details": {
            name: _summary(found) | {"configuration": benchmark.configuration(name)} for name, found in runs.items()
        },
        "environment": _environment(),
    }


def _summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    rates = [run["rate"] for run in runs]
    return {
        "records_per_second": round(median(rates)),
        "min": round(min(rates)),
        "max": round(max(rates)),
        "cpu_us_per_record": round(median(run["cpu_us"] for run in runs), 2),
        "peak_rss_mb": round(max(run["peak_rss_mb"] for run in runs), 1),
        "commits": round(median(run["commits"] for run in runs)),
    }


def _environment() -> dict[str, Any]:
    packages = ("confluent-kafka", "fastavro", "pydantic")
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "").partition(": ")[2]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "system": platform.platform(),
        "cpu": model or platform.processor(),
        "load_average": _lines("/proc/loadavg")[:1],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "logger"}


def _told(run: Mapping[str, float]) -> str:
    return (
        f"{run['rate']:,.0f} records/s, {run['cpu_us']:.2f} us CPU a record, "
        f"{run['peak_rss_mb']:.0f} MB, {run['commits']:.0f} commits"
    )


def _table(result: Mapping[str, Any]) -> str:
    rows = [f"{'':12} {'records/s':>10} {'min':>10} {'max':>10} {'CPU us':>8} {'RSS MB':>8} {'commits':>8}"]
    for name in (OURS, HANDWRITTEN):
        of = result["details"][name]
        rows.append(
            f"{name:12} {of['records_per_second']:>10,} {of['min']:>10,} {of['max']:>10,} "
            f"{of['cpu_us_per_record']:>8.2f} {of['peak_rss_mb']:>8.0f} {of['commits']:>8}"
        )
    rows.append(f"ratio {result['ratio']} ({result['ratio_min']} to {result['ratio_max']}), CPU {result['cpu_ratio']}")
    rows.append(f"outputs equal: {result['compared']:,} records compared")
    return "\n".join(rows)


def _say(told: str) -> None:
    print(told, file=sys.stderr, flush=True)


def _positive(given: str) -> int:
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--records", type=_positive, default=1_000_000, help="posts in the topic")
    parser.add_argument("--repetitions", type=_positive, default=5, help="counted runs of each contender")
    parser.add_argument(
        "--prefetch-records", type=_positive, help="of both consumers; the toolkit's default if left out"
    )
    options = parser.parse_args()
    given = {} if options.prefetch_records is None else {"prefetch_records": options.prefetch_records}
    try:
        with Cluster.ephemeral(say=_say) as cluster, tempfile.TemporaryDirectory() as state:
            settings = Settings(
                bootstrap_servers=cluster.bootstrap_servers,
                schema_registry_url=cluster.schema_registry_url,
                state_dir=Path(state),
                log_level="warning",
                **given,
            )
            _say(f"filling the topic with {options.records:,} posts")
            result = measure(Benchmark(settings, options.records), options.repetitions)
    except (BenchmarkError, StreamsError) as error:
        _say(f"no result: {error}")
        return 1
    print(json.dumps(result, indent=2) if options.json else _table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
