"""What the Faust engine does not run is refused with the reason, before anything starts."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from faust.auth import SASLCredentials, SSLCredentials
from rig import Appended, Item, Items

from streams import DEAD_LETTER, PARK, SKIP, App, BatchContext, Context, Failure, Inbox, Retry
from streams.engines import engine
from streams.errors import UsageError
from streams.faust_engine import run
from streams.faust_engine.clients import broker, credentials
from streams.settings import Settings, given_settings

FAUST = given_settings({"engine": "faust", "bootstrap_servers": "one:9092, two:9093"})


def declared(handler: Callable[[Item, Context], Any], *, effect: bool = False, **options: Any) -> App:
    app = App("t")
    source = app.topic("in", Item, key="key", event_ids=True)
    (app.effect if effect else app.processor)(source, **options)(handler)
    return app


def echo(item: Item, _ctx: Context) -> None:
    """Do nothing."""
    del item


async def later(item: Item, _ctx: Context) -> None:
    """Do nothing, in a lane."""
    del item


def in_columns() -> App:
    app = App("t")

    @app.batch(app.topic("in", Item, key="key"))
    def sums(batch: pa.RecordBatch, _ctx: BatchContext) -> None:
        del batch

    return app


def refusal(app: App, settings: Settings = FAUST) -> UsageError:
    with pytest.raises(UsageError) as raised:
        engine(list(app.processors.values()), settings)
    assert raised.value.exit_code == 2
    return raised.value


def test_stateless_processors_pass() -> None:
    for policy in (DEAD_LETTER, SKIP, Failure(Retry(3), then=DEAD_LETTER)):
        app = declared(echo, on_failure=policy)
        assert engine(list(app.processors.values()), FAUST) is run.run_worker


def with_state(kind: str) -> App:
    app = App("t")
    source = app.topic("in", Item, key="key")
    kept = app.store("lists", str, Items) if kind == "store" else app.table("rows", Appended, key="key")

    @app.processor(source, uses=[kept])
    def keep(item: Item, _ctx: Context) -> None:
        del item

    return app


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        (with_state("store"), "keep keeps the store lists"),
        (with_state("table"), "keep follows the table rows"),
        (declared(echo, inbox=Inbox("1h")), "echo has an inbox"),
        (declared(echo, reply=Appended), "echo replies to requests"),
        (declared(echo, effect=True), "echo is an effect"),
        (declared(echo, blocking=True), "echo is async or blocking"),
        (declared(later), "later is async or blocking"),
        (in_columns(), "sums takes batches of columns"),
        (declared(echo, on_failure=PARK), "echo parks records"),
        (declared(echo, on_failure=Failure(by_type={ValueError: PARK})), "echo parks records"),
    ],
    ids=["store", "table", "inbox", "reply", "effect", "blocking", "async", "columns", "park", "park by type"],
)
def test_what_needs_more_is_refused(app: App, reason: str) -> None:
    told = refusal(app)
    assert reason in told.what
    assert told.what.count("\n") == 1, "one reason"
    assert "--processor" in told.fix
    assert engine(list(app.processors.values()), given_settings({})) is not run.run_worker


def test_it_works_at_least_once_and_says_so() -> None:
    assert FAUST.guarantee == "at_least_once"
    assert given_settings({}).guarantee == "exactly_once"
    with pytest.raises(UsageError, match="engine faust works at least once"):
        given_settings({"engine": "faust", "guarantee": "exactly_once"})
    with pytest.raises(UsageError, match="engine"):
        given_settings({"engine": "spark"})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name}", name="faust")

    monkeypatch.setattr(importlib, "import_module", missing)
    told = refusal(declared(echo))
    assert "needs faust" in told.what
    assert "straightstream[faust]" in told.fix


def test_the_addresses_are_those_of_the_settings() -> None:
    assert broker(FAUST) == "aiokafka://one:9092;aiokafka://two:9093"


def test_signing_in_is_told_in_fausts_words() -> None:
    assert credentials({}) is None
    assert credentials({"security.protocol": "plaintext"}) is None
    assert isinstance(credentials({"security.protocol": "SSL"}), SSLCredentials)
    user = {"sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "me", "sasl.password": "secret"}
    plain, secure = (credentials({**user, "security.protocol": f"sasl_{kind}"}) for kind in ("plaintext", "ssl"))
    for found in (plain, secure):
        assert isinstance(found, SASLCredentials)
        assert (found.username, found.password, found.mechanism.value) == ("me", "secret", "SCRAM-SHA-512")
    assert (plain.protocol.value, plain.ssl_context) == ("SASL_PLAINTEXT", None)
    assert secure.protocol.value == "SASL_SSL"
    assert secure.ssl_context is not None


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"queued.min.messages": "5", "linger.ms": "5"}, "cannot pass on linger.ms, queued.min.messages"),
        ({"security.protocol": "sasl_ssl"}, "cannot sign in by sasl.mechanism=nothing"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism=GSSAPI"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}, "sasl.password, sasl.username is not set"),
        ({"security.protocol": "tls"}, "security.protocol=TLS is none"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/not there"}, "certificates cannot be used"),
    ],
)
def test_what_faust_has_no_word_for_is_refused(properties: dict[str, str], reason: str) -> None:
    assert reason in refusal(declared(echo), FAUST.model_copy(update={"kafka": properties})).what
