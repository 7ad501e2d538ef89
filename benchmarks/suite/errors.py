"""Why there is no figure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, NoReturn

from confluent_kafka import KafkaException

from streams.errors import StreamsError


class BenchmarkError(Exception):
    """There is no figure, and why."""


class WrongOutputError(BenchmarkError):
    """An output is not what it has to be: who writes it has no figure at all."""


# What ends one run and not the job: the contender, its topics, or Kafka failed.
FAILURES: Final = (BenchmarkError, StreamsError, KafkaException, OSError)


def run_program(main: Callable[[], object]) -> NoReturn:
    """Run a program and end with 1, and the reason on stderr, where there is no figure."""
    try:
        main()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
