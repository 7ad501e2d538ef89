"""Fetching writers' schemas for frames that name an id nobody has fetched yet (INV-8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Protocol

import structlog

from streams.avro.codec import Codec
from streams.avro.registry import RegistryUnavailableError, UnknownIdError

_log = structlog.get_logger(__name__)

UNKNOWN_FOR = 5.0  # seconds that an id may be unknown before its records are refused
RETRY_EVERY = 0.5


class SchemaSource(Protocol):
    """What is needed of the registry's client."""

    def schema(self, schema_id: int) -> str:
        """Return the text of a schema."""


class SchemaLookup:
    """Asks the registry in a thread of its own, so that one slow answer holds up only the records that need it."""

    def __init__(
        self,
        registry: SchemaSource,
        codecs: Iterable[Codec[Any]],
        clock: Callable[[], float] = time.monotonic,
        thread: Executor | None = None,
    ) -> None:
        self._registry = registry
        self._codecs = list(codecs)
        self._clock = clock
        self._thread = thread or ThreadPoolExecutor(1, "schema-lookup")
        self._asked: dict[int, Future[str]] = {}
        self._first_asked: dict[int, float] = {}
        self._retry_at: dict[int, float] = {}

    def request(self, schema_id: int) -> None:
        """Ask for a schema unless it is being asked for already."""
        if schema_id not in self._first_asked:
            self._first_asked[schema_id] = self._clock()
            self._asked[schema_id] = self._thread.submit(self._registry.schema, schema_id)

    def is_waiting(self, schema_id: int) -> bool:
        """Tell whether records with this id still have to wait."""
        return schema_id in self._first_asked

    def answered(self) -> bool:
        """Tell whether an answer is there that `poll` has not taken yet."""
        return any(answer.done() for answer in self._asked.values())

    def poll(self) -> None:
        """Take the answers that are there: teach the codecs, refuse an id, or ask again."""
        now = self._clock()
        for schema_id in [known for known, answer in self._asked.items() if answer.done()]:
            self._answered(schema_id, self._asked.pop(schema_id), now)
        for schema_id in [known for known, at in self._retry_at.items() if at <= now]:
            del self._retry_at[schema_id]
            self._asked[schema_id] = self._thread.submit(self._registry.schema, schema_id)

    def close(self) -> None:
        """Let the thread end with the question it is asking."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answered(self, schema_id: int, answer: Future[str], now: float) -> None:
        try:
            text = answer.result()
        except UnknownIdError:
            if now - self._first_asked[schema_id] < UNKNOWN_FOR:
                self._retry_at[schema_id] = now + RETRY_EVERY
                return
            for codec in self._codecs:
                codec.refuse(schema_id, f"the registry has no schema with id {schema_id}")
        except RegistryUnavailableError as error:
            _log.warning("registry does not answer, records wait", schema_id=schema_id, reason=str(error))
            self._first_asked[schema_id] = now
            self._retry_at[schema_id] = now + RETRY_EVERY
            return
        else:
            for codec in self._codecs:
                codec.learn(schema_id, text)
            for codec in self._codecs:
                plan = codec.plans[schema_id]
                if plan.writer == codec.schema.name:  # no other codec meets this id, unless somebody mixes topics up
                    _log.info("codec plan", schema_id=schema_id, model=plan.writer, plan=plan.engine, why=plan.why)
        del self._first_asked[schema_id]
