"""The registry's client against a real registry, and against servers that misbehave."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx2
import pytest

from streams.avro.registry import Registry, RegistryUnavailableError, UnknownIdError
from streams.errors import IncompatibleError, UsageError
from streams.testing.plugin import Kafka

pytestmark = pytest.mark.integration


def record(*fields: tuple[str, Any]) -> str:
    made = [{"name": name, "type": kind} | ({"default": 0} if name != "a" else {}) for name, kind in fields]
    return json.dumps({"type": "record", "name": "shop.Event", "fields": made})


FIRST, SECOND, BROKEN = record(("a", "string")), record(("a", "string"), ("b", "int")), record(("a", "int"))


@pytest.fixture(scope="module")
def url(kafka: Kafka) -> str:
    return kafka.schema_registry_url


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(url)


def test_registered_versions_are_found_by_text_and_by_id(registry: Registry) -> None:
    ids = registry.register("found-value", [FIRST, SECOND], "BACKWARD")

    assert len(set(ids)) == 2
    assert [registry.lookup("found-value", text) for text in (FIRST, SECOND)] == ids
    assert [json.loads(registry.schema(found))["fields"][0]["name"] for found in ids] == ["a", "a"]
    assert "found-value" in registry.subjects()


def test_registration_is_idempotent_and_adds_only_what_is_new(registry: Registry) -> None:
    first = registry.register("again-value", [FIRST], "BACKWARD")

    assert registry.register("again-value", [FIRST, SECOND], "BACKWARD")[:1] == first
    assert registry.register("again-value", [FIRST, SECOND], "FULL")[:1] == first


def test_the_level_is_set_before_the_first_version(registry: Registry, url: str) -> None:
    registry.register("level-value", [FIRST], "FORWARD_TRANSITIVE")

    assert httpx2.get(f"{url}/config/level-value").json()["compatibilityLevel"] == "FORWARD_TRANSITIVE"


def test_a_version_that_breaks_the_level_is_refused(registry: Registry) -> None:
    with pytest.raises(IncompatibleError, match="refuses version 2 of broken-value"):
        registry.register("broken-value", [FIRST, BROKEN], "BACKWARD")
    assert len(registry.register("free-value", [FIRST, BROKEN], "NONE")) == 2


@pytest.mark.parametrize("text", ["nonsense", "{", ""])
def test_a_text_that_is_no_schema_is_refused(registry: Registry, text: str) -> None:
    with pytest.raises(IncompatibleError, match="refuses version 1"):
        registry.register("nonsense-value", [text], "BACKWARD")


def test_a_level_that_is_none_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="BACKWARDS"):
        registry.register("x-value", [FIRST], "BACKWARDS")


def test_primitive_contracts_are_schemas_too(registry: Registry) -> None:
    (found,) = registry.register("text-value", ['"string"'], "BACKWARD")

    assert registry.lookup("text-value", '"string"') == found
    assert json.loads(registry.schema(found)) in ("string", {"type": "string"})


def test_what_is_not_registered_is_told_with_the_command(registry: Registry) -> None:
    registry.register("other-value", [FIRST], "BACKWARD")

    for subject, text in (("nobody-value", FIRST), ("other-value", SECOND)):
        with pytest.raises(IncompatibleError) as missing:
            registry.lookup(subject, text)
        assert subject in missing.value.what
        assert missing.value.fix == "streams schema register MODULE:APP"


@pytest.mark.parametrize("schema_id", [0, 99_999, (1 << 31) - 1, (1 << 32) - 1])
def test_an_unknown_id_is_told_as_such(registry: Registry, schema_id: int) -> None:
    with pytest.raises(UnknownIdError):
        registry.schema(schema_id)


def test_a_schema_of_another_kind_is_no_avro(registry: Registry, url: str) -> None:
    body = {"schema": json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"})}
    made = httpx2.post(f"{url}/subjects/json-value/versions", json=body | {"schemaType": "JSON"})

    with pytest.raises(UnknownIdError, match="JSON, not Avro"):
        registry.schema(made.json()["id"])


def test_a_wrong_path_is_no_registry_rather_than_an_unknown_id(url: str) -> None:
    registry = Registry(url.replace("ccompat", "nowhere"))

    for call in (registry.ping, lambda: registry.schema(1), lambda: registry.lookup("x", FIRST)):
        with pytest.raises(RegistryUnavailableError):
            call()


# --- servers that misbehave


class Server:
    """Answers every request with one status and body, after a delay."""

    def __init__(self, status: int, body: bytes = b"", delay: float = 0.0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                time.sleep(delay)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer  # noqa: N815 (http.server's names)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (503, b"busy"), (404, b"<html>"), (404, b"{}"), (200, b"<html>"), (301, b""), (429, b"")],
)
def test_a_server_that_is_no_registry_is_unavailable(status: int, body: bytes) -> None:
    with Server(status, body) as server:
        registry = Registry(f"http://{server.address}")
        for call in (registry.ping, lambda: registry.schema(1), lambda: registry.register("x", [FIRST], "NONE")):
            with pytest.raises(RegistryUnavailableError, match="the schema registry"):
                call()


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_a_usage_error_and_never_shown(status: int) -> None:
    with Server(status, b'{"error_code": 40101, "message": "no"}') as server:
        registry = Registry(f"http://user:s3cret@{server.address}")
        with pytest.raises(UsageError, match="refuses the credentials") as refused:
            registry.ping()

    assert "s3cret" not in str(refused.value)
    assert f"//***@{server.address}" in refused.value.where


def test_silence_ends_within_twice_the_timeout() -> None:
    with Server(200, b"[]", delay=30) as server:
        started = time.monotonic()
        with pytest.raises(RegistryUnavailableError, match="does not answer"):
            Registry(f"http://{server.address}", timeout=0.5).ping()

    assert time.monotonic() - started < 2


def test_an_absent_registry_is_told_at_once_and_without_credentials() -> None:
    with Server(200) as server:
        address = server.address
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="does not answer") as absent:
        Registry(f"http://user:s3cret@{address}").ping()

    assert time.monotonic() - started < 5
    assert "s3cret" not in str(absent.value)


@pytest.mark.parametrize("url", ["", "localhost:8081", "ftp://x", "http://user:s3cret@[bad"])
def test_a_url_that_is_none_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        Registry(url).ping()
    assert "s3cret" not in str(refused.value)
