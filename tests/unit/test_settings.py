"""Where settings come from, in which order, and what is refused."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.errors import UsageError
from streams.kafka import config
from streams.settings import (
    OURS,
    Settings,
    given_settings,
    librdkafka_properties,
    load_settings,
    parse_properties,
    require,
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(**given: Any) -> str:
    with pytest.raises(UsageError) as raised:
        load_settings(**given)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_the_first_source_that_names_a_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, environment, file, code, default."""
    file = Path("streams.toml")
    seen = [load_settings().log_level]
    code = {"log_level": "debug"}
    seen.append(load_settings(code=code).log_level)
    file.write_text('log_level = "warning"')
    seen.append(load_settings(code=code).log_level)
    monkeypatch.setenv("STREAMS_LOG_LEVEL", "error")
    seen.append(load_settings(code=code).log_level)
    seen.append(load_settings(command_line={"log_level": "info"}, code=code).log_level)
    assert seen == ["info", "debug", "warning", "error", "info"]


def test_every_source_gives_what_no_earlier_one_names(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("streams.toml").write_text('state_dir = "from-file"\npoll_records = 7')
    monkeypatch.setenv("STREAMS_POLL_RECORDS", "8")
    settings = load_settings(command_line={"log_format": "json", "state_dir": None}, code={"commit_records": 9})
    assert (settings.state_dir, settings.poll_records, settings.log_format, settings.commit_records) == (
        Path("from-file"),
        8,
        "json",
        9,
    )


@pytest.mark.parametrize("nested", [True, False])
def test_kafka_properties_obey_the_same_order(monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    """However a file writes a dotted name: as a table or as a quoted key."""
    Path("streams.toml").write_text("[kafka]\n" + ("linger.ms = 2" if nested else '"linger.ms" = 2'))
    code = {"kafka": {"linger.ms": 1, "batch.size": 1}}
    assert load_settings(code={"kafka": {"linger": {"ms": 1}}}).kafka == {"linger.ms": "2"}
    assert load_settings(code=code).kafka == {"linger.ms": "2", "batch.size": "1"}
    monkeypatch.setenv("STREAMS_KAFKA_LINGER_MS", "3")
    assert load_settings(code=code).kafka == {"linger.ms": "3", "batch.size": "1"}
    assert load_settings(code=code, command_line={"kafka": {"linger.ms": "4"}}).kafka["linger.ms"] == "4"


def test_properties_pass_through_the_environment_under_their_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dots are written as underscores; so are the underscores of the few names that have them."""
    monkeypatch.setenv("STREAMS_KAFKA_SECURITY_PROTOCOL", "ssl")
    monkeypatch.setenv("STREAMS_KAFKA_LOG_LEVEL", "7")
    assert load_settings().kafka == {"security.protocol": "ssl", "log_level": "7"}


def test_every_property_can_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [name for name in librdkafka_properties() if name not in OURS]
    for name in free:
        monkeypatch.setenv("STREAMS_KAFKA_" + name.upper().replace(".", "_"), "1")
    assert sorted(load_settings().kafka) == sorted(free)
    assert len(free) > 100


def test_a_file_may_write_booleans_and_numbers() -> None:
    Path("streams.toml").write_text('[kafka]\nsocket.keepalive.enable = true\nlinger.ms = 5\ndebug = "all"')
    assert load_settings().kafka == {"socket.keepalive.enable": "true", "linger.ms": "5", "debug": "all"}


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [
        ({"code": {"comit_interval": "1s"}}, "there is no setting comit_interval; did you mean commit_interval?"),
        ({"code": {"kafka": {"linger.sm": 1}}}, "there is no kafka property linger.sm; did you mean linger.ms?"),
        ({"command_line": {"zzz": 1}}, "there is no setting zzz"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest_name(given: dict[str, Any], suggestion: str) -> None:
    assert suggestion in refusal(**given)


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_LOG_LEVLE", "info")
    assert "did you mean STREAMS_LOG_LEVEL?" in refusal()
    monkeypatch.setenv("STREAMS_QQQ", "info")
    told = refusal()
    assert "STREAMS_QQQ" in told
    assert "STREAMS_LOG_LEVLE" in told


@pytest.mark.parametrize("name", sorted(OURS))
def test_properties_that_the_guarantees_rest_on_are_refused(name: str) -> None:
    assert f"kafka property {name} cannot be set: {OURS[name]}" in refusal(code={"kafka": {name: "x"}})


def test_no_property_that_we_set_for_good_can_be_passed_in_vain() -> None:
    """What a user passes is either refused or what the client gets, whatever name it goes by."""
    settings = load_settings(command_line={"bootstrap_servers": "b:1"})
    passed = {name: "7" for name in librdkafka_properties() if name not in OURS}
    with_passed = settings.model_copy(update={"kafka": passed})
    clients = [
        config.group_consumer(with_passed, "g", "i"),
        config.reader(with_passed, "r"),
        config.transactional_producer(with_passed, "t"),
    ]
    compared = 0
    for client in clients:
        for name in passed.keys() & client.keys():
            assert client[name] == "7", name
            compared += 1
    assert compared > 200


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("metadata.broker.list", "bootstrap.servers"),
        ("request.required.acks", "acks"),
        ("auto.commit.enable", "enable.auto.commit"),
    ],
)
def test_an_alias_is_no_way_around_a_refusal(alias: str, name: str) -> None:
    assert name in OURS
    assert f"kafka property {alias} cannot be set" in refusal(code={"kafka": {alias: "1"}})


def test_contradictions_are_told_together() -> None:
    told = refusal(code={"commit_interval": "20s", "session_timeout": "5s", "max_poll_interval": "1s"})
    assert "commit_interval (0:00:20) must be shorter than transaction_timeout" in told
    assert "transaction_timeout (0:00:10) must be shorter than session_timeout (0:00:05)" in told
    assert "session_timeout (0:00:05) must be shorter than max_poll_interval" in told


def test_wrong_values_are_told_together() -> None:
    told = refusal(code={"poll_records": 0, "log_level": "loud", "session_timeout": "soon"})
    assert [name in told for name in ("poll_records", "log_level", "session_timeout")] == [True] * 3


@pytest.mark.parametrize("written", [45, -1, 0, True, 1.5, "45", "-1s", timedelta(0), timedelta(-1)])
def test_a_duration_needs_a_unit_and_to_be_positive_wherever_it_is_written(written: object) -> None:
    assert "session_timeout" in refusal(code={"session_timeout": written})


def test_a_file_that_is_no_toml_is_refused() -> None:
    Path("streams.toml").write_text("a = = b")
    assert "streams.toml cannot be read" in refusal()


def test_settings_reach_a_worker_process_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(code={"session_timeout": "50s", "kafka": {"linger.ms": 5}})
    monkeypatch.setenv("STREAMS_SESSION_TIMEOUT", "60s")
    assert Settings(**settings.model_dump()) == settings


def test_properties_of_the_command_line() -> None:
    assert parse_properties(["a=b", "sasl.jaas.config=x=y", "empty="]) == {
        "a": "b",
        "sasl.jaas.config": "x=y",
        "empty": "",
    }
    with pytest.raises(UsageError, match="there is no value"):
        parse_properties(["linger.ms"])


def test_an_address_that_nothing_configures_is_asked_for() -> None:
    assert require("b:1", "bootstrap_servers") == "b:1"
    with pytest.raises(UsageError) as raised:
        require(None, "bootstrap_servers")
    assert "STREAMS_BOOTSTRAP_SERVERS" in str(raised.value)


@pytest.mark.parametrize("megabytes", [1, 8, 128, 1024])
def test_both_consumers_of_a_worker_stay_within_the_prefetch_budget(megabytes: int) -> None:
    """Records are bounded by their number with what is kept around them, and by the bytes of their values."""
    given = given_settings({"bootstrap_servers": "nowhere:1", "prefetch_bytes": megabytes << 20})
    clients = [config.group_consumer(given, "g", "i"), config.reader(given, "r")]
    held = 0
    for client in clients:
        records, kilobytes, fetch = (
            int(str(client[name])) for name in ("queued.min.messages", "queued.max.messages.kbytes", "fetch.max.bytes")
        )
        held += records * config.RECORD_OVERHEAD + (kilobytes << 10)
        assert records >= 300
        assert fetch <= max(config.MOST_BATCH_BYTES, megabytes << 17)
    assert (megabytes << 20) * 0.98 <= held <= megabytes << 20
    assert int(str(clients[0]["queued.min.messages"])) <= given.prefetch_records
