"""Structured logs on stderr: for people on a terminal, as JSON lines for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


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
    """Passes what the Kafka client logs on to the structured log."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        level = logging.DEBUG if said.endswith("retrying") else record.levelno  # it sees to that by itself
        structlog.get_logger("librdkafka").log(level, "client", said=said)
