"""Keyed state beyond memory: batches of get and put, as a worker commits them, on one store.

Run by `benchmarks/state_stores.py`, in an environment that has the store; reads its job as JSON from stdin, and puts
itself into the cgroup that the job names before it begins. Every value that is read is compared.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Protocol

POSITIONS = b"\x00positions"
SAMPLE = 1_000  # rows that are compared after a restore


class Store(Protocol):
    """What a worker asks of its state."""

    def get(self, key: bytes) -> bytes | None: ...

    def write(self, rows: Iterable[tuple[bytes, bytes]], position: int) -> None:
        """Apply rows and the position, all or nothing."""

    def close(self) -> None: ...


class OwnBackend:
    """The toolkit's backend, on LMDB."""

    def __init__(self, folder: Path, _job: Mapping[str, Any]) -> None:
        from streams.state.backend import Backend  # noqa: PLC0415 - the other environment has no toolkit

        self._backend = Backend(folder, ["store"])

    def get(self, key: bytes) -> bytes | None:
        return self._backend.get("store", key)

    def write(self, rows: Iterable[tuple[bytes, bytes]], position: int) -> None:
        self._backend.write({"store": rows}, {"store": position})

    def close(self) -> None:
        self._backend.close()


class Rocks:
    """RocksDB by rocksdict: raw bytes, atomic batches, no sync, block cache and bloom filters as its guide advises."""

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        from rocksdict import (  # noqa: PLC0415 - the toolkit's environment has none
            BlockBasedOptions,
            Cache,
            Options,
            Rdict,
            WriteBatch,
            WriteOptions,
        )

        blocks = BlockBasedOptions()
        blocks.set_block_cache(Cache(job["rocksdb_cache_mb"] << 20))
        blocks.set_bloom_filter(10, block_based=False)
        blocks.set_cache_index_and_filter_blocks(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_size(job["rocksdb_write_buffer_mb"] << 20)
        options.set_max_background_jobs(2)
        self._options, self._batch = WriteOptions(), WriteBatch
        self._options.sync = False
        self._options.disable_wal = job["rocksdb_no_wal"]
        self._database = Rdict(str(folder), options)

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._database.get(key)
        return found

    def write(self, rows: Iterable[tuple[bytes, bytes]], position: int) -> None:
        batch = self._batch(raw_mode=True)
        for key, value in rows:
            batch.put(key, value)
        batch.put(POSITIONS, str(position).encode())
        self._database.write(batch, self._options)

    def close(self) -> None:
        self._database.close()


STORES = {"lmdb": OwnBackend, "rocksdb": Rocks}


class Work:
    """Restore a store, then update it at random, and compare what it gives back."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = job
        self._folder = Path(job["folder"])
        self._versions: dict[int, int] = {}
        self._random = Random(7)
        self.compared = 0

    def run(self) -> dict[str, Any]:
        """Do everything and return the figures."""
        job = self._job
        store: Store = STORES[job["store"]](self._folder, job)
        restore, updates = self._restore(store), self._update(store)
        self._check(store)
        begun = time.perf_counter()
        store.close()
        closed = time.perf_counter() - begun
        store = STORES[job["store"]](self._folder, job)
        opened = time.perf_counter() - begun - closed
        self._check(store)
        store.close()
        return {
            "restore": restore,
            "updates": updates,
            "close_seconds": round(closed, 2),
            "open_seconds": round(opened, 3),
            "disk_mb": round(_disk(self._folder) / 1e6, 1),
            "values_compared": self.compared,
        }

    def _restore(self, store: Store) -> dict[str, float]:
        """Write every key once, in the order of its first record, as a changelog gives them."""
        keys, batch = self._job["keys"], self._job["restore_batch"]
        order = list(range(keys))
        self._random.shuffle(order)
        seconds, cpu = 0.0, time.process_time()
        for at in range(0, keys, batch):
            rows = [(_key(n), self._value(n, 0)) for n in order[at : at + batch]]
            begun = time.perf_counter()
            store.write(rows, at)
            seconds += time.perf_counter() - begun
        return {
            "keys_per_second": round(keys / seconds),
            "us_per_key": round(seconds * 1e6 / keys, 2),
            "cpu_us_per_key_harness_included": round((time.process_time() - cpu) * 1e6 / keys, 2),
            **_memory(),
        }

    def _update(self, store: Store) -> dict[str, float]:
        """Get a batch of keys, compare their values, and put new ones: one write each, as at a commit."""
        keys, batch, commits = self._job["keys"], self._job["batch"], self._job["commits"]
        random, slowest = self._random, 0.0
        got = put = 0.0
        cpu = time.process_time()
        for commit in range(commits):
            chosen = list({random.randrange(keys) for _ in range(batch)})
            names = [_key(n) for n in chosen]
            begun = time.perf_counter()
            found = [store.get(name) for name in names]
            read = time.perf_counter()
            self._compare(chosen, found)
            rows = []
            for n, name in zip(chosen, names, strict=True):
                self._versions[n] = self._versions.get(n, 0) + 1
                rows.append((name, self._value(n, self._versions[n])))
            ready = time.perf_counter()
            store.write(rows, keys + commit)
            done = time.perf_counter()
            got, put = got + read - begun, put + done - ready
            slowest = max(slowest, done - ready)
        operations = commits * batch
        return {
            "get_us": round(got * 1e6 / operations, 2),
            "put_us": round(put * 1e6 / operations, 2),
            "get_and_put_us": round((got + put) * 1e6 / operations, 2),
            "cpu_us_per_update_harness_included": round((time.process_time() - cpu) * 1e6 / operations, 2),
            "slowest_commit_ms": round(slowest * 1000, 1),
            **_memory(),
        }

    def _check(self, store: Store) -> None:
        updated = list(self._versions)[:SAMPLE]
        others = [self._random.randrange(self._job["keys"]) for _ in range(SAMPLE)]
        for chosen in (updated, others):
            self._compare(chosen, [store.get(_key(n)) for n in chosen])

    def _compare(self, chosen: list[int], found: list[bytes | None]) -> None:
        for n, value in zip(chosen, found, strict=True):
            if value != self._value(n, self._versions.get(n, 0)):
                raise SystemExit(f"key {n} has another value than was written")
        self.compared += len(chosen)

    def _value(self, n: int, version: int) -> bytes:
        """Return a value that tells key and version and does not compress to nothing."""
        head = b"%d/%d/" % (n, version)
        noise = (n * 2654435761 + version * 40503) & 0xFFFFFFFF
        filler = b"".join(((noise * (i + 1) * 2246822519) & 0xFFFFFFFF).to_bytes(4, "big") for i in range(12))
        return (head + filler + filler)[: self._job["value_bytes"]].ljust(self._job["value_bytes"], b".")


def _key(n: int) -> bytes:
    return b"user-%010d" % n


def _memory() -> dict[str, float]:
    """Return what is resident, and how much of it is the process's own and not the files'."""
    lines = Path("/proc/self/status").read_text().splitlines()
    told = {
        line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon", "VmHWM"))
    }
    return {
        "rss_mb": round(told["VmRSS"] / 1024, 1),
        "anonymous_mb": round(told["RssAnon"] / 1024, 1),
        "peak_rss_mb": round(told["VmHWM"] / 1024, 1),
    }


def _disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def main() -> None:
    job = json.load(sys.stdin)
    if job["cgroup"]:
        (Path(job["cgroup"]) / "cgroup.procs").write_text(str(os.getpid()))
    json.dump(Work(job).run(), sys.stdout)


if __name__ == "__main__":
    main()
