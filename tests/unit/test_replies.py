"""Requests and replies without Kafka: who may be answered, who waits for what, and what is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from live.events import Appended, Item

from streams import App, Context, UsageError
from streams.errors import AbortedError, DecodeError, StreamsError, UnreachableError
from streams.record import Headers, RawRecord, Record
from streams.requests.gate import ReplyGate, gated
from streams.requests.questions import MOST_REMEMBERED, MOST_WAITING, Questions
from streams.requests.replies import (
    CORRELATION_ID,
    REPLY_TO,
    Address,
    address_of,
    checked,
    made_at,
    replies,
    reply_topic,
    request_headers,
)
from streams.topic import Topic

REQUESTS = "shop.quotes"
INSTANCE = "1700000000000-0123456789ab"
MINE = reply_topic(REQUESTS, INSTANCE)


def request(headers: Headers = (), *, topic: str = REQUESTS) -> RawRecord:
    return Record(topic, b"key", b"value", 7, 2, 3, headers)


def test_an_address_goes_there_and_back() -> None:
    address = Address(MINE, b"an id")
    assert address_of(request(request_headers(address)), REQUESTS) == address
    assert address_of(request((("other", b"header"),)), REQUESTS) is None
    assert made_at(MINE, REQUESTS) == 1_700_000_000_000


def test_of_several_headers_the_last_counts_and_a_record_that_comes_again_is_of_the_same_requests() -> None:
    headers = (("a", b"1"), *request_headers(Address("elsewhere", b"x")), *request_headers(Address(MINE, b"y")))
    assert address_of(request(headers, topic="shop.answer.redrive"), REQUESTS) == Address(MINE, b"y")


@given(
    st.binary(max_size=300).filter(lambda target: not target.startswith(b"shop.quotes.replies."))
    | st.sampled_from([REQUESTS, INSTANCE, "", MINE + "x", "x" + MINE, MINE + "\n", MINE[:-1]]).map(str.encode)
)
def test_no_header_leads_elsewhere(target: bytes) -> None:
    with pytest.raises(DecodeError, match="reply-to"):
        address_of(request(((REPLY_TO, target), (CORRELATION_ID, b"1"))), REQUESTS)


@pytest.mark.parametrize("question", [None, b"", b"x" * 129])
def test_a_question_has_an_id_of_some_length(question: bytes | None) -> None:
    with pytest.raises(DecodeError, match="correlation-id"):
        address_of(request(((REPLY_TO, MINE.encode()), (CORRELATION_ID, question))), REQUESTS)


def test_topics_for_other_requests_are_none_of_ours() -> None:
    for name in (
        REQUESTS,
        INSTANCE,
        f"{REQUESTS}.replies.",
        f"{REQUESTS}.replies.x",
        f"{REQUESTS}2.replies.{INSTANCE}",
    ):
        assert made_at(name, REQUESTS) is None


def test_errors_stand_where_the_requests_stood() -> None:
    batch = [request(), request(((REPLY_TO, b"x"),)), request(request_headers(Address(MINE, b"1")))]
    first, second, third = checked(batch, ["a", "b", None], REQUESTS)
    assert (first, third) == ("a", None)
    assert isinstance(second, DecodeError)


def test_a_reply_goes_to_whoever_asked_and_to_nobody_else() -> None:
    batch = [request(), request(request_headers(Address(MINE, b"1")))]
    assert list(replies(batch, [b"first", b"second"], REQUESTS)) == [
        Record(MINE, None, b"second", 7, 0, headers=((CORRELATION_ID, b"1"),))
    ]


# ---- questions ----


def reply_to(question: bytes) -> RawRecord:
    return Record(MINE, None, question, 0, headers=((CORRELATION_ID, question),))


def test_each_reply_finds_who_waits_for_it() -> None:
    questions = Questions()

    def work(_n: int) -> bool:
        question, reply = questions.ask()
        threading.Timer(0.001, questions.answer, [[reply_to(question)]]).start()
        record = reply.result(10)
        return record.value == question

    with ThreadPoolExecutor(50) as threads:
        found = list(threads.map(work, range(500)))
    print(f"{len(found)} replies compared")
    assert found == [True] * 500
    assert questions.counts() == (500, 500, 0, 0, 0, 0, 0)


def test_what_nobody_waits_for_is_counted() -> None:
    questions = Questions()
    late, _ = questions.ask()
    answered, reply = questions.ask()
    questions.give_up(late)
    questions.give_up(late)
    questions.answer([reply_to(b"a guess"), Record(MINE, None, b"", 0), reply_to(answered), reply_to(answered)])
    assert questions.outstanding() == 1
    questions.answer([reply_to(late), reply_to(late)])
    assert reply.result(0).value == answered
    questions.give_up(answered)
    assert questions.counts()._asdict() == {
        "asked": 2,
        "answered": 1,
        "given_up": 1,
        "failed": 0,
        "waiting": 0,
        "late": 1,
        "unknown": 4,
    }
    assert questions.outstanding() == 0


def test_who_waits_is_told_of_errors_once() -> None:
    questions = Questions()
    asked = [questions.ask() for _ in range(3)]
    questions.fail(asked[0][0], UnreachableError("not sent"))
    questions.fail_all(StreamsError("closed"))
    questions.fail_all(StreamsError("closed"))
    assert [str(reply.exception(0)) for _, reply in asked] == ["not sent", "closed", "closed"]
    assert questions.counts()[3:5] == (3, 0)


def test_whoever_stopped_waiting_disturbs_nobody() -> None:
    questions = Questions()
    asked = [questions.ask() for _ in range(3)]
    for _, reply in asked:
        reply.cancel()
    questions.answer([reply_to(asked[0][0])])
    questions.fail(asked[1][0], StreamsError("not sent"))
    questions.give_up(asked[2][0])
    assert questions.counts() == (3, 1, 1, 1, 0, 0, 0)


def test_memory_is_bounded() -> None:
    questions = Questions()
    waiting: list[tuple[bytes, Future[RawRecord]]] = [questions.ask() for _ in range(MOST_WAITING)]
    with pytest.raises(StreamsError, match="10,000 requests wait"):
        questions.ask()
    for question, _ in waiting:
        questions.give_up(question)
    for _ in range(10):
        questions.give_up(questions.ask()[0])
    assert questions.outstanding() == MOST_REMEMBERED
    questions.answer([reply_to(waiting[0][0]), reply_to(waiting[10][0])])
    assert questions.counts()[5:] == (1, 1)


# ---- the gate ----


class Producer:
    def __init__(self) -> None:
        self.sent: list[RawRecord] = []

    def send(self, records: list[RawRecord]) -> None:
        self.sent += records

    def send_tracked(self, *_: Any) -> None: ...

    def flush(self) -> None: ...

    def commit(self, *_: Any) -> None: ...

    def abort(self) -> None: ...


def test_replies_to_topics_that_are_gone_are_dropped_and_told_once() -> None:
    producer, asked = Producer(), []
    gone = reply_topic(REQUESTS, "1700000000001-0123456789ab")

    def existing(names: Iterable[str]) -> set[str]:
        asked.append(set(names))
        return {MINE}

    gate = ReplyGate(producer, REQUESTS, existing)
    records: list[RawRecord] = [Record(name, None, b"", 0) for name in ("other", MINE, gone)]
    with structlog.testing.capture_logs() as logs:
        gate.send(records)
        gate.send(records)
        gate.send(records[:1])
    assert [record.topic for record in producer.sent] == ["other", MINE, "other", MINE, "other"]
    assert asked == [{MINE, gone}] * 2
    assert [one["topics"] for one in logs] == [[gone]]


def test_a_gate_without_an_answer_aborts() -> None:
    def existing(_names: Iterable[str]) -> set[str]:
        raise UnreachableError("Kafka does not answer")

    producer = Producer()
    with pytest.raises(AbortedError, match="replies could not be sent: Kafka does not answer"):
        ReplyGate(producer, REQUESTS, existing).send([Record(MINE, None, b"", 0)])
    assert producer.sent == []


# ---- declarations ----


def declared(**options: Any) -> App:
    app = App("shop")
    requests = app.topic(REQUESTS, Item, key="key")

    @app.processor(requests, **options)
    def quote(item: Item, _ctx: Context) -> Appended:
        return Appended(key=item.key, n=item.n, size=0, digest="")

    return app


def test_only_who_replies_gets_a_gate_and_a_contract() -> None:
    silent, replying = declared(), declared(reply=Appended)
    producer = Producer()
    assert gated(silent.processors["quote"], producer, set) is producer
    assert isinstance(gated(replying.processors["quote"], producer, set), ReplyGate)
    assert dict(replying.contracts()).items() - dict(silent.contracts()).items() == {
        ("shop.quote.reply-value", Appended)
    }
    inside = (
        dict(replying.in_namespace("pr-7").contracts()).keys() - dict(silent.in_namespace("pr-7").contracts()).keys()
    )
    assert inside == {"pr-7.shop.quote.reply-value"}
    assert replying.topics() == silent.topics()


def test_a_reply_and_an_output_of_one_model_are_an_error() -> None:
    with pytest.raises(UsageError, match="both take Appended"):
        declared(to=Topic("shop.out", Appended, "key"), reply=Appended)
