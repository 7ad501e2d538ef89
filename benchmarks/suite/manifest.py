"""What a result needs to be believed, or refuted: machine, versions, settings."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.suite import settings
from benchmarks.suite.contenders import Contender
from benchmarks.suite.environments import ROOT
from benchmarks.suite.tiers import EVERYTHING
from benchmarks.suite.workloads import Guarantee
from streams.embedded import Addresses


def manifest(contenders: Iterable[Contender], workloads: Iterable[str], addresses: Addresses) -> dict[str, Any]:
    """Return the manifest; the settings are those of a run, with names in angle brackets for what differs."""
    chosen = {name: EVERYTHING[name] for name in workloads}
    guarantees = sorted({workload.guarantee for workload in chosen.values()})
    return {
        **surroundings(),
        "kafka": "Apache Kafka of the embedded cluster, one broker, no replication, on the same machine",
        "workloads": {name: {"title": of.title, "guarantee": of.guarantee} for name, of in chosen.items()},
        "contenders": {contender.name: _contender(contender, guarantees, addresses) for contender in contenders},
    }


def surroundings() -> dict[str, Any]:
    """Return when, where and of which version something was measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        # the commit may be rebased away; the content of these folders has the same name wherever it is
        "commit": _git("rev-parse", "HEAD"),
        "trees": {folder: _git("rev-parse", f"HEAD:{folder}") for folder in ("streams", "benchmarks")},
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "machine": _machine(),
    }


def _contender(contender: Contender, guarantees: Iterable[Guarantee], addresses: Addresses) -> Mapping[str, Any]:
    made = {
        guarantee: settings.clients(settings.toolkit(addresses, Path("<state>"), guarantee), "<name>")
        for guarantee in guarantees
        if guarantee not in contender.guarantees
    }
    return {
        "title": contender.title,
        "versions": contender.environment.versions(),
        "share_of_records": contender.share,
        "settings": {
            guarantee: {name: every[name] for name in (*contender.reads, "commit_interval_ms")}
            for guarantee, every in made.items()
        },
    }


def _machine() -> dict[str, Any]:
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "").partition(": ")[2]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "system": platform.platform(),
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        # a build without profile-guided optimisation takes a quarter more time for everything in Python
        "python": sys.version,
        "python_built_with": [one for one in (sysconfig.get_config_var("CONFIG_ARGS") or "").split() if "/" not in one],
        "memory_mb": int(memory) // 1024,
        "load_average": _lines("/proc/loadavg")[:1],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def as_text(result: Mapping[str, Any]) -> str:
    """Return the result as it is printed and kept."""
    return json.dumps(result, indent=2)
