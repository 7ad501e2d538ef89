"""Asking a processor in memory: its replies are outputs like all others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live.events import Appended, History, Item

from streams import DEAD_LETTER, App, Context, Failure, Retry, UsageError
from streams.errors import ReplyTimeoutError
from streams.failpoints import Failpoint
from streams.requests.replies import CORRELATION_ID, REPLY_TO, reply_topic
from streams.testing import Abort, Crash
from streams.testing.asking import INSTANCE

FAIL, NEVER, TWICE = "fail", "never", "twice"


class Service:
    def __init__(self, **options: object) -> None:
        self.app = App("calls")
        self.requests = self.app.topic("calls.requests", Item, key="key")
        self.other = self.app.topic("calls.other", Item, key="key")
        self.seen = self.app.topic("calls.seen", Item, key="key")
        histories = self.app.store("histories", str, History)
        self.failures = 0

        @self.app.processor(self.requests, to=self.seen, reply=Appended, **options)
        def answer(item: Item, ctx: Context) -> Iterator[Item | Appended]:
            before = ctx.get(histories, item.key)
            history = (*before.items, item.n) if before else (item.n,)
            ctx.put(histories, item.key, History(items=history))
            yield item
            if item.text == FAIL and self.failures:
                self.failures -= 1
                raise OSError(item.text)
            if item.text != NEVER:
                for _ in range(2 if item.text == TWICE else 1):
                    yield Appended(key=item.key, n=item.n, size=len(history), digest="")


def item(n: int, text: str = "") -> Item:
    return Item(key="a", n=n, text=text)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_questions_get_their_replies(guarantee: str) -> None:
    service = Service()
    with service.app.test(settings={"guarantee": guarantee}) as driver:
        assert [driver.ask(service.requests, item(n)).size for n in range(5)] == [1, 2, 3, 4, 5]
        driver.send(service.requests, item(5))  # nobody asks
        assert [one.n for one in driver.published(service.seen)] == [0, 1, 2, 3, 4, 5]
        assert driver.assert_no_loss() >= 11
        assert driver.assert_no_duplicates() >= 11
        assert len(driver.cluster.log.committed(reply_topic("calls.requests", INSTANCE))) == 5


def test_a_crash_and_an_abort_repeat_no_reply() -> None:
    service = Service()
    with service.app.test() as driver:
        for n, (fault, step) in enumerate([(Crash(), Failpoint.PRODUCED), (Abort(), Failpoint.FLUSHED)], 1):
            driver.inject(fault, at=step)
            assert driver.ask(service.requests, item(n)).size == n
        driver.assert_no_loss()
        driver.assert_no_duplicates()
        assert len(driver.cluster.log.committed(reply_topic("calls.requests", INSTANCE))) == 2


def test_a_question_waits_for_retries_and_no_longer_than_its_time() -> None:
    service = Service(on_failure=Failure(Retry(5, "1s"), then=DEAD_LETTER))
    with service.app.test(auto_advance=False) as driver:
        service.failures = 2
        assert driver.ask(service.requests, item(1, FAIL)).size == 1
        service.failures = 6
        with pytest.raises(ReplyTimeoutError):
            driver.ask(service.requests, item(2, FAIL), timeout="500ms")
        driver.advance("1m")
        assert [(one.kind, one.record.headers[0][0]) for one in driver.dead_letters] == [("process", REPLY_TO)]
        assert driver.ask(service.requests, item(3)).size == 2


def test_who_says_nothing_is_waited_for_in_vain() -> None:
    service = Service()
    with service.app.test() as driver:
        before = driver.clock.now()
        with pytest.raises(ReplyTimeoutError, match="within 0:00:03"):
            driver.ask(service.requests, item(1, NEVER), timeout="3s")
        assert 3 <= (driver.clock.now() - before).total_seconds() < 4
        with pytest.raises(UsageError, match=r"no processor replies to requests in calls\.other"):
            driver.ask(service.other, item(1))


def test_a_hostile_request_has_no_effect_and_counts_as_refused() -> None:
    service = Service()
    with service.app.test() as driver:
        driver.ask(service.requests, item(1))
        (record,) = driver.records(service.seen)
        frame = driver.cluster.log.committed(record.topic)[0].value
        for target in (b"calls.seen", b"calls.answer.dlq"):
            driver.send_raw(service.requests, frame, key=b"a", headers=((REPLY_TO, target), (CORRELATION_ID, b"1")))
        assert [(one.stage, one.kind) for one in driver.dead_letters] == [("decode", "reply-to")] * 2
        assert len(driver.published(service.seen)) == 1
        driver.assert_no_loss()


def test_a_lost_reply_is_found() -> None:
    service = Service()
    with service.app.test() as driver:
        driver.ask(service.requests, item(1))
        driver.cluster.log._partitions[(reply_topic("calls.requests", INSTANCE), 0)].entries.clear()
        with pytest.raises(AssertionError, match=r"answer lost .* for calls\.requests\.replies"):
            driver.assert_no_loss()


def test_in_a_namespace_replies_stay_in_it() -> None:
    service = Service()
    with service.app.in_namespace("pr-7").test() as driver:
        assert driver.ask(service.requests, item(1)).size == 1
        assert driver.cluster.log.committed(reply_topic("pr-7.calls.requests", INSTANCE))
