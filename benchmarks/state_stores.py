"""State beyond memory: the toolkit's backend on LMDB beside RocksDB.

    python -m benchmarks.state_stores [--json] [--keys N] [--commits N] [--memory-mb N]

Both get the same keys in the same order: a restore in batches of 5,000, then commits of 1,000 keys, each got and put.
They run in turn, each in a process of its own whose memory, page cache included, is bounded by a cgroup; where none can
be made the program says so and measures without. Every value that is read is compared; a wrong one ends it with 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.suite.environments import PROGRAMS, ROOT, Own, PythonEnvironment
from benchmarks.suite.errors import BenchmarkError, run_program
from benchmarks.suite.manifest import surroundings

ENVIRONMENTS: Mapping[str, Own | PythonEnvironment] = {
    "lmdb": Own(["lmdb"]),
    "rocksdb": PythonEnvironment("rocksdb", ["rocksdict==0.3.29"]),
}
CGROUPS = Path("/sys/fs/cgroup")
LONGEST = 1_800.0  # seconds


@contextmanager
def bounded(megabytes: int) -> Iterator[Path | None]:
    """Make a cgroup with so much memory, of version 1 or 2; None where that is not possible, or 0 is asked for."""
    name = f"streams-bench-{uuid.uuid4().hex[:8]}"
    places = [(CGROUPS / "memory" / name, "memory.limit_in_bytes"), (CGROUPS / name, "memory.max")]
    made = None
    for folder, limit in places if megabytes else []:
        with suppress(OSError):
            folder.mkdir()
            made = folder
            (folder / limit).write_text(str(megabytes << 20))
            break
        if made is not None:
            made.rmdir()
            made = None
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def run(store: str, job: Mapping[str, Any], folder: Path, cgroup: Path | None) -> dict[str, Any]:
    """Run the work on one store, in its environment, and return its figures."""
    environment = ENVIRONMENTS[store]
    environment.prepare()
    folder.mkdir()
    told = {**job, "store": store, "folder": str(folder / "state"), "cgroup": str(cgroup) if cgroup else ""}
    done = subprocess.run(
        [str(environment.python), str(PROGRAMS / "store_work.py")],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        env={"PYTHONPATH": str(ROOT)} if store == "lmdb" else {},
        check=False,
    )
    shutil.rmtree(folder)
    if done.returncode:
        raise BenchmarkError(f"{store}: ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return {**figures, "versions": environment.versions()}


def main() -> None:
    """Run both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--commits", type=int, default=300)
    parser.add_argument("--memory-mb", type=int, default=512, help="0 for no bound")
    parser.add_argument("--folder", type=Path, help="on a disk, not in memory")
    chosen = parser.parse_args()
    job = {
        "keys": chosen.keys,
        "commits": chosen.commits,
        "value_bytes": 100,
        "batch": 1_000,
        "restore_batch": 5_000,
        "rocksdb_cache_mb": (chosen.memory_mb or 512) // 4,
        "rocksdb_write_buffer_mb": 32,
        "rocksdb_no_wal": False,
    }
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        for store in ENVIRONMENTS:
            with bounded(chosen.memory_mb) as cgroup:
                if cgroup is None and chosen.memory_mb:
                    print("no cgroup can be made here: memory is not bounded", file=sys.stderr)
                figures = run(store, job, Path(scratch) / store, cgroup)
            results[store] = figures | {"memory_bounded_to_mb": chosen.memory_mb if cgroup else None}
            print(f"{store}: {json.dumps(results[store])}", file=sys.stderr, flush=True)
    if chosen.json:
        print(json.dumps({"benchmark": "state_stores", "job": job, "stores": results, **surroundings()}, indent=2))


if __name__ == "__main__":
    run_program(main)
