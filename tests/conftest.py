"""One embedded cluster for all tests of a session that need Kafka; with -n each process would start its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from live.app import PREFIX
from live.kcat import Kcat
from live.workers import Live

from streams.embedded import Cluster
from streams.settings import Settings

pytest_plugins = "pytester"  # for the tests of the plugin that we ship


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running Kafka and registry, for all tests; one that stops a server has to start it again."""
    with Cluster.ephemeral() as running:
        yield running


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> Settings:
    """Settings of workers whose partitions are taken over, or whose transactions are given up, after seconds."""
    return Settings(
        bootstrap_servers=cluster.bootstrap_servers,
        schema_registry_url=cluster.schema_registry_url,
        state_dir=tmp_path / "state",
        session_timeout="6s",
        transaction_timeout="4s",
    )


@pytest.fixture(scope="session")
def kcat(cluster: Cluster) -> Kcat:
    """A second client, which shares no code with ours."""
    return Kcat(cluster.bootstrap_servers)


@pytest.fixture
def live(settings: Settings, tmp_path: Path) -> Iterator[Live]:
    """An app of a name that no other test uses: it shares neither topics nor groups."""
    app = Live(settings, f"{PREFIX}{uuid.uuid4().hex[:8]}", tmp_path)
    yield app
    app.close()
