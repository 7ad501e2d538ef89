"""Kafka and the registry in real containers: addresses, transactions, faults, what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.avro.registry import Registry
from streams.errors import StreamsError, UnreachableError, UsageError
from streams.kafka.admin import Admin
from streams.settings import Settings
from streams.testing.containers import (
    ApacheKafkaCluster,
    ApacheKafkaContainer,
    SchemaRegistryContainer,
    engine_problem,
    find_images,
    remove_leftovers,
)
from streams.testing.containers.engine import engine
from streams.testing.containers.owner import SESSION, SESSION_ID
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

PATIENT = 60.0
ABANDONED = """
import time
from streams.testing.containers import ApacheKafkaContainer, SchemaRegistryContainer
registry, kafka = SchemaRegistryContainer(), ApacheKafkaContainer()
registry.launch()
kafka.launch()
servers = (registry, kafka)
print(*(s.get_wrapped_container().name for s in servers), *(s.network.name for s in servers), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    problem = engine_problem() or ("" if find_images() else "no images: python docker/build.py makes them")
    if problem:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(problem)


@pytest.fixture(scope="module")
def kafka() -> Iterator[ApacheKafkaContainer]:
    with ApacheKafkaContainer() as running:
        yield running


@pytest.fixture
def topic(kafka: ApacheKafkaContainer) -> str:
    return made_topic(kafka.bootstrap_servers)


@pytest.fixture
def left() -> Callable[[], set[str]]:
    """Return what this process has on the engine that it had not before; the session's own broker may run there too."""

    def names() -> set[str]:
        label = {"label": f"{SESSION}={SESSION_ID}"}
        with engine() as docker:
            found = docker.client.containers.list(all=True, filters=label) + docker.client.networks.list(filters=label)
        return {one.name for one in found}

    before = names()
    return lambda: names() - before


def in_sync(servers: str, topic: str) -> dict[int, int]:
    """Return the number of in-sync replicas of each partition."""
    partitions = AdminClient(quiet(servers)).list_topics(topic, PATIENT).topics[topic].partitions
    return {number: len(partition.isrs) for number, partition in partitions.items()}


def made_topic(servers: str) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = Admin(Settings(bootstrap_servers=servers))
    admin.create_topics([TopicSpec(name, 2, {})])
    while name not in admin.topics():
        time.sleep(0.05)
    return name


def quiet(servers: str, **more: Any) -> dict[str, Any]:
    """Configure a client whose log, which tells of every broken connection, nobody reads."""
    return {"bootstrap.servers": servers, "log_level": 0, **{name.replace("_", "."): v for name, v in more.items()}}


def transactional(servers: str) -> Producer:
    producer = Producer(quiet(servers, transactional_id=uuid.uuid4().hex, message_timeout_ms=60_000, linger_ms=0))
    producer.init_transactions(PATIENT)
    return producer


def send(producer: Producer, topic: str, *values: str) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, key=value)


def committed(servers: str, topic: str, count: int) -> list[str]:
    """Return the committed values of a topic, of which there are at least `count`."""
    consumer = Consumer(quiet(servers, group_id=uuid.uuid4().hex, isolation_level="read_committed"))
    with contextlib.closing(consumer):
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
        found: list[str] = []
        deadline = time.monotonic() + PATIENT
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is not None and not message.error():
                found.append(message.value().decode())
            elif len(found) >= count:
                break
    return sorted(found)


def test_only_committed_transactions_are_seen(kafka: ApacheKafkaContainer, topic: str) -> None:
    producer = transactional(kafka.bootstrap_servers)
    send(producer, topic, "a", "b")
    producer.commit_transaction(PATIENT)
    send(producer, topic, "lost")
    producer.flush()
    producer.abort_transaction(PATIENT)
    send(producer, topic, "c")
    producer.commit_transaction(PATIENT)

    assert committed(kafka.bootstrap_servers, topic, 3) == ["a", "b", "c"]
    print("compared 3 committed values, 1 aborted")


def test_offsets_are_committed_with_the_output(kafka: ApacheKafkaContainer, topic: str) -> None:
    """As a worker does it: read, write, and mark what was read, in one transaction."""
    servers, group, output = kafka.bootstrap_servers, uuid.uuid4().hex, made_topic(kafka.bootstrap_servers)
    source = Producer(quiet(servers))
    for number in range(20):
        source.produce(topic, str(number), key=str(number))
    source.flush()
    reader = Consumer(quiet(servers, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False))
    with contextlib.closing(reader):
        reader.subscribe([topic])
        producer = transactional(servers)
        producer.begin_transaction()
        for message in reader.consume(20, PATIENT):
            producer.produce(output, message.value(), key=message.key())
        producer.send_offsets_to_transaction(
            reader.position(reader.assignment()), reader.consumer_group_metadata(), PATIENT
        )
        producer.commit_transaction(PATIENT)

    marked = Admin(Settings(bootstrap_servers=servers)).committed(group)
    assert committed(servers, output, 20) == sorted(str(number) for number in range(20))
    assert sum(marked.values()) == 20
    print("compared 20 values and the offsets of 2 partitions")


def test_another_container_reaches_it_by_its_alias(kafka: ApacheKafkaContainer, topic: str) -> None:
    """A second container, in its network, asks for the topic that was made from this machine."""
    client = ["java", "-cp", "/opt/kafka/libs/*", "kafka.admin.ConfigCommand", "--describe", "--all"]
    asked = ["--bootstrap-server", kafka.internal_bootstrap_servers, "--entity-type", "topics", "--entity-name", topic]
    with engine() as docker:
        answer = docker.client.containers.run(
            kafka.image, [*client, *asked], network=kafka.network.name, remove=True, stderr=True
        ).decode()

    assert "min.insync.replicas=1" in answer
    assert topic in answer
    print(f"compared an answer of {len(answer.splitlines())} lines by {kafka.internal_bootstrap_servers}")


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_data_and_address_outlive_a_restart(kafka: ApacheKafkaContainer, topic: str, how: str) -> None:
    address, begun = kafka.bootstrap_servers, time.monotonic()
    producer = transactional(address)
    send(producer, topic, "before")
    producer.commit_transaction(PATIENT)
    if how == "kill":
        kafka.kill()
        with pytest.raises(UnreachableError):
            kafka.brokers()
        kafka.start_again()
    else:
        kafka.restart()

    assert kafka.bootstrap_servers == address
    assert kafka.brokers() == {1: address}
    send(producer, topic, "after")
    producer.commit_transaction(PATIENT)
    assert committed(address, topic, 2) == ["after", "before"]
    print(f"compared 2 values; {how} and the rest took {time.monotonic() - begun:.1f} s")


def test_a_paused_broker_answers_nothing_and_then_goes_on(kafka: ApacheKafkaContainer, topic: str) -> None:
    producer = transactional(kafka.bootstrap_servers)
    kafka.pause()
    try:
        with pytest.raises(UnreachableError):
            kafka.brokers()
    finally:
        kafka.unpause()
    send(producer, topic, "on")
    producer.commit_transaction(PATIENT)
    assert committed(kafka.bootstrap_servers, topic, 1) == ["on"]


def test_three_brokers_do_without_one() -> None:
    with ApacheKafkaCluster() as cluster:
        servers, everyone = cluster.bootstrap_servers, {broker.node.id for broker in cluster.brokers}
        topic, admin = made_topic(servers), Admin(Settings(bootstrap_servers=servers))
        assert in_sync(servers, topic) == {0: 3, 1: 3}
        assert admin.topic_config([topic])[topic]["min.insync.replicas"] == "2"
        producer = transactional(servers)
        send(producer, topic, *"abcdef")
        producer.commit_transaction(PATIENT)

        killed, begun = cluster.brokers[0], time.monotonic()
        killed.kill()
        send(producer, topic, *"ghijkl")
        producer.commit_transaction(PATIENT)
        took = time.monotonic() - begun

        assert committed(servers, topic, 12) == list("abcdefghijkl")
        assert set(admin.brokers()) == everyone - {killed.node.id}
        killed.start_again()
        while in_sync(servers, topic) != {0: 3, 1: 3}:
            time.sleep(0.2)
        assert cluster.bootstrap_servers == servers
    print(f"compared 12 values; the transaction after the kill took {took:.1f} s")


def test_ids_of_the_registry_outlive_a_restart_and_a_kill() -> None:
    text = json.dumps({"type": "record", "name": "shop.Event", "fields": [{"name": "a", "type": "string"}]})
    more = json.dumps({"type": "record", "name": "shop.Other", "fields": [{"name": "b", "type": "int"}]})
    with SchemaRegistryContainer() as running:
        registry, url = Registry(running.url), running.url
        ids = registry.register("orders-value", [text], "BACKWARD")
        running.restart()
        assert running.url == url
        assert registry.lookup("orders-value", text) == ids[0]
        ids += registry.register("others-value", [more], "BACKWARD")
        running.kill()
        running.start_again()
        assert [registry.lookup("orders-value", text), registry.lookup("others-value", more)] == ids
        assert json.loads(registry.schema(ids[1]))["name"] == "Other"
    print("compared 2 ids, before and after a restart and a kill")


def test_stop_may_be_called_at_any_time(left: Callable[[], set[str]]) -> None:
    never = SchemaRegistryContainer()
    never.stop()
    twice = SchemaRegistryContainer()
    twice.launch()
    twice.stop()
    twice.stop()
    for container in (never, twice):
        with pytest.raises(UsageError, match="not started"):
            container.pause()
    assert left() == set()


def test_what_a_killed_run_left_behind_is_removed_and_nothing_else(kafka: ApacheKafkaContainer) -> None:
    with engine() as docker, subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE) as run:
        assert run.stdout
        abandoned = set(run.stdout.readline().decode().split())
        assert len(abandoned) == 4
        image = find_images()
        assert image
        foreign = docker.client.containers.run(image.kafka, ["sleep", "600"], detach=True, remove=True)
        try:
            assert abandoned & set(remove_leftovers()) == set()  # their owner lives
            run.send_signal(signal.SIGKILL)
            run.wait()
            removed = remove_leftovers()
            names = {c.name for c in docker.client.containers.list(all=True)}
            names |= {network.name for network in docker.client.networks.list()}
            assert abandoned <= set(removed)
            assert abandoned & names == set()
            assert {foreign.name, kafka.get_wrapped_container().name, kafka.network.name} <= names
            assert abandoned & set(remove_leftovers()) == set()
        finally:
            foreign.remove(force=True)
    print(f"compared {len(abandoned)} names of leftovers and {len(names)} that stayed")


def test_a_start_that_fails_tells_why_and_leaves_nothing(left: Callable[[], set[str]]) -> None:
    with pytest.raises(StreamsError, match=r"Kafka ended while it started; its last words:\n(.|\n)*number") as raised:
        ApacheKafkaContainer(settings={"num.io.threads": "many"}).start()
    assert left() == set()
    print(f"compared {len(str(raised.value).splitlines())} lines")


def test_an_image_of_something_else_is_refused(left: Callable[[], set[str]]) -> None:
    images = find_images()
    assert images
    with pytest.raises(UsageError, match=r"is not an image of Kafka"):
        ApacheKafkaContainer(images.registry).start()
    assert left() == set()


def test_an_image_that_is_not_here_and_cannot_be_pulled_is_told_at_once(left: Callable[[], set[str]]) -> None:
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"cannot be pulled(.|\n)*docker/build.py"):
        ApacheKafkaContainer("straightstream/no-such-image:0").start()
    assert time.monotonic() - begun < 60
    assert left() == set()
