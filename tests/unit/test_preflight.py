"""What has to be true before a worker starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from rig import CHANGELOG, PROCESSOR, Item, Items

from streams import App, Context
from streams.avro.model import schema_of
from streams.errors import DecodeError, IncompatibleError, UnknownSchemaError, UsageError
from streams.kafka.admin import Described
from streams.preflight import check_access, check_topics, commit_interval, load_codecs
from streams.settings import load_settings


class Cluster:
    def __init__(self) -> None:
        self.partitions = {spec.name: spec.partitions for spec in PROCESSOR.topics()}
        self.config = {spec.name: {"cleanup.policy": "delete", **spec.config} for spec in PROCESSOR.topics()}

        self.allowed: dict[str, frozenset[str] | None] = {}

    def described(self, names: Iterable[str]) -> Mapping[str, Described]:
        return {
            name: Described(self.partitions[name], self.allowed.get(name)) for name in names if name in self.partitions
        }

    def topic_config(self, names: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        return {name: self.config[name] for name in names}


def test_topics_as_declared_pass() -> None:
    check_topics(Cluster(), PROCESSOR)


def test_a_changelog_may_be_deleted_from_and_compacted() -> None:
    cluster = Cluster()
    cluster.config[CHANGELOG]["cleanup.policy"] = "compact,delete"
    check_topics(cluster, PROCESSOR)


def test_every_difference_is_told_at_once() -> None:
    cluster = Cluster()
    del cluster.partitions["out"]
    cluster.partitions["in"] = 7
    cluster.config[CHANGELOG]["cleanup.policy"] = "delete"
    with pytest.raises(IncompatibleError) as raised:
        check_topics(cluster, PROCESSOR)
    told = str(raised.value)
    assert "out does not exist" in told
    assert "in has 7 partitions, declared are 2" in told
    assert f"{CHANGELOG} has cleanup.policy=delete, declared is compact" in told
    assert raised.value.exit_code == 4


def test_what_is_forbidden_is_told_with_what_to_grant() -> None:
    cluster = Cluster()
    cluster.allowed = dict.fromkeys(cluster.partitions, frozenset({"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"}))
    check_topics(cluster, PROCESSOR)
    dead_letters, back = PROCESSOR.dead_letter_topic, PROCESSOR.redrive_topic
    lacking = {"in": "READ", "out": "WRITE", CHANGELOG: "READ, WRITE", dead_letters: "WRITE", back: "READ"}
    assert lacking.keys() == cluster.partitions.keys()
    cluster.allowed = dict.fromkeys(cluster.partitions, frozenset({"DESCRIBE", "DESCRIBE_CONFIGS"}))
    for look in (check_topics, check_access):
        with pytest.raises(IncompatibleError) as raised:
            look(cluster, PROCESSOR)
        for name, rights in lacking.items():
            assert f"  - {name} is forbidden to this user: grant {rights} on it\n" in str(raised.value)


def test_who_only_reads_needs_no_right_to_write() -> None:
    cluster = Cluster()
    cluster.allowed = dict.fromkeys(cluster.partitions, frozenset({"READ", "DESCRIBE", "DESCRIBE_CONFIGS"}))
    check_topics(cluster, PROCESSOR, writes=False)
    with pytest.raises(IncompatibleError, match="out is forbidden"):
        check_topics(cluster, PROCESSOR)


def test_a_topic_that_may_not_be_looked_at_is_not_asked_for_its_settings() -> None:
    cluster = Cluster()
    cluster.partitions["out"], cluster.allowed["out"] = 0, frozenset()
    del cluster.config["out"]
    with pytest.raises(
        IncompatibleError, match="out is forbidden to this user: grant DESCRIBE, DESCRIBE_CONFIGS, WRITE"
    ):
        check_topics(cluster, PROCESSOR)


def test_while_it_runs_only_what_stops_it_matters() -> None:
    cluster = Cluster()
    cluster.partitions["out"] = 7
    cluster.config["out"]["max.message.bytes"] = "1"
    check_access(cluster, PROCESSOR)
    with pytest.raises(IncompatibleError, match="out has 7 partitions"):
        check_topics(cluster, PROCESSOR)
    del cluster.partitions["out"]
    with pytest.raises(IncompatibleError, match="out does not exist"):
        check_access(cluster, PROCESSOR)


class Contracts:
    def __init__(self, *missing: str) -> None:
        self.asked: dict[str, str] = {}
        self._missing = missing

    def lookup(self, subject: str, text: str) -> int:
        if subject in self._missing:
            raise IncompatibleError(f"{subject} is not registered")
        self.asked[subject] = text
        return 100 + len(self.asked)


def test_what_is_written_has_to_be_registered() -> None:
    """INV-8: schemas are looked up at start, the registry is never written to."""
    contracts = Contracts()
    codecs = load_codecs(contracts, PROCESSOR)
    assert set(contracts.asked) == {"out-value", f"{CHANGELOG}-value"}
    assert contracts.asked[f"{CHANGELOG}-value"] == schema_of(Items).text
    assert set(codecs) == {"in", "out", CHANGELOG}
    [frame] = codecs[CHANGELOG].encode([Items(items=(1,))])
    assert codecs[CHANGELOG].decode([frame]) == [Items(items=(1,))]
    with pytest.raises(IncompatibleError, match="out-value"):
        load_codecs(Contracts("out-value"), PROCESSOR)


def test_what_is_only_read_is_asked_for_by_id_when_it_comes() -> None:
    codecs = load_codecs(Contracts(), PROCESSOR)
    with pytest.raises(UnknownSchemaError):
        codecs["in"].decode([b"\x00\x00\x00\x00\x05x"])
    with pytest.raises(DecodeError):
        codecs["in"].decode([b"junk"])
    with pytest.raises(UsageError):
        codecs["in"].encode([Item(key="a", n=1)])


def test_a_store_cannot_ask_for_longer_commits_than_a_transaction_lives() -> None:
    """The broker would roll each of them back before its commit, for ever."""
    settings = load_settings(code={"transaction_timeout": "10s", "commit_interval": "100ms"})
    assert commit_interval(PROCESSOR, settings) == settings.commit_interval
    declared = App("slow")
    source = declared.topic("in", Item, key="key")
    for every in ("2s", "10s"):
        store = declared.store(f"s{every}", str, Items, commit_every=every)

        def handle(item: Item, ctx: Context) -> None:
            del item, ctx

        handle.__name__ = f"handle_{every}"
        declared.processor(source, uses=[store])(handle)
    assert commit_interval(declared.processors["handle_2s"], settings).total_seconds() == 2
    with pytest.raises(UsageError, match="commit_every"):
        commit_interval(declared.processors["handle_10s"], settings)
