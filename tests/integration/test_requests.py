"""Asking over topics: a requester of its own topic, a processor that replies in its transaction."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from live.events import Appended, Item

from streams import App, Context
from streams.errors import IncompatibleError, ReplyTimeoutError, StreamsError, UsageError
from streams.kafka.admin import Admin
from streams.record import TopicPartition
from streams.requests.replies import CORRELATION_ID, REPLY_TO, made_at
from streams.requests.requester import ABANDONED, Requester
from streams.settings import Settings
from streams.testing.live import LiveDriver
from streams.topic import Topic

pytestmark = pytest.mark.integration

SLOW, NEVER, FAIL = "slow", "never", "fail"
SLOWNESS = 1.5  # seconds


class Service:
    """An app that answers, on the cluster, and those who ask it."""

    def __init__(self, settings: Settings, namespace: str) -> None:
        app = App("calls")
        requests = app.topic("calls.requests", Item, key="key")
        self.seen = app.topic("calls.seen", Item, key="key")

        @app.processor(requests, to=self.seen, reply=Appended)
        def answer(item: Item, _ctx: Context) -> Iterator[Item | Appended]:
            if item.text == SLOW:
                time.sleep(SLOWNESS)
            yield item
            if item.text != NEVER:
                yield Appended(key=item.key, n=item.n, size=2 * item.n, digest="")

        self.settings = settings
        self.admin = Admin(settings)
        self.requests = requests
        self.driver = LiveDriver(app, settings, namespace=namespace)
        self.topic: Topic[Item] = requests.in_namespace(namespace)

    def start(self) -> None:
        """Have the workers run and answer."""
        self.driver.send(self.requests, item(0))
        self.driver.settle()

    @contextmanager
    def requester(self, **options: object) -> Iterator[Requester[Item, Appended]]:
        with Requester(self.topic, Appended, self.settings, **options) as requester:
            yield requester

    def reply_topics(self) -> list[str]:
        return sorted(name for name in self.admin.topics() if made_at(name, self.topic.name))


def item(n: int, text: str = "") -> Item:
    return Item(key=f"key {n % 7}", n=n, text=text)


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    made = Service(settings, f"ask-{uuid.uuid4().hex[:8]}")
    try:
        made.start()
        yield made
    finally:
        made.driver.close()
        if left := made.reply_topics():
            made.admin.delete_topics(left)


def test_a_hundred_threads_ask_at_once(service: Service) -> None:
    with service.requester() as requester, ThreadPoolExecutor(100) as threads:
        started = time.monotonic()
        found = list(threads.map(lambda n: requester.ask(item(n)), range(1000)))
        seconds = time.monotonic() - started
        print(f"{len(found)} replies compared, {len(found) / seconds:.0f} a second")
        assert [(one.n, one.size) for one in found] == [(n, 2 * n) for n in range(1000)]
        assert requester.counts == (1000, 1000, 0, 0, 0, 0, 0)
        times = []
        for n in range(20):
            before = time.monotonic()
            requester.ask(item(n))
            times.append(time.monotonic() - before)
        print(f"one alone takes {sorted(times)[10] * 1000:.0f} ms")
    assert service.reply_topics() == []


def test_coroutines_ask(service: Service) -> None:
    async def main(requester: Requester[Item, Appended]) -> list[Appended]:
        with pytest.raises(ReplyTimeoutError):
            await requester.ask_async(item(1, NEVER), timeout="200ms")
        return await asyncio.gather(*(requester.ask_async(item(n)) for n in range(200)))

    with service.requester() as requester:
        found = asyncio.run(main(requester))
        assert [one.size for one in found] == [2 * n for n in range(200)]
        assert requester.counts == (201, 200, 1, 0, 0, 0, 0)


def test_a_late_reply_is_discarded_and_counted(service: Service) -> None:
    with service.requester() as requester:
        with pytest.raises(ReplyTimeoutError, match=r"no reply to a request in .* within 0.3 s"):
            requester.ask(item(1, SLOW), timeout="300ms")
        assert requester.counts.late == 0
        assert requester.ask(item(2)).size == 4
        await_(lambda: requester.counts.late == 1)
        assert requester.counts == (2, 1, 1, 0, 0, 1, 0)
    assert service.reply_topics() == []


def test_instances_never_see_replies_of_each_other(service: Service) -> None:
    with service.requester() as one, service.requester() as other, ThreadPoolExecutor(20) as threads:
        assert len(service.reply_topics()) == 2
        found = list(threads.map(lambda n: (n, (one if n % 2 else other).ask(item(n)).size), range(400)))
        assert all(size == 2 * n for n, size in found)
        assert one.counts == other.counts == (200, 200, 0, 0, 0, 0, 0)


def test_a_reply_to_no_question_is_counted(service: Service) -> None:
    with service.requester() as requester:
        headers = ((REPLY_TO, requester.reply_topic.encode()), (CORRELATION_ID, b"a guess"))
        frame = service.driver.records(service.seen)[0].value
        assert frame is not None
        service.driver.send_raw(service.requests, encoded(service, frame), headers=headers)
        await_(lambda: requester.counts.unknown == 1)
        assert requester.ask(item(1)).size == 2


@pytest.mark.parametrize("target", ["{seen}", "x", "", "{requests}.replies.", "{requests}.replies.1-2", "ä" * 400])
def test_a_hostile_reply_to_is_refused(service: Service, target: str) -> None:
    target = target.format(requests=service.topic.name, seen=service.driver.app.processors["answer"].outputs[Item].name)
    before = len(service.driver.published(service.seen))
    service.driver.send_raw(
        service.requests, encoded(service, item(5)), headers=((REPLY_TO, target.encode()), (CORRELATION_ID, b"1"))
    )
    letters = service.driver.dead_letters
    assert [(one.stage, one.kind) for one in letters] == [("decode", "reply-to")]
    assert len(service.driver.published(service.seen)) == before


def test_a_request_without_a_question_is_refused_and_one_without_headers_needs_no_reply(service: Service) -> None:
    with service.requester() as requester:
        headers = ((REPLY_TO, requester.reply_topic.encode()),)
        service.driver.send_raw(service.requests, encoded(service, item(5)), headers=headers)
        service.driver.send(service.requests, item(6))
        assert [one.kind for one in service.driver.dead_letters] == ["correlation-id"]
        assert service.driver.published(service.seen)[-1].n in {0, 6}
        assert requester.counts == (0,) * 7


def test_whoever_is_gone_stops_nobody(service: Service) -> None:
    gone = f"{service.topic.name}.replies.{1_700_000_000_000}-{'0' * 12}"
    for n in range(50):
        headers = ((REPLY_TO, gone.encode()), (CORRELATION_ID, b"%d" % n))
        service.driver.send_raw(service.requests, encoded(service, item(n)), headers=headers)
    started = time.monotonic()
    with service.requester() as requester:
        assert requester.ask(item(1)).size == 2
    service.driver.settle()
    assert time.monotonic() - started < 5
    assert service.driver.dead_letters == []
    assert len(service.driver.published(service.seen)) == 52
    assert gone not in service.admin.topics()


def test_the_topic_of_a_killed_instance_is_removed_and_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Requester(service.topic, Appended, service.settings)
    killed._stop(UsageError("killed"))  # nothing is cleaned up
    killed._reading.join()
    with service.requester() as living:
        assert service.reply_topics() == sorted([killed.reply_topic, living.reply_topic])
        monkeypatch.setattr("streams.requests.requester.ABANDONED", 0.5)
        time.sleep(1)
        living._box.beat()
        with service.requester() as third:
            assert service.reply_topics() == sorted([living.reply_topic, third.reply_topic])
            assert living.ask(item(1)).size == third.ask(item(1)).size == 2
    assert ABANDONED == 600


def test_closing_tells_those_who_wait_and_leaves_a_topic_that_may_still_get_replies(service: Service) -> None:
    requester = Requester(service.topic, Appended, service.settings)
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(requester.ask, item(n, NEVER)) for n in range(3)]
        await_(lambda: requester.counts.waiting == 3)
        requester.close()
        for one in asked:
            with pytest.raises(UsageError, match="the requester is closed"):
                one.result()
    with pytest.raises(UsageError, match="the requester is closed"):
        requester.ask(item(1))
    assert service.reply_topics() == [requester.reply_topic]


def test_a_service_that_is_not_there_is_told(settings: Settings, service: Service) -> None:
    with pytest.raises(StreamsError, match="is not registered"):
        Requester(Topic("ask.nowhere", Item, "key"), Appended, settings)
    bare = Topic("ask.nowhere", Item, "key")
    service.driver._registry.register(bare.subject, Item.__avro_versions__, "BACKWARD")
    with pytest.raises(IncompatibleError, match=r"topic ask\.nowhere does not exist"):
        Requester(bare, Appended, settings)
    service.driver._registry.delete(bare.subject)


def test_the_replies_are_kept_for_minutes(service: Service) -> None:
    with service.requester() as requester:
        config = service.admin.topic_config([requester.reply_topic])[requester.reply_topic]
        assert (config["retention.ms"], config["message.timestamp.type"]) == ("600000", "LogAppendTime")
        assert service.admin.topics()[requester.reply_topic] == 1
        held = service.admin.ranges([TopicPartition(requester.reply_topic, 0)])
        assert next(iter(held.values())).end > 0


def encoded(service: Service, value: Item) -> bytes:
    (frame,) = service.driver._publisher._codec(service.topic).encode([value])
    return frame


def await_(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
