"""The stop-watch, outside every contender and the same for all of them.

A contender has done what a read_committed reader of its output could read. Time begins when the first outputs are there
and ends when the last of them is; what was done before the beginning is taken off (judge.Verdict.done_before).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.suite.errors import BenchmarkError
from benchmarks.suite.judge import Ends, Verdict

TICK = 0.02  # seconds between two looks at the output
QUIET = 1.0  # seconds without an output before the output is read
LONGEST = 900.0  # seconds
LEADER_WAIT = 10.0  # seconds
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """When the output was seen to have grown, and what CPU time had been used by then (seconds)."""

    at: float
    ends: Ends
    contender_cpu: float
    broker_cpu: float
    machine_cpu: float


@dataclass(frozen=True)
class Watched:
    """The first and the last growth of an output, and the most memory that the contender held."""

    first: Sample
    last: Sample
    peak_rss_mb: float
    verdict: Verdict


class Watch:
    """Looks at one output until it is complete."""

    def __init__(self, servers: str, broker_pid: int) -> None:
        self._admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        self._broker = broker_pid

    def ends(self, topic: str, partitions: int) -> Ends:
        """Return where a read_committed reader would come to the end now; a new topic has no leaders at first."""
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        deadline = time.monotonic() + LEADER_WAIT
        while True:
            answers = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=10)
            try:
                return {tp.partition: answer.result().offset for tp, answer in answers.items()}
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise BenchmarkError(f"the ends of {topic} are not known: {error}") from error
                self._admin.list_topics(topic, timeout=LEADER_WAIT)  # else the client stays with what it knew

    def run(
        self,
        process: subprocess.Popen[str],
        topic: str,
        partitions: int,
        least: int,
        judge: Callable[[Ends, Ends], Verdict],
    ) -> Watched:
        """Return once `judge`, given the ends now and those at the beginning, finds the output complete.

        Raises:
            BenchmarkError: the contender ended, or it took too long.
        """
        first: Sample | None = None
        last: Sample | None = None
        judged: Ends = {}
        verdict: Verdict | None = None
        deadline = time.monotonic() + LONGEST
        while verdict is None or not verdict.complete:
            ended = process.poll()
            ends = self.ends(topic, partitions)
            if ended is not None or time.monotonic() > deadline:
                what = f"ended with {ended}" if ended is not None else f"is not done after {LONGEST:.0f} s"
                raise BenchmarkError(f"it {what}; {verdict.told if verdict else f'{sum(ends.values()):,} outputs'}")
            if any(ends.values()) and (last is None or ends != last.ends):
                last = self._sample(ends, process.pid)
                first = first or last
            elif first and last and ends != judged and sum(ends.values()) >= least and _quiet(last):
                judged, verdict = ends, judge(ends, first.ends)
            time.sleep(TICK)
        assert first is not None
        assert last is not None
        return Watched(first, last, peak_rss_mb(process.pid), verdict)

    def _sample(self, ends: Ends, pid: int) -> Sample:
        return Sample(time.perf_counter(), ends, cpu_seconds(pid), cpu_seconds(self._broker), busy_seconds())


def _quiet(since: Sample) -> bool:
    return time.perf_counter() - since.at >= QUIET


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """Return the CPU time that the whole machine has spent, except on waiting."""
    user, nice, system, _idle, _wait, irq, soft_irq, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + soft_irq) / TICKS


def peak_rss_mb(pid: int) -> float:
    """Return the most memory that a process has held."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
