import json
import os
from pathlib import Path

import pytest

from streams.embedded import Addresses, discover
from streams.embedded.addresses import ClusterRecord, announce, find_data
from streams.embedded.processes import Process


@pytest.fixture
def running(tmp_path: Path) -> ClusterRecord:
    """A record whose processes are this test's own, announced in `<tmp>/project`."""
    me = Process.of(os.getpid())
    assert me
    record = ClusterRecord(tmp_path / "data", 9092, ready=True, processes={"kafka": me, "registry": me})
    record.write()
    announce(record.data, record.addresses, tmp_path / "project")
    return record


def test_a_running_cluster_is_found_from_below(running: ClusterRecord, tmp_path: Path) -> None:
    below = tmp_path / "project" / "src" / "deep"
    below.mkdir(parents=True)
    expected = Addresses("127.0.0.1:9092", "http://127.0.0.1:9094/apis/ccompat/v7")
    assert discover(below) == expected
    assert discover(tmp_path / "project") == expected
    assert find_data(below) == running.data


def test_nothing_is_found_beside_it(running: ClusterRecord, tmp_path: Path) -> None:
    assert running.running()
    assert discover(tmp_path) is None


@pytest.mark.parametrize("stale", [Process(os.getpid(), "another boot/17"), Process(2**22 + 1, "x")])
def test_a_stale_pid_is_not_a_running_cluster(running: ClusterRecord, tmp_path: Path, stale: Process) -> None:
    running.with_process("kafka", stale).write()
    assert discover(tmp_path / "project") is None


def test_a_cluster_that_only_starts_is_not_found(running: ClusterRecord, tmp_path: Path) -> None:
    ClusterRecord(running.data, 9092, processes=running.processes).write()
    assert discover(tmp_path / "project") is None


def test_the_record_survives_a_round_trip_and_is_private(running: ClusterRecord) -> None:
    assert ClusterRecord.read(running.data) == running
    assert (running.data / "cluster.json").stat().st_mode & 0o777 == 0o600
    content = json.loads((running.data / "cluster.json").read_text())
    assert content["bootstrap_servers"] == "127.0.0.1:9092"


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"port": 1, "ready": true, "processes": []}',
        '{"port": 1, "ready": true, "processes": {"k": 1}}',
    ],
)
def test_a_damaged_record_counts_as_none(running: ClusterRecord, tmp_path: Path, damaged: str) -> None:
    (running.data / "cluster.json").write_text(damaged)
    assert ClusterRecord.read(running.data) is None
    assert discover(tmp_path / "project") is None


def test_another_users_file_is_not_believed(
    running: ClusterRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running.running()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert discover(tmp_path / "project") is None
