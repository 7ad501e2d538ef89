"""A Kafka for tests that stop servers, forbid topics or change their limits: all others would notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live.kcat import Kcat

from streams.testing import plugin
from streams.testing.backends import CONTAINER, EMBEDDED, Brokers, Choice
from streams.testing.plugin import Kafka


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    """What the tests here alone start, of the kinds that the session has."""
    own = Brokers(Choice())
    yield own
    own.stop()


@pytest.fixture(scope="session")
def kafka(brokers: Brokers, kafka_backend: str) -> Kafka:
    if kafka_backend not in {EMBEDDED, CONTAINER}:
        pytest.skip(f"{kafka_backend} is not ours to disturb")
    return plugin.kafka(brokers, kafka_backend, demanded=False)


@pytest.fixture(scope="session")
def kcat(kafka: Kafka) -> Kcat:
    return Kcat(kafka.bootstrap_servers)
