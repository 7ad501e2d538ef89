"""docs/health.md names what exists: every metric with its labels, every path, every option of its manifests."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families
from test_health_metrics import board, progress
from test_health_server import Served

from streams.cli import app
from streams.settings import Settings

TEXT = (Path(__file__).parents[2] / "docs" / "health.md").read_text()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


def section(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_metric_is_told_with_its_labels_and_nothing_else() -> None:
    made, metrics = board()
    made.put(0, progress({"processed": 7}))
    exist = {
        sample.name: set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    exist = {
        re.sub(r"_(bucket|count|sum)$", "", name) if "_seconds_" in name else name: of for name, of in exist.items()
    }
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", section("Metrics"), re.MULTILINE)
    told = {
        name: set(labels.split(", ")) - {"none"} for names, labels in rows for name in re.findall(r"`(.*?)`", names)
    }
    print(f"compared {len(told)} metrics")
    assert len(told) > 15
    assert told == exist


def test_every_path_answers(served: Served) -> None:
    paths = set(re.findall(r"^\| `(/\w+)` \|", TEXT, re.MULTILINE))
    assert paths == {"/livez", "/readyz", "/healthz", "/metrics"}
    assert set(re.findall(r"path: (/\w+)", TEXT)) < paths
    assert {served.get(path)[0] for path in paths} == {200, 503}


def test_commands_and_manifests_have_options_that_exist() -> None:
    commands = [shlex.split(one) for one in re.findall(r"`streams ([a-z]+ [^`]*--[^`]*)`", TEXT)]
    commands += [json.loads(one) for one in re.findall(r"^args: (\[.*\])$", TEXT, re.MULTILINE)]
    known = {
        command.name: {option for parameter in command.params for option in parameter.opts}
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined] # a group has them
    }
    assert len(commands) >= 2
    for name, *arguments in commands:
        assert {one for one in arguments if one.startswith("--")} <= known[name]
    assert {"why", "top"} <= known.keys()


@pytest.mark.parametrize("setting", ["stall_after", "stall_exit"])
def test_settings_exist(setting: str) -> None:
    assert f"`{setting}`" in TEXT
    assert setting in Settings.model_fields
