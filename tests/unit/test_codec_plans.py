"""`streams topology` and the log say how each version of each contract is decoded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from streams import App, Context
from streams.avro import wire_columns
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.plans import foreseen
from streams.cli import app as commands
from streams.codec_plans import topic_plans
from streams.schema_lookup import SchemaLookup
from streams.testing.conformance.random_contracts import model_of, record

OLD = record(("id", "string"), ("extra", {"type": "fixed", "name": "F", "size": 3}))
NEW = record(("id", "string"), ("tags", {"type": "array", "items": "string"}, []))
OTHER = record(("id", "string"), name="Other")
Event = model_of(OLD, NEW)


def plans_app() -> App:
    app = App("plans")
    events = app.topic("plans.events", Event, key="id")
    copies = app.topic("plans.copies", Event, key="id")
    seen = app.store("seen", str, Event)

    @app.processor(events, to=copies, uses=[seen])
    def copy(event: Event, _: Context) -> Event:  # type: ignore[valid-type] # made at run time
        return event

    return app


def test_every_version_of_what_is_read_has_its_plan_and_its_reason() -> None:
    [processor] = plans_app().select([])
    found = [(plan.role, plan.topic, plan.version, plan.plan, plan.why) for plan in topic_plans(processor)]

    kept = "plans.copy.seen.changelog"
    assert [row for row in found if row[1] in ("plans.events", kept, "plans.copies")] == [
        ("reads", "plans.events", 1, "generated", "shop.F is a fixed"),
        ("reads", "plans.events", 2, "native", ""),
        ("keeps", kept, 1, "generated", "shop.F is a fixed"),
        ("keeps", kept, 2, "native", ""),
        ("writes", "plans.copies", 2, "generated", "models are encoded by generated code"),
    ]


def test_a_plan_that_is_foreseen_is_the_one_that_the_codec_takes() -> None:
    codec = Codec(Event)
    for version, text in enumerate(Event.__avro_versions__, 1):
        codec.learn(version, text)

    assert [(plan.engine, plan.why) for plan in codec.plans.values()] == [found[1:] for found in foreseen(Event)]
    assert len(codec.plans) == 2


def test_without_the_library_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_columns, "library", lambda _: None)

    assert [found.why for found in foreseen(Event)] == ["pyruhvro is not installed"] * 2


def test_the_command_prints_the_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plans_shop.py").write_text("from test_codec_plans import plans_app\napp = plans_app()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])

    printed = CliRunner().invoke(commands, ["topology", "plans_shop:app", "-o", "json"])

    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [(row["topic"], row["plan"]) for row in rows if row["role"] == "reads"] == [
        ("plans.events", "generated"),
        ("plans.events", "native"),
    ]
    assert printed.exit_code == 0


def test_a_writers_schema_that_is_learnt_is_logged_with_its_plan() -> None:
    class Answered(Executor):
        def submit(self, ask: Callable[..., str], *given: int) -> Future[str]:  # type: ignore[override] # for one kind of question
            answer: Future[str] = Future()
            answer.set_result(ask(*given))
            return answer

    class Registry:
        def schema(self, _: int) -> str:
            return schema_of(Event).text

    lookup = SchemaLookup(Registry(), [Codec(Event), Codec(model_of(OTHER))], thread=Answered())
    lookup.request(9)
    with capture_logs() as told:
        lookup.poll()

    assert [(line["schema_id"], line["model"], line["plan"]) for line in told] == [(9, "shop.Event", "native")]
