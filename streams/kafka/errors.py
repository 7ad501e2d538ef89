"""confluent_kafka reports errors in three ways; here they become ours, by what can be done about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from streams.errors import (
    AbortedError,
    FencedError,
    IncompatibleError,
    SendError,
    StreamsError,
    UnreachableError,
    UsageError,
)

T = TypeVar("T")

UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's local error codes are spelled so
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
    }
)
FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# What is one record's fault, and what would let it in. A topic that is missing or forbidden is no record's fault.
RECORD_FAULTS = {
    KafkaError.MSG_SIZE_TOO_LARGE: "raise max.message.bytes of {topic}",
    KafkaError.INVALID_RECORD: "look at cleanup.policy of {topic}: a compacted topic takes no record without a key",
    KafkaError.INVALID_TIMESTAMP: "raise message.timestamp.before.max.ms and message.timestamp.after.max.ms of {topic}",
}


def made(client: Callable[[Mapping[str, Any]], T], config: Mapping[str, Any]) -> T:
    """Make a client.

    Raises:
        UsageError: it refuses its configuration.
    """
    try:
        return client(config)
    except KafkaException as raised:
        raise UsageError(
            f"the Kafka client refuses its configuration: {error_of(raised).str()}",
            fix="correct that property on the command line, in the environment or in the file",
        ) from raised


def error_of(raised: KafkaException) -> KafkaError:
    """Return the error inside an exception."""
    found: KafkaError = raised.args[0]
    return found


def refused(error: KafkaError, topic: str = "") -> AbortedError:
    """Say that a record was not taken by a topic, and whether that is its own fault."""
    fault = None
    if error.code() in RECORD_FAULTS:
        fix = RECORD_FAULTS[error.code()].format(topic=topic or "its topic")
        fault = SendError(error.str(), topic=topic, fix=fix)
    return AbortedError(f"{topic}: {error.str()}" if topic else error.str(), fault)


def translate(error: KafkaError, doing: str, servers: object) -> StreamsError:
    """Turn an error that stops the caller into what, where, what to do."""
    where = f"bootstrap_servers {servers}"
    if error.code() in UNREACHABLE:
        return UnreachableError(
            f"Kafka does not answer while {doing}: {error.str()}",
            where=where,
            fix="check the address, that the broker runs, and security.protocol; `streams up` starts a local one",
        )
    if error.code() in FORBIDDEN:
        return IncompatibleError(f"Kafka forbids {doing}: {error.str()}", where=where, fix="grant it to this user")
    if error.fatal():
        return FencedError(f"the Kafka client is broken for good while {doing}: {error.str()}", where=where)
    return StreamsError(f"Kafka refused {doing}: {error.str()}", where=where, fix="check the name and the permissions")
