"""Dead letters as a worker leaves them, for tests of what reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from live.workers import Live

from streams.record import Headers, RawRecord, Record

PARTITIONS = 4


class Letters:
    """The dead letters of the processor `copy` of a live app."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.group = f"{live.name}.copy"
        self.dlq, self.redrive = f"{self.group}.dlq", f"{self.group}.redrive"
        live.deploy("copy")

    def letter(self, n: int, *, own: Headers = (), message: str | None = None, **more: str) -> RawRecord:
        """Make the dead letter of item n, which lay in partition (n + 1) % 4 and whose dead letter lies in n % 4."""
        item = self.live.item(f"key {n}", n)
        reason = {
            "__connect.errors.topic": self.live.topic("items"),
            "__connect.errors.partition": str((n + 1) % PARTITIONS),
            "__connect.errors.offset": str(n),
            "__connect.errors.connector.name": self.group,
            "__connect.errors.stage": "process",
            "__connect.errors.class.name": "live.app.copy",
            "__connect.errors.exception.class.name": "builtins.ValueError",
            "__connect.errors.exception.message": message or f"ValueError: item {n} is not welcome",
            "__connect.errors.exception.stacktrace": "Traceback (most recent call last):\n  File x\n",
            "streams.error.kind": "process",
            "streams.error.attempts": "6",
            "streams.error.time": str(1_700_000_000_000 + n),
            **more,
        }
        headers = (*own, *((name, text.encode()) for name, text in reason.items()))
        return Record(self.dlq, item.key, item.value, 1_600_000_000_000 + n, n % PARTITIONS, headers=headers)

    def fill(self, count: int, **more: Any) -> list[RawRecord]:
        """Leave so many dead letters."""
        letters = [self.letter(n, **more) for n in range(count)]
        self.live.send(letters)
        return letters

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `streams dlq` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "streams", "dlq", *arguments],
            env=self.live.full_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run `streams dlq … -o json` and return what it prints."""
        return [json.loads(line) for line in self.run(*arguments, "-o", "json").stdout.splitlines()]

    def sent(self, topic: str) -> list[RawRecord]:
        """Return what was sent again to a topic: everything but notes and commands."""
        return [r for r in self.live.read(topic) if not any(name == "streams.command" for name, _ in r.headers)]

    def notes(self) -> list[tuple[str, str]]:
        """Return action and dead letter of each note."""
        found = [dict(r.headers) for r in self.live.read(self.redrive)]
        return [
            (text(headers["streams.command"]), text(headers.get("streams.dead_letter")))
            for headers in found
            if "streams.command" in headers
        ]


def text(value: bytes | None) -> str:
    """Return a header's value."""
    return (value or b"").decode()


def content(records: Iterable[RawRecord]) -> list[Any]:
    """Return key, value, timestamp and partition, sorted."""
    return sorted((r.key, r.value, r.timestamp_ms, r.partition) for r in records)
