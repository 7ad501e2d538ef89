"""The schema registry's client: registration at deploy, look-up at start, and fetching a writer's schema by id.

Confluent's client does the talking (authentication, retries, caching); this module gives it a deadline and turns
its answers into the errors of the toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar
from weakref import finalize

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from streams.avro.compatibility import Level
from streams.errors import IncompatibleError, StreamsError, UnreachableError, UsageError

T = TypeVar("T")

RETRIES: Final = {"max.retries": 1, "retries.wait.ms": 200, "retries.max.wait.ms": 500}
_USER_INFO: Final = re.compile(r"//[^/@\s]*@")


class RegistryUnavailableError(UnreachableError):
    """The registry did not answer in time, or answered that it cannot."""


class UnknownIdError(IncompatibleError):
    """The registry answers that it has no Avro schema with the id."""


class Registry:
    """A registry under a URL; `config` takes further keys of Confluent's client (`basic.auth.user.info` …).

    Every call ends within about twice the timeout. Thread-safe. Credentials never reach a message.

    Raises:
        UsageError: the URL or a key of `config` is wrong; from any call: the registry refuses the credentials.
        RegistryUnavailableError: from any call: no answer.
    """

    def __init__(self, url: str, timeout: float = 5.0, config: Mapping[str, Any] | None = None) -> None:
        self._shown = _USER_INFO.sub("//***@", url)
        try:
            self._client = SchemaRegistryClient({"url": url, "timeout": timeout, **RETRIES, **(config or {})})
        except (ValueError, TypeError) as error:
            raise UsageError(self._clean(error), where=f"schema registry {self._shown}") from None
        self.close = finalize(self, self._client.close)  # connections end with the object, or with `close()`

    def lookup(self, subject: str, text: str) -> int:
        """Return the id of a schema that is registered under the subject.

        Raises:
            IncompatibleError: it is not.
        """
        try:
            found = self._ask(lambda: self._client.lookup_schema(subject, Schema(text, "AVRO")))
        except _NotFoundError:
            raise IncompatibleError(
                f"the schema of {subject} is not registered",
                where=f"schema registry {self._shown}",
                fix="streams schema register MODULE:APP",
            ) from None
        return int(found.schema_id)

    def schema(self, schema_id: int) -> str:
        """Return the text of the schema with this id.

        Raises:
            UnknownIdError: there is none, or it is not Avro.
        """
        try:
            found = self._ask(lambda: self._client.get_schema(schema_id))
        except _NotFoundError:
            raise UnknownIdError(f"no schema has the id {schema_id}", where=self._shown) from None
        if found.schema_type != "AVRO" or found.schema_str is None:
            raise UnknownIdError(f"schema {schema_id} is {found.schema_type}, not Avro", where=self._shown)
        return str(found.schema_str)

    def latest(self, subject: str) -> tuple[int, str]:
        """Return id and text of the newest schema that is registered under the subject.

        Raises:
            IncompatibleError: there is none, or it is not Avro.
        """
        try:
            found = self._ask(lambda: self._client.get_latest_version(subject))
        except _NotFoundError:
            raise IncompatibleError(
                f"no schema is registered under {subject}",
                where=f"schema registry {self._shown}",
                fix="streams schema register MODULE:APP",
            ) from None
        if found.schema.schema_type != "AVRO":
            raise IncompatibleError(f"the schema of {subject} is {found.schema.schema_type}, not Avro")
        return int(found.schema_id), str(found.schema.schema_str)

    def register(self, subject: str, versions: Sequence[str], level: str) -> list[int]:
        """Set the subject's compatibility level, post all versions in order and return their ids; idempotent.

        Raises:
            IncompatibleError: the registry refuses a version.
        """
        if level not in [*Level]:
            raise UsageError(f"{level!r} is no compatibility level", fix=f"one of {', '.join(Level)}")
        self._ask(lambda: self._client.set_compatibility(subject, level))
        return [self._post(subject, number, text) for number, text in enumerate(versions, 1)]

    def _post(self, subject: str, number: int, text: str) -> int:
        try:
            return int(self._ask(lambda: self._client.register_schema(subject, Schema(text, "AVRO"))))
        except _ConflictError as error:
            raise IncompatibleError(
                f"the registry refuses version {number} of {subject}: {error}",
                where=f"schema registry {self._shown}",
                fix="`streams schema check` shows every break and its remedy",
            ) from None

    def delete(self, subject: str) -> None:
        """Delete a subject with all its versions; one that does not exist is passed over. Ids stay known."""
        with suppress(_NotFoundError):
            self._ask(lambda: self._client.delete_subject(subject))

    def subjects(self) -> list[str]:
        """Return the names of all subjects."""
        return self._ask(self._client.get_subjects)

    def ping(self) -> None:
        """Return if the registry answers."""
        self.subjects()

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except SchemaRegistryError as error:
            raise self._told(error) from error
        except Exception as error:  # of the HTTP library that Confluent's client happens to use
            raise self._unavailable(f"does not answer: {self._clean(error) or type(error).__name__}") from error

    def _told(self, error: SchemaRegistryError) -> Exception:
        said = self._clean(error.error_message)
        match error.http_status_code, error.error_code:
            case 404, int() as code if code > 0:  # a proxy's 404 has no code, and must not make ids unknown
                return _NotFoundError(said)
            case ((409 | 422), _):
                return _ConflictError(said)
            case ((401 | 403), _):
                what = f"the schema registry refuses the credentials: {said}"
                return UsageError(what, where=self._shown, fix="check user and password, and the user's rights")
        return self._unavailable(f"answers with status {error.http_status_code}: {said}")

    def _unavailable(self, what: str) -> StreamsError:
        return RegistryUnavailableError(
            f"the schema registry {what}", where=self._shown, fix="check schema_registry_url, and that it runs"
        )

    def _clean(self, told: object) -> str:
        return _USER_INFO.sub("//***@", str(told))


class _NotFoundError(StreamsError):
    """The registry answers that it does not have what was asked for."""


class _ConflictError(StreamsError):
    """The registry does not take a schema."""
