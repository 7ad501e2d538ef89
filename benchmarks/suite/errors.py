"""Why there is no figure."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException

from streams.errors import StreamsError


class BenchmarkError(Exception):
    """There is no figure, and why."""


class WrongOutputError(BenchmarkError):
    """An output is not what it has to be: who writes it has no figure at all."""


# What ends one run and not the job: the contender, its topics, or Kafka failed.
FAILURES: Final = (BenchmarkError, StreamsError, KafkaException, OSError)
