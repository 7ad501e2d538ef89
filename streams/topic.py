"""Declarations of what lies in Kafka: topics, tables that follow a topic, keyed stores with their changelog.

They hold no connection and do no I/O; a worker gives them codecs and state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar

from streams.avro.model import AvroModel
from streams.errors import UsageError
from streams.keys import KEY_CODECS, Key, KeyCodec

K = TypeVar("K", bound=Key)
V = TypeVar("V")

DEFAULT_PARTITIONS = 4
COMPACTED: Mapping[str, str] = {"cleanup.policy": "compact"}

MOST_NAME_LENGTH = 249

_LEGAL_NAME = re.compile(rf"[a-zA-Z0-9._-]{{1,{MOST_NAME_LENGTH}}}")


@dataclass(frozen=True, eq=False)
class Topic(Generic[V]):
    """A topic whose values are of one model; `key` names the field that becomes the record's key.

    `event_ids` says that its records carry an id in a header; None leaves it to the guarantee of who writes.
    """

    name: str
    model: type[V]
    key: str | None
    partitions: int = DEFAULT_PARTITIONS
    config: Mapping[str, str] = field(default_factory=dict)
    event_ids: bool | None = None

    def __post_init__(self) -> None:
        check_topic_name(self.name)
        if self.partitions < 1:
            raise UsageError(f"topic {self.name} cannot have {self.partitions} partitions", fix="give 1 or more")
        if self.key is not None:
            self.key_codec  # noqa: B018 - a wrong field is an error here, at the declaration

    @property
    def subject(self) -> str:
        """The registry's subject of the values (TopicNameStrategy)."""
        return f"{self.name}-value"

    @property
    def key_codec(self) -> KeyCodec:
        """The codec of the key field's type; bytes where the topic has no key field."""
        return KEY_CODECS[bytes] if self.key is None else _field_codec(self.name, self.model, self.key)

    def in_namespace(self, namespace: str) -> Self:
        """Return the topic `<namespace>.<name>`, like this one in everything else; this one without a namespace."""
        return replace(self, name=qualified(namespace, self.name)) if namespace else self

    def key_of(self) -> Callable[[V], bytes | None]:
        """Return the function from a value to its key's bytes."""
        if self.key is None:
            return lambda _value: None
        name, encode = self.key, self.key_codec.encode
        return lambda value: encode(getattr(value, name))

    def keys_of(self) -> Callable[[Iterable[V]], Iterator[bytes | None]]:
        """Return the same for many values: a third faster for each."""
        if self.key is None:
            return lambda values: (None for _ in values)
        field_of, encode = attrgetter(self.key), self.key_codec.encode
        return lambda values: map(encode, map(field_of, values))


@dataclass(frozen=True, eq=False)
class Table(Generic[K, V]):
    """A compacted topic followed as a table: the newest value of each key. The topic is its own changelog."""

    topic: Topic[V]

    @property
    def name(self) -> str:
        """The table goes by its topic's name."""
        return self.topic.name


@dataclass(frozen=True, eq=False)
class Store(Generic[K, V]):
    """Keyed state of one processor, with a compacted changelog in framed Avro that others may follow as a table."""

    name: str
    key_type: type[K]
    model: type[V]
    topic: str | None = None
    commit_every: timedelta | None = None

    def __post_init__(self) -> None:
        check_topic_name(self.name)
        if self.topic is not None:
            check_topic_name(self.topic)
        if self.key_type not in KEY_CODECS:
            raise UsageError(
                f"store {self.name}: keys of type {self.key_type!r} have no bytes of their own",
                fix="use str, int or bytes",
            )

    @property
    def key_codec(self) -> KeyCodec:
        """How the store's keys become the changelog's keys."""
        return KEY_CODECS[self.key_type]


def qualified(namespace: str, name: str) -> str:
    """Put a name into a namespace; an empty one is none."""
    return f"{namespace}.{name}" if namespace else name


def check_topic_name(name: str) -> None:
    """Refuse a name that Kafka would refuse.

    Raises:
        UsageError: the name is empty, too long, or has other characters than letters, digits, `.`, `_`, `-`.
    """
    if not _LEGAL_NAME.fullmatch(name) or name in {".", ".."}:
        raise UsageError(
            f"{name!r} is not a legal name for a topic",
            fix=f"use 1 to {MOST_NAME_LENGTH} letters, digits, dots, underscores or hyphens",
        )


def _field_codec(topic: str, model: type[Any], key: str) -> KeyCodec:
    if not issubclass(model, AvroModel):
        raise UsageError(
            f"topic {topic}: key={key!r} names a field, but {model.__name__} has none", fix="leave key out"
        )
    declared = model.model_fields.get(key)
    if declared is None:
        known = ", ".join(model.model_fields)
        raise UsageError(
            f"topic {topic}: {model.__name__} has no field {key!r} to take the key from",
            fix=f"use one of {known}",
        )
    if declared.annotation not in KEY_CODECS:
        raise UsageError(
            f"topic {topic}: field {key!r} of {model.__name__} is {declared.annotation!r} and cannot be a key",
            fix="take a field of type str, int or bytes",
        )
    return KEY_CODECS[declared.annotation]
