"""What of the containers needs no engine: names of images, settings, owners."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import ReadTimeout
from testcontainers.core.config import ConnectionMode

from streams.embedded.kafka import kafka_settings
from streams.embedded.lock import read_lock
from streams.embedded.processes import Process
from streams.errors import StreamsError, UsageError
from streams.testing.containers.engine import gone_is_fine, published_at, told
from streams.testing.containers.images import KAFKA_IMAGES, REGISTRY_IMAGES, choose
from streams.testing.containers.kafka import DATA, OUTER, Node, node_settings
from streams.testing.containers.owner import SESSION, Owner


class Engine:
    """Has some images, and can fetch one more."""

    def __init__(self, *present: str, fetchable: str = "") -> None:
        self.present, self.fetchable = set(present), fetchable
        self.pulled: list[str] = []
        self.client = SimpleNamespace(images=self)

    def get(self, image: str) -> None:
        if image not in self.present:
            raise ImageNotFound("no")

    def pull(self, image: str) -> None:
        self.pulled.append(image)
        if image != self.fetchable:
            raise APIError("no route to the registry")


def chosen(engine: Engine, given: str | None) -> str:
    return choose(engine, given, KAFKA_IMAGES)  # type: ignore[arg-type] # a double


def test_the_images_are_of_the_versions_that_the_project_locks() -> None:
    locked = {artifact.coordinate.artifact: artifact.coordinate.version for artifact in read_lock()}

    assert {image.partition(":")[2] for image in KAFKA_IMAGES} == {locked["kafka_2.13"]}
    assert {image.partition(":")[2] for image in REGISTRY_IMAGES} == {locked["apicurio-registry-app"]}


def test_the_local_image_is_preferred_and_nothing_is_pulled_unasked() -> None:
    local, official = KAFKA_IMAGES
    both, one, none = Engine(local, official), Engine(official), Engine(fetchable=official)

    assert (chosen(both, None), chosen(one, None)) == (local, official)
    with pytest.raises(UsageError, match=r"has no image .*\n.*docker/build.py.* or docker pull"):
        chosen(none, None)
    assert both.pulled == one.pulled == none.pulled == []


def test_a_named_image_is_taken_or_pulled_or_told_to_be_out_of_reach() -> None:
    engine = Engine("here:1", fetchable="there:1")

    assert (chosen(engine, "here:1"), chosen(engine, "there:1")) == ("here:1", "there:1")
    with pytest.raises(UsageError, match=r"nowhere:1 is not here and cannot be pulled(.|\n)*docker/build.py"):
        chosen(engine, "nowhere:1")
    assert engine.pulled == ["there:1", "nowhere:1"]


def test_a_single_node_differs_from_the_embedded_one_in_its_addresses_alone() -> None:
    mine, embedded = node_settings(Node(1, "id", {1: "kafka-1"})), kafka_settings(OUTER, DATA)

    added = {name for name in mine if name not in embedded}
    changed = {name for name in embedded if str(embedded[name]) != str(mine[name])}
    print(f"compared {len(mine)} settings")
    assert added == {"default.replication.factor", "min.insync.replicas"}
    assert changed == {"controller.quorum.voters", "listeners", "listener.security.protocol.map"}
    assert {str(mine[name]) for name in added} == {"1"}


@pytest.mark.parametrize(("nodes", "copies", "enough"), [(1, 1, 1), (2, 2, 1), (3, 3, 2), (5, 3, 2)])
def test_a_cluster_keeps_records_up_to_three_times_and_does_without_one(nodes: int, copies: int, enough: int) -> None:
    settings = node_settings(Node(2, "id", {number: f"k{number}" for number in range(1, nodes + 1)}))

    factors = {value for name, value in settings.items() if name.endswith("replication.factor")}
    least = {value for name, value in settings.items() if name.endswith(("min.isr", "min.insync.replicas"))}
    assert (factors, least) == ({copies}, {enough})
    assert len(str(settings["controller.quorum.voters"]).split(",")) == nodes
    assert settings["node.id"] == 2


def test_an_owner_is_read_from_its_labels_and_lives_as_long_as_its_process() -> None:
    mine = Owner.of()
    ended = Owner(mine.host, Process(mine.process.pid, "another start"))
    elsewhere = Owner("another machine", ended.process)

    assert Owner.read(mine.labels()) == mine == Owner.of(os.getpid())
    assert [owner.gone() for owner in (mine, ended, elsewhere)] == [False, True, False]


@pytest.mark.parametrize("damage", ["pid", "host", "started"])
def test_labels_that_name_no_owner_make_no_leftover(damage: str) -> None:
    labels = Owner.of().labels()

    assert Owner.read(labels | {f"io.straightstream.{damage}": ""}) is None
    assert Owner.read({SESSION: "x"}) is None
    assert Owner.read(labels | {"io.straightstream.pid": "-1"}) is None


def test_a_process_that_does_not_run_owns_nothing() -> None:
    with pytest.raises(UsageError, match="no process 999999999"):
        Owner.of(999_999_999)


def engine_at(host: str, mode: ConnectionMode) -> Any:
    pools = {"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Gateway": "172.30.0.1"}]}}
    networks = SimpleNamespace(get=lambda _name: SimpleNamespace(attrs=pools))
    return SimpleNamespace(
        get_connection_mode=lambda: mode, host=lambda: host, client=SimpleNamespace(networks=networks)
    )


@pytest.mark.parametrize(
    ("host", "mode", "expected"),
    [
        ("localhost", ConnectionMode.docker_host, ("127.0.0.1", "127.0.0.1")),
        ("build-7", ConnectionMode.docker_host, ("", "build-7")),
        ("localhost", ConnectionMode.gateway_ip, ("172.30.0.1", "172.30.0.1")),
        ("localhost", ConnectionMode.bridge_ip, ("172.30.0.1", "172.30.0.1")),
    ],
)
def test_only_another_machines_engine_publishes_to_everybody(
    host: str, mode: ConnectionMode, expected: tuple[str, str]
) -> None:
    assert published_at(engine_at(host, mode), "net") == expected


def test_the_engines_errors_are_told_as_ours() -> None:
    refused = APIError("500", explanation="no space left on device")
    for raised, text in [
        (refused, "the container engine refuses to start: no space left"),
        (DockerException("no such socket"), r"no container engine answers(.|\n)*docker/engine"),
        (ReadTimeout("20 s"), r"no container engine answers(.|\n)*docker/engine"),
    ]:
        with pytest.raises(StreamsError, match=text), told("to start"):
            raise raised


def test_what_is_being_removed_elsewhere_counts_as_gone_and_nothing_else_does() -> None:
    with gone_is_fine():
        raise APIError("409", explanation="removal of container x is already in progress")
    with pytest.raises(APIError), gone_is_fine():
        raise APIError("500", explanation="device busy")
