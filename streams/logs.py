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
    handler = _ToStructlog()
    client = logging.getLogger("streams.kafka")
    client.handlers, client.propagate = [handler], False
    client.setLevel(logging.WARNING)


class _ToStructlog(logging.Handler):
    """Passes what the Kafka client logs on to the structured log, the first line of each kind in ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        kind = said.partition(" ")[0]  # FAIL, ERROR, REQTMOUT…: a broker that is away says the same 40 times a second
        if record.created - self._told.get(kind, 0.0) < REPEAT_AFTER:
            return
        self._told[kind] = record.created
        level = logging.DEBUG if said.endswith("retrying") else record.levelno  # it sees to that by itself
        structlog.get_logger("librdkafka").log(level, "client", said=said)
