"""The pytest plugin with real brokers: what its fixtures give, who owns a broker, and that none is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from live.events import Item

from streams.avro.model import versions_of
from streams.embedded.artifacts import cache_folder
from streams.kafka.admin import Admin
from streams.testing.containers.owner import PREFIX
from streams.testing.plugin import Kafka, KafkaTopic, SchemaRegistry

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
CACHE = cache_folder()  # before pytester gives the runs another home
PATIENCE = 90.0  # seconds, for a start on a busy machine
GONE_WITHIN = 20.0
NAMES: set[str] = set()
TELL = """
    import os, signal, time
    from pathlib import Path
    import pytest

    FOLDER = Path(__file__).parent

    def tell(kafka, name):
        (FOLDER / f"{name}.told").write_text(f"{kafka.bootstrap_servers} {kafka.schema_registry_url}")
"""
WAITING = (
    TELL
    + """
    def test_it(kafka):
        tell(kafka, "it")
        time.sleep(600)
"""
)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the choices that this very run was made with away from the runs within it."""
    for name in ("STREAMS_TEST_KAFKA", "STREAMS_SCHEMA_REGISTRY_URL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("STREAMS_CACHE_DIR", str(CACHE))


def told(folder: Path, name: str = "it") -> str:
    """Wait for what a test tells."""
    deadline = time.monotonic() + PATIENCE
    while not (path := folder / f"{name}.told").exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return path.read_text()


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def await_silence(told_: str) -> None:
    """Wait until neither server answers any more."""
    kafka, url = told_.split()
    addresses = [kafka, url.removeprefix("http://").partition("/")[0]]
    deadline = time.monotonic() + GONE_WITHIN
    while any(map(listens, addresses)):
        assert time.monotonic() < deadline, f"one of {addresses} still runs"
        time.sleep(0.1)


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def containers_of(pid: int) -> list[str]:
    """Return the containers of a process, whether they run or not."""
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"label={PREFIX}pid={pid}"]
    if shutil.which("docker") is None:
        return []
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


# --- what fixtures give


@pytest.mark.kafka_topic(partitions=3, config={"max.message.bytes": "20000"})
def test_a_topic_is_made_as_marked(kafka: Kafka, kafka_topic: KafkaTopic, tmp_path: Path) -> None:
    admin = Admin(kafka.settings(tmp_path))
    assert admin.topics()[kafka_topic.name] == kafka_topic.partitions == 3
    assert admin.topic_config([kafka_topic.name])[kafka_topic.name]["max.message.bytes"] == "20000"


@pytest.mark.parametrize("run", [1, 2])
def test_a_topic_and_its_names_serve_one_test(kafka: Kafka, kafka_topic: KafkaTopic, tmp_path: Path, run: int) -> None:
    names = {kafka_topic.name, kafka_topic.group, kafka_topic.transactional_id}
    assert not names & NAMES
    NAMES.update(names)
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": kafka_topic.transactional_id}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(kafka_topic.name, b"%d" % run)
    producer.commit_transaction(20)
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": kafka_topic.group,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([kafka_topic.name])
    [message] = consumer.consume(1, 30)
    consumer.close()
    assert message.value() == b"%d" % run
    assert NAMES & Admin(kafka.settings(tmp_path)).topics().keys() == {kafka_topic.name}, "older ones are deleted"


def test_the_registry_serves_the_toolkits_client(schema_registry: SchemaRegistry, kafka: Kafka) -> None:
    assert schema_registry.url == kafka.schema_registry_url
    [found] = schema_registry.client.register("plugin-value", versions_of(Item), "BACKWARD")
    assert "Item" in schema_registry.client.schema(found)
    schema_registry.client.delete("plugin-value")
    assert "plugin-value" not in schema_registry.client.subjects()


# --- addresses


@pytest.fixture
def silent() -> Iterator[str]:
    """Listen, and say nothing that Kafka would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


ONE = "def test_one(kafka): ...\ndef test_two(kafka_topic): ..."


def test_an_address_where_something_else_answers_is_told(pytester: pytest.Pytester, silent: str) -> None:
    pytester.makepyfile(ONE)
    result = pytester.runpytest_subprocess(f"--kafka={silent}", "--schema-registry-url=http://127.0.0.1:1")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([f"what answers at {silent} is not Kafka, *"])
    assert "Traceback" not in result.stdout.str()


def test_an_address_where_nothing_answers_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE)
    result = pytester.runpytest_subprocess("--kafka=127.0.0.1:1", "--schema-registry-url=http://127.0.0.1:1")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["nothing answers at 127.0.0.1:1: Connection refused; start that broker, *"])


def test_a_missing_engine_is_told_with_the_way_out(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    pytester.makepyfile(ONE)
    result = pytester.runpytest_subprocess("--kafka=container")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["there are no containers: no container engine answers *; --kafka=embedded needs none"])
    assert "Traceback" not in result.stdout.str()


def test_at_an_address_a_test_leaves_nothing(kafka: Kafka, pytester: pytest.Pytester, tmp_path: Path) -> None:
    pytester.makepyfile("""
        from live.events import Item
        from streams import App
        from streams.kafka.admin import Admin

        def test_guest(stream_app, kafka_topic, kafka, tmp_path):
            app = App("guest")
            items = app.topic("guest.items", Item, key="key")

            @app.processor(items)
            def look(item, ctx): ...

            driver = stream_app(app)
            driver.send(items, Item(key="a", n=1, text=""))
            driver.settle()
            admin, look = Admin(kafka.settings(tmp_path)), driver.app.processors["look"]
            made = {look.group, look.source.name, kafka_topic.name}
            assert made <= {name for name in (*admin.topics(), *admin.groups()) if "guest" in name}
    """)
    result = pytester.runpytest_subprocess(
        f"--kafka={kafka.bootstrap_servers}", f"--schema-registry-url={kafka.schema_registry_url}"
    )
    result.assert_outcomes(passed=1)
    admin = Admin(kafka.settings(tmp_path))
    assert [name for name in (*admin.topics(), *admin.groups()) if "guest" in name] == []


# --- who owns a broker


@pytest.mark.embedded
def test_workers_of_xdist_share_one_broker_and_a_killed_one_takes_it_from_nobody(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TELL
        + """
    @pytest.mark.parametrize("n", range(16))
    def test_it(kafka, kafka_topic, n, worker_id):
        tell(kafka, f"{n}-{os.getpid()}")
        time.sleep(0.2)
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    )
    result = pytester.runpytest_subprocess("--kafka=embedded", "-n", "2")
    result.assert_outcomes(passed=15, failed=1)
    found = [path.read_text() for path in pytester.path.glob("*.told")]
    workers = {path.stem.partition("-")[2] for path in pytester.path.glob("*.told")}
    assert len(found) == 16
    assert len(set(found)) == 1
    assert len(workers) == 3, "two, and one for the killed"
    result.stdout.fnmatch_lines(["kafka: embedded at *, shared by all workers"])
    await_silence(found[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 2), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_session_and_its_broker(
    kafka: Kafka, pytester: pytest.Pytester, number: signal.Signals, code: int
) -> None:
    if not kafka.ours:
        pytest.skip("a broker of the session is what has to end")
    pytester.makepyfile(WAITING)
    with started(pytester.path, f"--kafka={kafka.backend}") as run:
        at = told(pytester.path)
        assert kafka.backend == "embedded" or containers_of(run.pid)
        run.send_signal(number)
        printed, _ = run.communicate(timeout=60)
    assert run.returncode == code, printed
    assert not containers_of(run.pid)
    if kafka.backend == "embedded":  # the way to an address that went with its network may lead to somebody else
        await_silence(at)


@pytest.mark.embedded
def test_sigterm_to_the_controller_of_xdist_ends_all(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WAITING)
    with started(pytester.path, "--kafka=embedded", "-n", "1") as run:
        at = told(pytester.path)
        run.terminate()
        printed, _ = run.communicate(timeout=60)
    assert run.returncode == 143, printed
    await_silence(at)


@pytest.mark.embedded
def test_a_killed_session_leaves_no_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WAITING)
    with started(pytester.path, "--kafka=embedded") as run:
        at = told(pytester.path)
        run.kill()
    await_silence(at)


def test_the_tests_of_the_guide_run_here_too(kafka: Kafka, pytester: pytest.Pytester) -> None:
    [section] = re.findall(r"^## Testing$(.*?)^## ", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    snippets = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    pytester.makepyfile(**{f"test_{number}": snippet for number, snippet in enumerate(snippets)})
    at = f"--kafka={kafka.bootstrap_servers}", f"--schema-registry-url={kafka.schema_registry_url}"
    pytester.runpytest_subprocess(*at).assert_outcomes(passed=len(snippets))
