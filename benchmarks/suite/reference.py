"""What has to come of an input, worked out record by record as it is filled; nothing here is any contender's code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from benchmarks.programs.wire import Contract
from benchmarks.suite.inputs import Placed
from benchmarks.suite.workloads import COUNTING, Workload

MARKS = ("p1", "p10", "p50")
LIMITS = (1, 10, 50)


@dataclass
class Digest:
    """What a topic holds, whatever the order: a count and the sum of the records' hashes."""

    count: int = 0
    total: int = 0

    def add(self, partition: int, key: bytes | None, timestamp_ms: int, value: bytes) -> None:
        """Add a record; a second copy of it changes the sum too."""
        seen = b"%d %d %s %s" % (partition, timestamp_ms, key, value)
        self.total = (self.total + int.from_bytes(blake2b(seen, digest_size=16).digest(), "big")) % (1 << 128)
        self.count += 1


@dataclass
class Expected:
    """The output: all its records, or for counts the last one of each key; and what is to be given up.

    `output` is of the bytes that fastavro writes; `canonical` serves where another writer chose other ones. What
    fastavro writes is canonical already, except for JSON, so that only that is hashed a second time.
    """

    workload: Workload
    contract: Contract
    output: Digest = field(default_factory=Digest)
    documents: Digest = field(default_factory=Digest)
    refused: Digest = field(default_factory=Digest)
    counts: Counter[bytes] = field(default_factory=Counter)
    records: int = 0

    @property
    def canonical(self) -> Digest:
        """The output in the form of `canonical`."""
        return self.documents if self.workload.kind == "convert" else self.output

    @property
    def least_outputs(self) -> int:
        """Before so many records are in the output it cannot be complete."""
        return len(self.counts) or self.output.count

    def see(self, placed: Placed) -> None:
        """Take note of a record of the input."""
        partition, key, timestamp_ms, frame, record = placed
        self.records += 1
        if record is None:
            self.refused.add(0, key, 0, frame)
        elif self.workload.kind in COUNTING:
            self.counts[key] += 1
        else:
            for output in self._outputs(record):
                value = self.contract.encode(output)
                self.output.add(partition, key, timestamp_ms, value)
                if self.workload.kind == "convert":
                    self.documents.add(partition, key, timestamp_ms, canonical(value, self.contract))

    def _outputs(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        workload = self.workload
        if workload.kind in {"map", "poison"} and record["audience"] == "PUBLIC":
            yield _headline(record, record["post_id"])
        elif workload.kind == "filter" and record["tags"][0] in MARKS[: LIMITS.index(workload.options["percent"]) + 1]:
            yield record
        elif workload.kind == "fan_out":
            for copy in range(workload.options["copies"]):
                yield _headline(record, f"{record['post_id']}-{copy}")
        elif workload.kind == "convert":
            yield {"identifier": record["identifier"], "document": json.dumps(record)}


def _headline(post: Mapping[str, Any], post_id: str) -> Mapping[str, Any]:
    return {name: post_id if name == "post_id" else post[name] for name in ("post_id", "author", "text", "posted_at")}


def canonical(frame: bytes, contract: Contract) -> bytes:
    """Return the record in one way of writing it: Avro leaves blocks of arrays free, JSON its spaces and order.

    Raises:
        ValueError: another schema, or bytes behind the record.
    """
    record = contract.decode(frame)
    plain = contract.encode(record)
    if len(plain) != len(frame) and "tags" not in record:
        raise ValueError(f"bytes behind a record: {frame!r}")
    if "document" in record:
        return json.dumps([record["identifier"], json.loads(record["document"])], sort_keys=True).encode()
    return plain
