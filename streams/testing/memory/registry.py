"""A schema registry in memory, which can be made not to answer."""

from __future__ import annotations

from collections.abc import Callable

from streams.avro.registry import RegistryUnavailableError, UnknownIdError
from streams.errors import IncompatibleError, UsageError

FIRST_ID = 1 << 30  # higher than a real registry's, so that ids which are learnt from one never mean two schemas


class MemoryRegistry:
    """Ids and texts of schemas by subject; the same text has the same id everywhere."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.down_until = 0.0  # seconds of the clock; until then it does not answer
        self._seconds = seconds
        self._texts: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._subjects: dict[str, list[str]] = {}

    def register(self, subject: str, text: str) -> int:
        """Register a schema and return its id."""
        known = self._subjects.setdefault(subject, [])
        if text not in known:
            known.append(text)
        if text not in self._ids:
            self.learn(max([FIRST_ID, *self._texts]) + 1, text)
        return self._ids[text]

    def learn(self, schema_id: int, text: str) -> None:
        """Know a schema under a given id, as another registry does.

        Raises:
            UsageError: the id stands for another schema already.
        """
        if self._texts.get(schema_id, text) != text:
            raise UsageError(f"schema id {schema_id} stands for another schema already", fix="give each schema one id")
        self._texts[schema_id] = text
        self._ids.setdefault(text, schema_id)

    def lookup(self, subject: str, text: str) -> int:
        """Return the id of a schema that is registered under the subject.

        Raises:
            IncompatibleError: it is not.
            RegistryUnavailableError: the registry does not answer.
        """
        self._answer()
        if text not in self._subjects.get(subject, ()):
            raise IncompatibleError(f"the schema of {subject} is not registered", fix="declare its topic on the app")
        return self._ids[text]

    def schema(self, schema_id: int) -> str:
        """Return the text of a schema.

        Raises:
            UnknownIdError: there is none with this id.
            RegistryUnavailableError: the registry does not answer.
        """
        self._answer()
        text = self.known(schema_id)
        if text is None:
            raise UnknownIdError(f"no schema has the id {schema_id}")
        return text

    def known(self, schema_id: int) -> str | None:
        """Return the text of a schema, whether the registry answers or not."""
        return self._texts.get(schema_id)

    def _answer(self) -> None:
        if self._seconds() < self.down_until:
            raise RegistryUnavailableError("the schema registry does not answer: the test made it so")
