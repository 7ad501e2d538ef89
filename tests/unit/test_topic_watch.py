"""When a worker is told that its topics are gone: after two looks in a row, and soon enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from streams.errors import IncompatibleError, StreamsError, UnreachableError
from streams.watch import topics as topic_watch
from streams.watch.topics import TopicWatch

GONE, AWAY = IncompatibleError("out does not exist"), UnreachableError("Kafka does not answer")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_watch, "AGAIN", 0.0)


def looks(*found: StreamsError | None) -> Callable[[], None]:
    """Return a look that finds one thing after the other, and nothing from then on."""
    left: Iterator[StreamsError | None] = iter(found)

    def look() -> None:
        error = next(left, None)
        if error is not None:
            raise error

    return look


@pytest.mark.parametrize("found", [(), (GONE,), (AWAY, AWAY), (GONE, AWAY), (AWAY, GONE)])
def test_one_bad_look_is_not_believed(found: tuple[StreamsError, ...]) -> None:
    watch = TopicWatch(looks(), looks(*found))
    watch.examine()
    watch.tell()


def test_two_bad_looks_are_and_it_stays_so() -> None:
    watch = TopicWatch(looks(), looks(GONE, GONE))
    for ask in (watch.examine, watch.tell, watch.examine):
        with pytest.raises(IncompatibleError, match="out does not exist"):
            ask()


def test_it_looks_from_time_to_time_for_what_is_missing_alone() -> None:
    watch = TopicWatch(looks(None, AWAY, GONE, None, GONE, GONE), looks(), every=0.01)
    watch.tell()
    watch.start()
    watch.join(10)
    assert not watch.is_alive()
    with pytest.raises(IncompatibleError):
        watch.tell()


def test_it_ends_when_it_is_closed() -> None:
    watch = TopicWatch(looks(), looks())
    watch.start()
    began = time.monotonic()
    watch.close()
    watch.join(10)
    assert not watch.is_alive()
    assert time.monotonic() - began < 5
    watch.tell()
