"""Settings of workers and commands. Order: command line, environment, `streams.toml`, the app's own code.

Every librdkafka property passes through under its own dotted name: `-X name=value` on the command line,
`STREAMS_KAFKA_NAME_WITH_UNDERSCORES` in the environment, `[kafka]` in the file. The ones that the guarantees rest on
are ours and refused there.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streams.duration import duration
from streams.errors import UsageError

PREFIX = "STREAMS_"
PASS_THROUGH_PREFIX = "STREAMS_KAFKA_"  # noqa: S105 - a name, not a secret
FILE = Path("streams.toml")
OTHER_VARIABLES = frozenset({"STREAMS_CACHE_DIR", "STREAMS_FAILPOINTS", "STREAMS_REALDATA", "STREAMS_TEST_KAFKA"})

OURS = {
    "bootstrap.servers": "set bootstrap_servers",
    "metadata.broker.list": "set bootstrap_servers",
    "client.id": "it is made from app, processor and slot",
    "allow.auto.create.topics": "`streams topic create` makes topics as they are declared",
    "auto.commit.enable": "offsets are committed in the transaction",
    "auto.offset.reset": "a new group begins at the beginning; an offset that is gone is an error",
    "delivery.report.only.error": "the offsets of changelog records are learnt from the reports",
    "enable.auto.commit": "offsets are committed in the transaction",
    "enable.auto.offset.store": "offsets are committed in the transaction",
    "enable.idempotence": "it is always on",
    "enable.partition.eof": "lag is measured with it",
    "group.id": "it is <app>.<processor>",
    "group.instance.id": "it is kept in the slot's folder",
    "heartbeat.interval.ms": "it follows session_timeout",
    "isolation.level": "only committed records are read",
    "partition.assignment.strategy": "it is cooperative-sticky",
    "group.protocol": "it is classic",
    "max.poll.interval.ms": "set max_poll_interval",
    "partitioner": "keys land where Java puts them",
    "session.timeout.ms": "set session_timeout",
    "transaction.timeout.ms": "set transaction_timeout",
    "transactional.id": "it is kept in the slot's folder",
    "acks": "every record waits for all in-sync replicas",
    "request.required.acks": "every record waits for all in-sync replicas",
}


def _read_duration(written: object) -> object:
    if not isinstance(written, str | timedelta):
        raise ValueError(f'{written!r} has no unit; write for example "100ms" or "2s"')  # noqa: TRY004 - pydantic's
    try:
        return duration(written)
    except UsageError as error:
        raise ValueError(f"{error.what}; {error.fix}") from error


Duration = Annotated[timedelta, BeforeValidator(_read_duration)]


def _off(written: object) -> object:
    """Return None for what an environment variable or a command line cannot say otherwise."""
    return None if isinstance(written, str) and written.strip().lower() == "off" else written


def _read_optional_duration(written: object) -> object:
    return None if written is None or _off(written) is None else _read_duration(written)


OptionalDuration = Annotated[timedelta | None, BeforeValidator(_read_optional_duration)]
Port = Annotated[int | None, Field(ge=0, le=65_535), BeforeValidator(_off)]


class Settings(BaseSettings):
    """Where Kafka and the registry are, and how workers behave."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    bootstrap_servers: str | None = None
    schema_registry_url: str | None = None
    state_dir: Path = Path(".streams/state")
    engine: Literal["native", "faust"] = "native"
    guarantee: Literal["exactly_once", "at_least_once"] = "exactly_once"
    commit_interval: Duration = timedelta(milliseconds=100)
    commit_records: int = Field(default=10_000, ge=1)
    session_timeout: Duration = timedelta(seconds=45)
    transaction_timeout: Duration = timedelta(seconds=10)
    max_poll_interval: Duration = timedelta(minutes=5)
    start_timeout: Duration = timedelta(seconds=12)
    prefetch_bytes: int = Field(default=128 << 20, ge=1 << 20)
    prefetch_records: int = Field(default=100_000, ge=100)
    poll_records: int = Field(default=500, ge=1)  # what stays in the cache: 2,000 cost 15 % more CPU a record
    waiting_records: int = Field(default=10_000, ge=1)
    waiting_bytes: int = Field(default=64 << 20, ge=1 << 20)
    lane_records: int = Field(default=1_000, ge=1)
    lane_bytes: int = Field(default=16 << 20, ge=1 << 20)
    replication_factor: int = Field(default=-1, ge=-1)
    health_host: str = "127.0.0.1"
    health_port: Port = 0
    stall_after: Duration = timedelta(minutes=1)
    stall_exit: OptionalDuration = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    kafka: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read only what is passed: `load_settings` puts the sources in order, and a child process gets the result."""
        del settings_cls  # the base class's signature
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _as_far_as_the_engine_goes(cls, given: object) -> object:
        """Where nobody says which guarantee, it is the best one that the engine has."""
        if isinstance(given, dict) and given.get("engine") == "faust":
            return {"guarantee": "at_least_once", **given}
        return given

    @field_validator("kafka", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Take booleans and numbers as a TOML file writes them."""
        if not isinstance(given, dict):
            return given
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in _flatten(given)}

    @field_validator("kafka")
    @classmethod
    def _known(cls, given: dict[str, str]) -> dict[str, str]:
        problems = [problem for name in given if (problem := _property_problem(name))]
        if problems:
            raise ValueError("; ".join(problems))
        return given

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        rules = [
            ("commit_interval", self.commit_interval, "transaction_timeout", self.transaction_timeout),
            ("transaction_timeout", self.transaction_timeout, "session_timeout", self.session_timeout),
            ("session_timeout", self.session_timeout, "max_poll_interval", self.max_poll_interval),
        ]
        problems = [f"{small} ({a}) must be shorter than {large} ({b})" for small, a, large, b in rules if a >= b]
        if self.engine == "faust" and self.guarantee == "exactly_once":
            problems.append(
                "engine faust works at least once: Faust commits offsets apart from what it sends; leave guarantee "
                "out, or use engine native"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


def load_settings(
    *, command_line: Mapping[str, Any] | None = None, code: Mapping[str, Any] | None = None, file: Path = FILE
) -> Settings:
    """Put the settings together; the first source that names one wins.

    Raises:
        UsageError: one or more settings are unknown, wrong or contradict each other; the message lists all of them.
    """
    given = {name: value for name, value in (command_line or {}).items() if value is not None}
    layers = [_with_flat_names(layer) for layer in (_environment(), _file(file), dict(code or {}))]

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            *_: Any,
            **__: Any,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, *(InitSettingsSource(settings_cls, layer) for layer in layers)

    try:
        return Settings(**Layered(**given).model_dump())
    except ValidationError as error:
        raise _unusable(error, f"the command line, the {PREFIX}… variables, {file} or the app's settings") from None


def given_settings(given: Mapping[str, Any]) -> Settings:
    """Return exactly these settings: neither environment nor file count, in a test for instance.

    Raises:
        UsageError: as `load_settings`.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _unusable(error, "the test's or the app's settings") from None


@cache
def librdkafka_properties() -> dict[str, str]:
    """Return every property that librdkafka knows, with who reads it: C consumer, P producer, * both."""
    listed = resources.files("streams").joinpath("librdkafka_properties.txt").read_text().splitlines()
    return dict(line.split() for line in listed)


def parse_properties(pairs: list[str]) -> dict[str, str]:
    """Read `-X name=value` arguments.

    Raises:
        UsageError: one of them has no `=`.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"-X {pair}: there is no value", fix="write -X name=value")
    return dict(pair.split("=", 1) for pair in pairs)


def _environment() -> dict[str, Any]:
    """Read `STREAMS_…`; a name that nothing reads is a mistake, not a comment."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    dotted = {name.replace("_", "."): name for name in librdkafka_properties()}  # a few names have underscores
    passed = {
        dotted.get(name := variable.removeprefix(PASS_THROUGH_PREFIX).lower().replace("_", "."), name): value
        for variable, value in ours.items()
        if variable.startswith(PASS_THROUGH_PREFIX)
    }
    found: dict[str, Any] = {
        variable.removeprefix(PREFIX).lower(): value
        for variable, value in ours.items()
        if not variable.startswith(PASS_THROUGH_PREFIX) and variable not in OTHER_VARIABLES
    }
    unknown = [_unknown_variable(name) for name in sorted(found) if name not in Settings.model_fields]
    if unknown:
        raise UsageError("; ".join(unknown), fix="correct or unset them")
    return found | ({"kafka": passed} if passed else {})


def _unknown_variable(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, 1)
    hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
    return f"environment variable {PREFIX}{name.upper()} names no setting{hint}"


def _file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", fix="mend the file or remove it") from error


def _with_flat_names(layer: dict[str, Any]) -> dict[str, Any]:
    """Write property names in one way before layers are compared: a file may nest what the others do not."""
    kafka = layer.get("kafka")
    return {**layer, "kafka": dict(_flatten(kafka))} if isinstance(kafka, Mapping) else layer


def _flatten(tree: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Join TOML's dotted keys, which arrive as nested tables, to property names again."""
    flat: list[tuple[str, Any]] = []
    for name, value in tree.items():
        flat += _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return flat


def _property_problem(name: str) -> str | None:
    if name in OURS:
        return f"kafka property {name} cannot be set: {OURS[name]}"
    if name in librdkafka_properties():
        return None
    near = difflib.get_close_matches(name, librdkafka_properties(), 1)
    return f"there is no kafka property {name}" + (f"; did you mean {near[0]}?" if near else "")


def _unusable(error: ValidationError, source: str) -> UsageError:
    told = "\n".join(f"  - {_told(problem)}" for problem in error.errors())
    return UsageError(f"the settings cannot be used:\n{told}", fix=f"correct {source}")


def _told(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place, Settings.model_fields, 1)
        return f"there is no setting {place}" + (f"; did you mean {near[0]}?" if near else "")
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def require(value: str | None, setting: str) -> str:
    """Return an address that a command cannot do without.

    Raises:
        UsageError: nothing configures it.
    """
    if value is None:
        raise UsageError(
            f"{setting} is not set; a local cluster is used only where nothing names another one",
            fix=f"set {PREFIX}{setting.upper()}, or start a local cluster with `streams up`",
        )
    return value
