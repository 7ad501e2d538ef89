"""Both stories, from their files to the verdict, unchanged on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from stories.catalog import STORIES, Story
from streams import App, Record, Store, Topic
from streams.record import RawRecord
from streams.testing import Driver

V = TypeVar("V")

SEED = 7


class Sender:
    """A publisher over a driver; the lines that do not parse go nowhere, they are kept."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.refused: list[RawRecord] = []

    def send(self, topic: Topic[V], values: Iterable[V], *, timestamp_ms: int | None = None) -> None:
        assert timestamp_ms is None
        self._driver.send(topic, *values)

    def send_raw(self, records: Iterable[RawRecord]) -> None:
        self.refused += records

    def flush(self) -> None: ...


class Reader:
    """A story's reader over a driver: outputs, dead letters, and public stores as their topics."""

    def __init__(self, driver: Driver, app: App, refused: list[RawRecord]) -> None:
        self._driver = driver
        self._refused = {f"{app.name}.load.dlq": refused}
        processors = app.processors.values()
        self._letters = {one.dead_letter_topic: one.name for one in processors}
        self._outputs = {topic.name: topic for one in processors for topic in one.outputs.values()}
        self._stores = {one.changelog(store): store for one in processors for store in one.stores}

    def raw(self, topic: str) -> Iterator[list[RawRecord]]:
        if topic in self._refused:
            yield self._refused[topic]
        else:
            processor = self._letters[topic]
            yield [letter.record for letter in self._driver.dead_letters if letter.processor == processor]

    def values(self, topic: str, model: type[V]) -> Iterator[list[tuple[Record[Any, Any], V]]]:
        if topic in self._stores:
            yield list(self._rows(topic, self._stores[topic]))
        else:
            records = self._driver.records(self._outputs[topic])
            assert self._outputs[topic].model is model
            yield [(record, record.value) for record in records if record.value is not None]

    def _rows(self, topic: str, store: Store[Any, V]) -> Iterator[tuple[Record[Any, Any], V]]:
        for key, value in self._driver.store(store).items():
            yield Record(topic, store.key_codec.encode(key), value, 0), value


@pytest.mark.kafka("memory", "embedded", "container")
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_story_comes_out_as_expected(
    story: Story, stream_app: Callable[..., Driver], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = tmp_path_factory.mktemp(story.name)
    story.write_sample(files, SEED)
    driver = stream_app(story.app)
    sender = Sender(driver)

    refused = story.publish_tables(files, sender) + story.publish_events(files, sender)

    verdict = story.verify(story.expect(files), Reader(driver, story.app, sender.refused))
    print(f"\n{story.name}: {verdict.figures}, {verdict.difference}")
    assert verdict.holds
    assert verdict.figures["refused_lines"] == refused == len(sender.refused) > 0
    assert set(driver.lag.values()) == {0}
