"""Serving the health of a supervisor for as long as it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog

from streams.health.board import Board
from streams.health.report import Report
from streams.health.server import HealthServer
from streams.health.whereabouts import Address
from streams.settings import Settings

_log = structlog.get_logger(__name__)


@contextmanager
def health_endpoint(board: Board, settings: Settings) -> Iterator[str | None]:
    """Answer over HTTP inside the block, at the address that it yields; nothing where `health_port` is off.

    Raises:
        UsageError: the port is taken, or the state folder cannot be written.
    """
    if settings.health_port is None:
        yield None
        return
    report = Report(board, settings.stall_after.total_seconds(), time.monotonic, lambda: time.time_ns() // 1_000_000)
    server = HealthServer(report, settings.health_host, settings.health_port)
    with ExitStack() as resources:
        resources.callback(server.close)
        server.start()
        resources.callback(Address(settings.state_dir, server.url).close)
        _log.info("health", url=server.url)
        yield server.url
