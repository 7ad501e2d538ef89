"""The stop-watch, outside every contender and the same for all of them.

A contender has done what a read_committed reader of its output could read. Time begins when a fifth of the outputs is
there, so that caches and compilers are warm, and ends when the last of them is; what was done before the beginning is
taken off (judge.Verdict.done_before). A run ends by itself or by a limit, and says which.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.suite.errors import BenchmarkError
from benchmarks.suite.judge import Ends, Verdict

TICK = 0.02  # seconds between two looks at the output
QUIET = 1.0  # seconds without an output before the output is read
WARM_UP = 0.2  # of the outputs
LONGEST = 300.0  # seconds, from the start of the watch to the last output
STALLED = 90.0  # seconds without a new output; restoring a million keys is quicker
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
    """The sample at which the clock started, the last growth, and the most memory that the contender held."""

    first: Sample
    last: Sample
    peak_rss_mb: float
    verdict: Verdict


class Watch:
    """Looks at one output until it is complete."""

    def __init__(self, servers: str, broker_pid: int, longest: float = LONGEST) -> None:
        self._admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        self._broker, self._longest = broker_pid, longest

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
        """Return once `judge`, given the ends now and those at the clock's start, finds the output complete.

        Raises:
            BenchmarkError: the contender ended, it took too long, or nothing came of it for too long.
        """
        samples: list[Sample] = []
        judged: Ends = {}
        verdict: Verdict | None = None
        began = time.perf_counter()
        while verdict is None or not verdict.complete:
            ended = process.poll()
            ends = self.ends(topic, partitions)
            since = samples[-1].at if samples else began
            if why := self._given_up(ended, began, since):
                raise BenchmarkError(f"{why}; {verdict.told if verdict else f'{sum(ends.values()):,} outputs'}")
            if any(ends.values()) and (not samples or ends != samples[-1].ends):
                samples.append(self._sample(ends, process.pid))
            elif samples and ends != judged and sum(ends.values()) >= least and time.perf_counter() - since >= QUIET:
                judged, verdict = ends, judge(ends, warm(samples).ends)
            time.sleep(TICK)
        return Watched(warm(samples), samples[-1], peak_rss_mb(process.pid), verdict)

    def _given_up(self, ended: int | None, began: float, since: float) -> str | None:
        now = time.perf_counter()
        if ended is not None:
            return f"it ended with {ended}"
        if now - began > self._longest:
            return f"it is not done after {self._longest:.0f} s"
        if now - since > STALLED:
            return f"nothing came of it for {STALLED:.0f} s"
        return None

    def _sample(self, ends: Ends, pid: int) -> Sample:
        return Sample(time.perf_counter(), ends, cpu_seconds(pid), cpu_seconds(self._broker), busy_seconds())


def warm(samples: Sequence[Sample]) -> Sample:
    """Return the sample at which the clock starts: the first with a fifth of all outputs, but not the last one."""
    enough = sum(samples[-1].ends.values()) * WARM_UP
    before = samples[:-1] or samples
    return next((sample for sample in before if sum(sample.ends.values()) >= enough), before[-1])


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
