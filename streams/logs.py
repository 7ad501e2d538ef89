"""Structured logs on stderr: for people on a terminal, as JSON lines for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

REPEAT_AFTER = 10.0  # seconds


def configure_logs(form: Literal["console", "json"], level: str, **bound: str) -> None:
    """Set up logging for this process; `bound` stands in every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=12),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
    pass_on("streams.kafka", "librdkafka")


def pass_on(logger: str, client: str) -> None:
    """Have the structured log take a Kafka client's warnings, the first line of each kind in ten seconds."""
    found = logging.getLogger(logger)
    found.handlers, found.propagate = [_ToStructlog(client)], False
    found.setLevel(logging.WARNING)


class _ToStructlog(logging.Handler):
    """Passes what a Kafka client logs on to the structured log."""

    def __init__(self, client: str) -> None:
        super().__init__()
        self._client = client
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        kind = said.partition(" ")[0]  # FAIL, ERROR, REQTMOUT…: a broker that is away says the same 40 times a second
        if record.created - self._told.get(kind, 0.0) < REPEAT_AFTER:
            return
        self._told[kind] = record.created
        level = logging.DEBUG if said.endswith("retrying") else record.levelno  # it sees to that by itself
        structlog.get_logger(self._client).log(level, "client", said=said)
