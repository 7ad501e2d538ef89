"""confluent_kafka reports errors in three ways; here they become ours, by what can be done about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from streams.errors import FencedError, StreamsError, UnreachableError, UsageError

T = TypeVar("T")

UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's local error codes are spelled so
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._SSL,  # noqa: SLF001
    }
)
RECORD_FAULTS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP})


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


def translate(error: KafkaError, doing: str, servers: object) -> StreamsError:
    """Turn an error that stops the caller into what, where, what to do."""
    where = f"bootstrap_servers {servers}"
    if error.code() in UNREACHABLE:
        return UnreachableError(
            f"Kafka does not answer while {doing}: {error.str()}",
            where=where,
            fix="check the address, that the broker runs, and security.protocol; `streams up` starts a local one",
        )
    if error.fatal():
        return FencedError(f"the Kafka client is broken for good while {doing}: {error.str()}", where=where)
    return StreamsError(f"Kafka refused {doing}: {error.str()}", where=where, fix="check the name and the permissions")
