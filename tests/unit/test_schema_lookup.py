"""INV-8: an unknown id is fetched once, by the worker, and kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from rig import Item

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import RegistryUnavailableError, UnknownIdError
from streams.errors import DecodeError, UnknownSchemaError, UsageError
from streams.schema_lookup import RETRY_EVERY, UNKNOWN_FOR, SchemaLookup

[FRAME] = Codec(Item, 9).encode([Item(key="a", n=1)])


class Registry:
    """Answers with what the test put there: a text, or an error."""

    def __init__(self) -> None:
        self.answers: dict[int, str | Exception] = {}
        self.asked: Counter[int] = Counter()

    def schema(self, schema_id: int) -> str:
        self.asked[schema_id] += 1
        answer = self.answers[schema_id]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Rig:
    def __init__(self) -> None:
        self.registry = Registry()
        self.codecs = [Codec(Item), Codec(Item)]
        self.now = 0.0
        self.lookup = SchemaLookup(self.registry, self.codecs, lambda: self.now)

    def answered(self, times: int) -> None:
        """Wait until the registry was asked so often, and take the answers."""
        deadline = time.monotonic() + 10
        while sum(self.registry.asked.values()) < times or not all(a.done() for a in self.lookup._asked.values()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self.lookup.poll()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.lookup.close()


def test_an_answer_is_taught_to_every_codec_and_asked_for_once(rig: Rig) -> None:
    rig.registry.answers[9] = schema_of(Item).text
    for _ in range(5):
        rig.lookup.request(9)
    assert rig.lookup.is_waiting(9)
    rig.answered(1)
    assert not rig.lookup.is_waiting(9)
    assert rig.registry.asked == {9: 1}
    assert [codec.decode([FRAME])[0].n for codec in rig.codecs] == [1, 1]


def test_an_unknown_id_is_asked_for_again_for_a_while_and_then_refused(rig: Rig) -> None:
    """A schema may be registered a moment after the first record; after that it is the record's fault."""
    rig.registry.answers[9] = UnknownIdError("no")
    rig.lookup.request(9)
    asked = 0
    while rig.now < UNKNOWN_FOR:
        asked += 1
        rig.answered(asked)
        assert rig.lookup.is_waiting(9)
        rig.now += RETRY_EVERY
        rig.lookup.poll()
    rig.answered(asked + 1)
    assert not rig.lookup.is_waiting(9)
    for codec in rig.codecs:
        with pytest.raises(DecodeError, match="schema-unknown"):
            codec.decode([FRAME])


def test_a_registry_that_does_not_answer_is_waited_for(rig: Rig) -> None:
    """Its silence is never the record's fault, and does not count towards it."""
    rig.registry.answers[9] = RegistryUnavailableError("down")
    rig.lookup.request(9)
    for asked in range(1, 30):
        rig.answered(asked)
        rig.now += RETRY_EVERY
        rig.lookup.poll()
    assert rig.lookup.is_waiting(9)
    with pytest.raises(UnknownSchemaError):
        rig.codecs[0].decode([FRAME])
    rig.registry.answers[9] = UnknownIdError("no")
    rig.answered(30)
    assert rig.lookup.is_waiting(9)
    rig.registry.answers[9] = schema_of(Item).text
    rig.now += RETRY_EVERY
    rig.lookup.poll()
    rig.answered(31)
    assert rig.codecs[0].decode([FRAME])[0].n == 1


def test_refused_credentials_end_the_worker(rig: Rig) -> None:
    rig.registry.answers[9] = UsageError("the registry refuses the credentials")
    rig.lookup.request(9)
    with pytest.raises(UsageError):
        rig.answered(1)
