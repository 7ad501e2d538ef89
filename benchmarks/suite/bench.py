"""One cluster, its inputs, and a run of one contender on one workload, judged before it counts."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException

from benchmarks import events
from benchmarks.programs import ours
from benchmarks.programs.wire import Contract
from benchmarks.suite import settings
from benchmarks.suite.contenders import Contender
from benchmarks.suite.environments import ROOT
from benchmarks.suite.errors import BenchmarkError, WrongOutputError
from benchmarks.suite.inputs import fill, frames
from benchmarks.suite.judge import Ends, Verdict, judge, judge_refused
from benchmarks.suite.reference import Expected
from benchmarks.suite.watch import LONGEST, Watch, Watched
from benchmarks.suite.workloads import Workload
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.embedded import Cluster
from streams.errors import StreamsError
from streams.kafka.admin import Admin

PATIENCE = 15.0  # seconds for a contender to end by itself
LAST_WORDS = 1500  # characters


@dataclass(frozen=True)
class Run:
    """The figures of one run whose output was right; `other_cores` is what the rest of the machine was busy with."""

    records_per_second: float
    cpu_us_per_record: float
    broker_cpu_us_per_record: float
    peak_rss_mb: float
    seconds: float
    other_cores: float
    compared: int


class Bench:
    """A cluster with inputs in it; every run has a group, an output and a state folder of its own.

    `client` are the settings of the producer that fills inputs; `longest` are the seconds that a run may take.
    """

    def __init__(self, cluster: Cluster, scratch: Path, longest: float = LONGEST) -> None:
        self._addresses = cluster.addresses
        self.servers = cluster.bootstrap_servers
        self._scratch = scratch
        [broker] = [server.pid for server in cluster.status().servers if server.name == "kafka"]
        assert broker is not None
        self._watch = Watch(self.servers, broker, longest)
        plain = settings.toolkit(self._addresses, scratch, "at_least_once")
        self.client = settings.clients(plain, "fill")["producer"]
        self._admin = Admin(plain)
        self._registry = Registry(cluster.schema_registry_url)
        self._expected: dict[tuple[str, str], Expected] = {}

    def prepare(self, workload: Workload, records: int) -> Expected:
        """Fill the input, unless that was done, and return what has to come of it."""
        topic = workload.input.topic(records)
        known = (topic, f"{workload.kind} {dict(workload.options)}")
        if known in self._expected:
            return self._expected[known]
        name = f"fill-{len(self._expected)}"
        unused = f"{topic}-{workload.output}-unused"
        ids = self._deploy(workload, topic, name, unused)
        expected = Expected(workload, Contract(_schema(workload.output), ids[unused]))
        placed = frames(workload.input, records, Contract(_schema(workload.input.schema), ids[topic]))
        if any(filled == topic for filled, _ in self._expected):
            for one in placed:
                expected.see(one)
        else:
            fill(self.client, topic, placed, expected.see)
        self._expected[known] = expected
        return expected

    def run(self, contender: Contender, workload: Workload, records: int, number: int) -> Run:
        """Run a contender in a process of its own, and return its figures.

        Raises:
            BenchmarkError: it failed, or took too long.
            WrongOutputError: its output is not what it has to be.
        """
        expected = self.prepare(workload, records)
        name = f"{contender.name}-{workload.name}-{number}".replace("_", "-")
        job = self.job(workload, workload.input.topic(records), name)
        try:
            with Started(contender, job) as process:
                watched = self.watched(process, job, expected)
        finally:
            self.tidy(job)
        return _figures(watched, records)

    def job(self, workload: Workload, source: str, name: str) -> dict[str, Any]:
        """Make the topics of a run, and return all that a contender is told."""
        output = f"{name}-out"
        ids = self._deploy(workload, source, name, output)
        state = self._scratch / name
        state.mkdir()
        toolkit = settings.toolkit(self._addresses, state, workload.guarantee)
        return {
            "name": name,
            "group": f"{name}.work",
            "servers": self.servers,
            "state": str(state),
            "kind": workload.kind,
            "options": dict(workload.options),
            "guarantee": workload.guarantee,
            "partitions": workload.input.partitions,
            "source": {"topic": source, "schema": _schema(workload.input.schema), "id": ids[source]},
            "output": {"topic": output, "schema": _schema(workload.output), "id": ids[output]},
            "dead_letters": f"{name}.work.dlq",
            **settings.clients(toolkit, name),
        }

    def _deploy(self, workload: Workload, source: str, name: str, output: str) -> dict[str, int]:
        """Make the topics and register the contracts of a run; return the schema id of each topic."""
        app = ours.build(name, source, output, workload.kind, workload.options, workload.input.partitions)
        self._admin.create_topics(app.topics())
        return {
            subject.removesuffix("-value"): self._registry.register(subject, [schema_of(model).text], "BACKWARD")[-1]
            for subject, model in app.contracts()
        }

    def outputs(self, job: Mapping[str, Any]) -> int:
        """Return how long the output of a run is, markers of transactions included."""
        return sum(self._watch.ends(job["output"]["topic"], job["partitions"]).values())

    def watched(self, process: Started, job: Mapping[str, Any], expected: Expected, least: int = 0) -> Watched:
        """Watch a contender until its output is complete; before it is as long as `least` it cannot be.

        Raises:
            BenchmarkError: it failed, or took too long.
            WrongOutputError: its output is not what it has to be.
        """
        topic, partitions = job["output"]["topic"], job["partitions"]

        def judged(ends: Ends, marks: Ends) -> Verdict:
            try:
                verdict = judge(self.servers, topic, ends, marks, expected)
            except (ValueError, EOFError, IndexError, TypeError) as error:
                raise WrongOutputError(f"its output is none: {error!r}") from error
            if verdict.complete and not verdict.equal:
                raise WrongOutputError(f"its output is not what it has to be: {verdict.told}")
            return verdict

        watched = process.watched(self._watch, topic, partitions, least or expected.least_outputs, judged)
        if expected.refused.count:
            refused = self._watch.ends(job["dead_letters"], partitions)
            verdict = judge_refused(self.servers, job["dead_letters"], refused, expected)
            if not verdict.equal:
                raise WrongOutputError(verdict.told)
        return watched

    def tidy(self, job: Mapping[str, Any]) -> None:
        """Delete all topics of a run, if Kafka lets it: a figure does not depend on that."""
        with suppress(StreamsError, KafkaException):
            mine = [topic for topic in self._admin.topics() if job["name"] in topic]
            self._admin.delete_topics(mine)


class Started:
    """A contender's process, as a block; what it writes goes to a file, of which an error shows the end."""

    def __init__(self, contender: Contender, job: Mapping[str, Any]) -> None:
        self._contender, self._job = contender, job
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        self._log = self._resources.enter_context(tempfile.TemporaryFile("w+"))
        self.process = subprocess.Popen(
            self._contender.environment.command(self._contender.program),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            text=True,
            cwd=ROOT,
        )
        self._resources.callback(self._end)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as job:
            json.dump({**self._job, "kind": self._contender.kind_of(self._job["kind"])}, job)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def watched(self, watch: Watch, *what: Any) -> Watched:
        """Watch it; see Watch.run."""
        try:
            return watch.run(self.process, *what)
        except BenchmarkError as error:
            raise type(error)(f"{error}\n{self.last_words()}".strip()) from error

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        self._log.seek(0)
        return self._log.read()[-LAST_WORDS:]

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _figures(watched: Watched, records: int) -> Run:
    first, last = watched.first, watched.last
    done = records * (1 - watched.verdict.done_before)
    seconds = last.at - first.at
    if not done or not seconds:
        raise BenchmarkError("all of it was there at once: too few records to measure anything")
    contender, broker = last.contender_cpu - first.contender_cpu, last.broker_cpu - first.broker_cpu
    return Run(
        records_per_second=done / seconds,
        cpu_us_per_record=contender * 1e6 / done,
        broker_cpu_us_per_record=broker * 1e6 / done,
        peak_rss_mb=watched.peak_rss_mb,
        seconds=seconds,
        other_cores=max(0.0, (last.machine_cpu - first.machine_cpu - contender - broker) / seconds),
        compared=watched.verdict.compared,
    )


def _schema(record: str) -> str:
    return schema_of(getattr(events, record)).text
