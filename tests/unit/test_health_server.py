"""The endpoints over HTTP, and the files that say where they are."""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.health.ask import everything, health_of
from streams.health.board import Board
from streams.health.endpoint import health_endpoint
from streams.health.progress import PartitionProgress, WorkerProgress
from streams.health.report import UNRESPONSIVE, Report
from streams.health.server import HealthServer
from streams.health.whereabouts import FOLDER, announced
from streams.settings import Settings, given_settings


class Served:
    """A board with one worker, served."""

    def __init__(self) -> None:
        self.now = 0.0
        self.board = Board(lambda: self.now)
        self.board.started(self.board.place("count", "shop.count"))
        self.server = HealthServer(Report(self.board, 60, lambda: self.now, lambda: 5_000), "127.0.0.1", 0)
        self.server.start()

    def put(self, committed: int, end: int) -> None:
        one = PartitionProgress("shop.items", 0, committed, committed, end, "running", 2_000, "schema 7", 4.0, 5, None)
        self.board.put(
            0, WorkerProgress("count", "shop.count", "shop.items", 1, 0, 9.0, joined=True, partitions=(one,))
        )

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", int(self.server.url.rpartition(":")[2]), timeout=5)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


def test_readiness_follows_the_workers(served: Served) -> None:
    assert served.get("/readyz")[0] == 503
    served.put(5, 5)
    assert served.get("/readyz") == (200, '{\n "ready": true,\n "missing": []\n}\n')
    served.board.ended(0)
    assert served.get("/readyz")[0] == 503


def test_health_names_what_stands_still(served: Served) -> None:
    served.put(5, 9)
    status, body = served.get("/healthz")
    answer = json.loads(body)
    assert status == 200
    assert answer["healthy"]
    (part,) = answer["workers"][0]["partitions"]
    assert (part["lag"], part["lag_seconds"], part["committed"]) == (4, 3.0, 5)
    assert part["waits_on"] == "schema 7 since 4 s at offset 5, no key"
    served.now = 61
    served.put(5, 9)
    status, body = served.get("/healthz")
    assert status == 503
    assert "schema 7" in json.loads(body)["problems"][0]["what"]
    assert "streams_healthy 0.0" in served.get("/metrics")[1]


def test_the_supervisor_itself(served: Served) -> None:
    assert served.get("/livez")[0] == 200
    served.now += UNRESPONSIVE + 1
    assert served.get("/livez")[0] == 503
    served.board.tick()
    assert served.get("/livez")[0] == 200


def test_other_requests(served: Served) -> None:
    assert served.get("/healthz?verbose=1")[0] == 200
    assert served.get("/metrics", "HEAD") == (200, "")
    status, body = served.get("/")
    assert status == 404
    assert "/healthz" in body
    assert served.get("/healthz", "DELETE")[0] == 501


def test_clients_that_hang_or_talk_nonsense_hold_up_nobody(served: Served) -> None:
    address = ("127.0.0.1", int(served.server.url.rpartition(":")[2]))
    hanging = [socket.create_connection(address) for _ in range(20)]
    hanging[0].sendall(b"GET /metr")
    hanging[1].sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
    started = time.monotonic()
    assert served.get("/livez")[0] == 200
    assert time.monotonic() - started < 2
    for one in hanging:
        one.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return given_settings({"state_dir": tmp_path / "state"})


def test_two_supervisors_on_one_machine_get_ports_of_their_own(settings: Settings) -> None:
    boards = [Board(), Board()]
    for board in boards:
        board.place("count", "shop.count")
    with health_endpoint(boards[0], settings) as first, health_endpoint(boards[1], settings) as second:
        assert first is not None
        assert first != second
        assert health_of(first)
    assert health_of(first) is None


def test_the_address_is_found_while_the_supervisor_lives(settings: Settings) -> None:
    board = Board()
    board.place("count", "shop.count")
    assert announced(settings.state_dir) == []
    with health_endpoint(board, settings) as url:
        assert announced(settings.state_dir) == [url]
        (file,) = (settings.state_dir / FOLDER).iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        workers, problems = everything(settings.state_dir, ["shop.count", "shop.other"])
        assert [worker["state"] for worker in workers] == ["down"]
        assert problems == []
        assert everything(settings.state_dir, ["shop.other"]) == ([], [])
    assert announced(settings.state_dir) == []
    assert list((settings.state_dir / FOLDER).iterdir()) == []


def test_what_a_dead_supervisor_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "1.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}')
    assert announced(tmp_path) == []
    assert list(folder.iterdir()) == []


def test_a_taken_port_is_told_and_nothing_is_left(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = settings.model_copy(update={"health_port": port})
        with pytest.raises(UsageError, match="cannot listen") as told, health_endpoint(Board(), busy):
            raise AssertionError
    assert f"127.0.0.1:{port}" in told.value.where
    assert announced(settings.state_dir) == []


def test_off_means_no_server(settings: Settings) -> None:
    with health_endpoint(Board(), settings.model_copy(update={"health_port": None})) as url:
        assert url is None
    assert not (settings.state_dir / FOLDER).exists()


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = given_settings({"state_dir": tmp_path / "file"})
    with pytest.raises(UsageError, match="state folder"), health_endpoint(Board(), settings):
        raise AssertionError
    assert (tmp_path / "file").is_file()


def test_somebody_else_at_the_address_is_no_supervisor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert health_of(f"http://127.0.0.1:{other.getsockname()[1]}", timeout=0.2) is None
