"""What tests with a real Kafka share, over the fixtures of the plugin that we ship; `--kafka` says which Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live.app import PREFIX
from live.kcat import Kcat
from live.turns import Turns
from live.workers import Live

from streams.settings import Settings
from streams.testing.plugin import Kafka

pytest_plugins = "pytester"  # for the tests of that plugin


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what runs on a real Kafka, and leave out what starts the embedded one where another was asked for."""
    for item in items:
        if getattr(item, "callspec", None) and item.callspec.params.get("kafka_backend", "memory") != "memory":
            item.add_marker(pytest.mark.integration)
    chosen = config.getoption("kafka")
    if chosen not in {None, "embedded"}:
        skip = pytest.mark.skip(reason=f"starts the embedded cluster itself, and --kafka chose {chosen}")
        for item in items:
            if item.get_closest_marker("embedded"):
                item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Turns:
    """Keep tests apart that would be in each other's way."""
    return Turns(config, log)


@pytest.fixture
def settings(kafka: Kafka, tmp_path: Path) -> Settings:
    """Settings of workers whose partitions are taken over, or whose transactions are given up, after seconds."""
    return kafka.settings(tmp_path / "state")


@pytest.fixture(scope="session")
def kcat(kafka: Kafka) -> Kcat:
    """A second client, which shares no code with ours."""
    return Kcat(kafka.bootstrap_servers)


@pytest.fixture
def live(settings: Settings, tmp_path: Path) -> Iterator[Live]:
    """An app of a name that no other test uses: it shares neither topics nor groups."""
    app = Live(settings, f"{PREFIX}{uuid.uuid4().hex[:8]}", tmp_path)
    yield app
    app.close()
