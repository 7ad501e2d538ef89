"""What became of every record, from the topics alone."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.errors import RecordError
from streams.failures.waiting_record import WaitingRecord
from streams.record import RawRecord
from streams.topology import Processor

from .app import STUCK, UNWANTED, Chain, Item, linked

Place = tuple[int, int]


class Verdict(NamedTuple):
    """Where the records are, and every way in which that is wrong."""

    records_in: int
    processed: int
    dead_lettered: int
    parked: int
    skipped: int
    lost: int
    duplicates: int
    order_violations: int
    wrong_state: int
    changed_bytes: int
    compared: int
    told: list[str]

    @property
    def holds(self) -> bool:
        """Tell whether every record is somewhere, once, in its order and as it was."""
        found = self.processed + self.dead_lettered + self.parked + self.skipped
        return self.holds_at_least_once and not (self.duplicates or self.wrong_state) and found == self.records_in

    @property
    def holds_at_least_once(self) -> bool:
        """Tell whether every record is somewhere as it was, each key in its order, repetitions aside."""
        return not (self.lost or self.order_violations or self.changed_bytes) and self.compared > 0


class Judge:
    """Reads the topics of one run and holds them against each other."""

    def __init__(self, registry: Registry, processor: Processor, *, repeats: bool = False) -> None:
        """`repeats` says that outputs may be repeated: then the first one of each record counts for the order."""
        self._repeats = repeats
        self._registry = registry
        self._processor = processor
        self._told: list[str] = []

    def judge(
        self,
        inputs: Iterable[RawRecord],
        handled: Iterable[RawRecord],
        letters: Iterable[RawRecord],
        waiting: Iterable[RawRecord],
    ) -> Verdict:
        """Compare what came in with outputs, dead letters and the newest committed rows of what waits."""
        records = {(one.partition, one.offset): one for one in inputs}
        place_of = {_number(one): place for place, one in records.items()}
        outputs = list(self._decoded(handled, Chain))
        found: dict[str, Counter[Place]] = {
            "processed": Counter(place_of[chain.n] for _, chain in outputs),
            "dead_lettered": Counter(),
            "parked": Counter(),
            "skipped": Counter(),
        }
        changed = 0
        for letter in letters:
            place = _origin(letter)
            found["dead_lettered"][place] += 1
            changed += self._differs(letter, records[place])
        for row in self._rows(waiting):
            place = (row.partition, row.offset)
            found["parked"][place] += 1
            changed += self._differs(_as_record(row), records[place])
        kinds = self._kinds(records)
        missing = [place for place in records if not any(places[place] for places in found.values())]
        found["skipped"].update(place for place in missing if kinds.get(place) == UNWANTED)
        lost = [place for place in missing if kinds.get(place) != UNWANTED]
        copies = sum(found.values(), Counter())
        duplicates = sum(count - 1 for count in copies.values() if count > 1)
        disorder, wrong = self._order(records, kinds, found, outputs)
        self._told += [f"lost: {place} {kinds.get(place, 'poison')}" for place in lost[:5]]
        self._told += [f"found {count} times: {place}" for place, count in copies.items() if count > 1][:5]
        return Verdict(
            records_in=len(records),
            **{name: len(places) for name, places in found.items()},
            lost=len(lost),
            duplicates=duplicates,
            order_violations=disorder,
            wrong_state=wrong,
            changed_bytes=changed,
            compared=len(records) + len(outputs) + copies.total(),
            told=self._told,
        )

    def _order(
        self,
        records: dict[Place, RawRecord],
        kinds: dict[Place, str],
        found: dict[str, Counter[Place]],
        outputs: list[tuple[RawRecord, Chain]],
    ) -> tuple[int, int]:
        """Count the keys whose outputs came in another order than their inputs, and outputs made from wrong state."""
        wanted: dict[bytes, list[int]] = defaultdict(list)
        blocked: set[bytes] = set()
        disorder = wrong = 0
        for place in sorted(records):
            record = records[place]
            key = record.key or b""
            if found["processed"][place]:
                wanted[key].append(_number(record))
                disorder += key in blocked
            elif found["parked"][place]:
                if kinds.get(place) == STUCK:
                    blocked.add(key)
                elif key not in blocked:
                    self._told.append(f"waits behind nothing: {place} {kinds.get(place)}")
                    disorder += 1
        seen: dict[bytes, list[Chain]] = defaultdict(list)
        for record, chain in sorted(outputs, key=lambda one: (one[0].partition, one[0].offset)):
            seen[record.key or b""].append(chain)
        for key, numbers in wanted.items():
            chains = seen[key]
            came = [chain.n for chain in chains]
            came = list(dict.fromkeys(came)) if self._repeats else came
            if came != numbers:
                disorder += 1
                self._told.append(f"order of {key!r}: {came[:9]} for {numbers[:9]}")
            digest = 0
            for size, chain in enumerate(chains, 1):
                digest = linked(digest, chain.n)
                wrong += (chain.size, chain.digest) != (size, digest)
        return disorder, wrong

    def _differs(self, kept: RawRecord, record: RawRecord) -> bool:
        own = tuple(one for one in kept.headers if not one[0].startswith(("__connect.errors.", "streams.")))
        same = (kept.key, kept.value, kept.timestamp_ms, own) == (
            record.key,
            record.value,
            record.timestamp_ms,
            record.headers,
        )
        if not same:
            self._told.append(f"not as it was read: {record}")
        return not same

    def _kinds(self, records: dict[Place, RawRecord]) -> dict[Place, str]:
        """Return the kind of every record that can be decoded."""
        codec, kinds = self._codec(self._processor.source.name, Item), {}
        places = list(records)
        for start in range(0, len(places), 64):
            chunk = places[start : start + 64]
            try:
                values = codec.decode([records[place].value or b"" for place in chunk])
            except (RecordError, Exception):  # noqa: BLE001 - one is poison: look at each alone
                for place in chunk:
                    try:
                        kinds[place] = codec.decode([records[place].value or b""])[0].kind
                    except Exception:  # noqa: BLE001 - poison has no kind
                        continue
            else:
                kinds.update({place: value.kind for place, value in zip(chunk, values, strict=True)})
        return kinds

    def _decoded(self, records: Iterable[RawRecord], model: type[Chain]) -> list[tuple[RawRecord, Chain]]:
        listed = list(records)
        values = self._codec(next(iter(self._processor.outputs.values())).name, model).decode(
            [one.value or b"" for one in listed]
        )
        return list(zip(listed, values, strict=True))

    def _rows(self, waiting: Iterable[RawRecord]) -> list[WaitingRecord]:
        newest: dict[tuple[int, bytes | None], bytes | None] = {}
        for one in waiting:
            newest[one.partition, one.key] = one.value
        assert self._processor.waiting is not None
        codec = self._codec(self._processor.changelog(self._processor.waiting), WaitingRecord)
        return codec.decode([value for value in newest.values() if value is not None])

    def _codec(self, topic: str, model: type) -> Codec:
        codec: Codec = Codec(model)
        text = schema_of(model).text
        codec.learn(self._registry.lookup(f"{topic}-value", text), text)
        return codec


def figures(verdict: Verdict) -> str:
    """Return the verdict as JSON."""
    return json.dumps(verdict._asdict())


def _number(record: RawRecord) -> int:
    return int(dict(record.headers)["n"] or b"")


def _origin(letter: RawRecord) -> Place:
    reason = dict(letter.headers)
    return int(reason["__connect.errors.partition"] or b""), int(reason["__connect.errors.offset"] or b"")


def _as_record(row: WaitingRecord) -> RawRecord:
    headers = tuple((header.name, header.value) for header in row.headers)
    return RawRecord(row.topic, row.key, row.value, row.timestamp_ms, row.partition, row.offset, headers)
