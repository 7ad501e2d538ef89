"""Reading the log of a test's cluster as the judge needs it: what each processor wrote, and what it had to write."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from streams.avro.codec import Codec
from streams.breaker import unguarded
from streams.errors import DroppedError, UnknownSchemaError, UsageError
from streams.failures.dead_letters import REDRIVES
from streams.failures.redrives import as_read_first, command
from streams.failures.waiting_record import WaitingRecord
from streams.preflight import load_codecs
from streams.record import RawRecord, TopicPartition
from streams.requests.replies import made_at
from streams.state.stamps import committed_by_partition, only_committed
from streams.testing.judge import Found, Verdict, disordered, duplicated, lost
from streams.testing.process import Cluster
from streams.testing.replay import Expected, Fared, Place, Replay
from streams.testing.simulation import Runtime
from streams.testing.surface import dead_letter_of
from streams.topic import Store
from streams.topology import Processor

A_WHILE = 0.01  # seconds between two runs of a handler: one that looks at the clock should see another time

Rows = dict[bytes, bytes]
Judgement = Callable[[str, Expected, Found], Verdict]


class Audit:
    """Judges every processor of a simulation by the committed log alone, and local stores by their changelogs."""

    def __init__(self, cluster: Cluster, runtimes: dict[str, Runtime]) -> None:
        self._cluster = cluster
        self._runtimes = runtimes
        self._codecs = {name: load_codecs(cluster.registry, one.processor) for name, one in runtimes.items()}

    def loss(self, processor: str | None) -> Verdict:
        """Find what is missing, and local rows that are not what their topic says (INV-3)."""
        verdict = self._judge(lost, processor)
        local = [self._local(runtime) for runtime in self._chosen(processor)]
        return Verdict(
            verdict.compared + sum(one.compared for one in local),
            [*verdict.wrong, *(line for one in local for line in one.wrong)],
        )

    def duplicates(self, processor: str | None) -> Verdict:
        """Find what is there too often."""
        return self._judge(duplicated, processor)

    def disorder(self, processor: str | None) -> Verdict:
        """Find what came in another order than its inputs."""
        return self._judge(disordered, processor)

    def newest(self, topic: str) -> Rows:
        """Return the newest committed row of every key of a topic."""
        return _fold(record for tp in self._cluster.log.partitions(topic) for record in self._cluster.log.read(tp, 0))

    def waiting(self, processor: Processor) -> dict[Place, WaitingRecord]:
        """Return the committed rows of what waits, by partition and offset of the input."""
        if processor.waiting is None:
            return {}
        codec = Codec(WaitingRecord)
        rows: dict[Place, WaitingRecord] = {}
        for tp, committed in self._restored(processor, processor.waiting):
            for frame in committed.values():
                row = self._row(codec, frame)
                rows[tp.partition, row.offset] = row
        return rows

    def _restored(self, processor: Processor, store: Store[Any, Any]) -> Iterator[tuple[TopicPartition, Rows]]:
        """Yield the rows that a restore of a store would find, by partition: only what was committed."""
        log, changelog = self._cluster.log, processor.changelog(store)
        committed = committed_by_partition(log.offsets.get(processor.group, {}), processor.redrive_topic)
        for tp in log.partitions(changelog):
            yield tp, _fold(only_committed(log.read(tp, 0), committed))

    def _row(self, codec: Codec[WaitingRecord], frame: bytes) -> WaitingRecord:
        try:
            return codec.decode([frame])[0]
        except UnknownSchemaError as unknown:
            codec.learn(unknown.schema_id, self._cluster.registry.known(unknown.schema_id) or "")
            return codec.decode([frame])[0]

    def _came_back(self, processor: Processor) -> dict[int, list[RawRecord]]:
        """Return the records that came back and were dealt with, as they were read first, by partition."""
        log = self._cluster.log
        topic = processor.redrive_topic
        offsets = log.offsets.get(processor.group, {})
        return {
            tp.partition: as_read_first(
                [one for one in log.read(tp, 0) if one.offset < offsets.get(tp, 0) and command(one) is None],
                TopicPartition(processor.source.name, tp.partition),
            )
            for tp in (log.partitions(topic) if topic in log.topics else ())
        }

    def _judge(self, judgement: Judgement, processor: str | None) -> Verdict:
        verdicts = []
        for runtime in self._chosen(processor):
            name, found = runtime.processor.name, self._found(runtime)
            expected = self._expected(runtime, found)
            verdicts.append(judgement(name, expected, found))
            if verdicts[-1].wrong or lost(name, expected, found).wrong:
                self._check_repeatable(runtime, expected, found)
        return Verdict(sum(v.compared for v in verdicts), [line for verdict in verdicts for line in verdict.wrong])

    def _check_repeatable(self, runtime: Runtime, expected: Expected, found: Found) -> None:
        """Accuse nobody where the handler does something else every time.

        Raises:
            AssertionError: it does.
        """
        time.sleep(A_WHILE)
        if self._expected(runtime, found) != expected:
            raise AssertionError(
                f"processor {runtime.processor.name} gives other outputs or state when it runs again over the same "
                "records, so nothing can be said of it: the assertions need handlers that go by record, state and "
                "tables alone, not by time, chance or variables"
            )

    def _chosen(self, processor: str | None) -> list[Runtime]:
        if processor is None:
            return list(self._runtimes.values())
        if processor not in self._runtimes:
            raise UsageError(f"no processor {processor} runs here", fix=f"name one of {', '.join(self._runtimes)}")
        return [self._runtimes[processor]]

    def _expected(self, runtime: Runtime, found: Found) -> Expected:
        log, registry = self._cluster.log, self._cluster.registry
        offsets = log.offsets.get(runtime.processor.group, {})
        back, waiting = self._came_back(runtime.processor), self.waiting(runtime.processor).keys()
        dropped = _dropped(found.records.get(runtime.processor.dead_letter_topic, ()))
        dealt_with = [
            _fared(
                [record for record in log.read(tp, 0) if record.offset < offsets.get(tp, 0)],
                [record for record in back.get(tp.partition, ()) if record.offset < offsets.get(tp, 0)],
                waiting,
                dropped,
            )
            for tp in log.partitions(runtime.processor.source.name)
        ]
        codecs = self._codecs[runtime.processor.name]
        replay = Replay(runtime.declared, codecs, registry.known, log.takes, runtime.tables, log.topics)
        written = {(r.topic, r.key, r.value) for records in found.records.values() for r in records}
        with unguarded():
            return replay.run(dealt_with, written)

    def _found(self, runtime: Runtime) -> Found:
        processor, log = runtime.processor, self._cluster.log
        topics = [topic.name for topic in processor.outputs.values()] + [processor.dead_letter_topic]
        topics += [name for name in log.topics if made_at(name, processor.source.name) is not None]
        return Found(
            {topic: list(self._written(topic, processor.group)) for topic in topics if topic in log.topics},
            {
                processor.changelog(store): {
                    key: row for _, rows in self._restored(processor, store) for key, row in rows.items()
                }
                for store in processor.stores
            },
        )

    def _written(self, topic: str, group: str) -> Iterator[RawRecord]:
        """Yield what the workers of a group wrote; a producer's id is the group's name and a number."""
        for partition in self._cluster.log.partitions(topic):
            for entry in self._cluster.log.entries(partition):
                if entry.record is not None and entry.writer.rpartition("/")[0] == group:
                    yield entry.record

    def _local(self, runtime: Runtime) -> Verdict:
        """Compare the local rows of every owned partition with their topic, up to the position that goes with them."""
        compared, wrong = 0, []
        for process in runtime.processes.values():
            for number in (held.partition for held in process.consumer.cursors if runtime.processor.state()):
                backend = process.backends.get(number)
                if backend is None:  # nothing was ever written
                    continue
                for name in runtime.processor.state().values():
                    position = backend.position(name) or 0
                    records = self._cluster.log.read(TopicPartition(name, number), 0)
                    rows = _fold(record for record in records if record.offset < position)
                    for key in {record.key for record in records if record.key is not None}:
                        compared += 1
                        if backend.get(name, key) != rows.get(key):
                            wrong.append(
                                f"{runtime.processor.name}: local row {key!r} of {name}[{number}] is not its topic's"
                            )
        return Verdict(compared, wrong)


def _fared(
    read: list[RawRecord], back: list[RawRecord], waiting: Collection[Place], dropped: Mapping[Place, int]
) -> Fared:
    """Say which records of a partition were given up, and which ones their handler dealt with.

    Whatever came back later was a dead letter before. The newest attempt at a record may wait still, or may have been
    dropped by hand: then it left the last of as many dead letters as there were attempts.
    """
    places = [(record.partition, record.offset) for record in (*read, *back)]
    newest, attempts = {place: at for at, place in enumerate(places)}, Counter(places)
    fared = Fared([], [], [])
    for at, record in enumerate((*read, *back)):
        place = places[at]
        if newest[place] != at or dropped.get(place) == attempts[place]:
            fared.given_up.append(record)
        elif place not in waiting:
            (fared.handled if at < len(read) else fared.back).append(record)
    return fared


def _dropped(letters: Iterable[RawRecord]) -> dict[Place, int]:
    """Return the places whose newest dead letter says that it was given up by hand, and how many each has.

    At least once may leave the same one twice.
    """
    kinds: dict[Place, dict[bytes | None, str]] = defaultdict(dict)
    for letter in (dead_letter_of(record, "") for record in letters):
        kinds[letter.partition, letter.offset][dict(letter.record.headers).get(REDRIVES)] = letter.kind
    return {place: len(told) for place, told in kinds.items() if list(told.values())[-1] == DroppedError.kind}


def _fold(records: Iterable[RawRecord]) -> Rows:
    rows: Rows = {}
    for record in records:
        if record.key is not None:
            rows[record.key] = record.value or b""
            if record.value is None:
                del rows[record.key]
    return rows
