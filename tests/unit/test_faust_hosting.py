"""Between our records and Faust's: nothing is changed on the way, in or out."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from faust.exceptions import ProducerSendError

from streams.errors import FencedError, SendError
from streams.faust_engine.hosting import FRAMING_BYTES, Outlet, partitioned, raw_record
from streams.kafka.admin import partition_of
from streams.record import RawRecord, Record

LIMIT = 1_000


class Producer:
    """Notes what is sent; a key says how that ends."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    async def send(self, *given: Any) -> asyncio.Future[None]:
        self.sent.append(given)
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if given[1] == b"at once":
            raise ProducerSendError("no") from MessageSizeTooLargeError("at once")
        ends = {b"large": MessageSizeTooLargeError("later"), b"away": KafkaTimeoutError("nobody there")}
        if given[1] in ends:
            delivery.set_exception(ends[given[1]])
        else:
            delivery.set_result(None)
        return delivery


def send(*records: RawRecord) -> Producer:
    producer = Producer()
    app: Any = SimpleNamespace(producer=producer)
    outlet = Outlet(app, {"out": LIMIT}, frozenset({"compacted"}))
    try:
        asyncio.run(outlet.send(records))
    finally:
        sent.append(producer)
    return producer


sent: list[Producer] = []


def test_keys_land_where_every_other_client_puts_them() -> None:
    theirs, chance = DefaultPartitioner(), random.Random(5)
    for _ in range(2_000):
        key, partitions = chance.randbytes(chance.randrange(40)), chance.randrange(1, 50)
        everyone = list(range(partitions))
        assert partitioned(key, everyone, everyone) == theirs(key, everyone, everyone) == partition_of(key, partitions)
    assert {partitioned(None, [0, 1, 2], [1, 2]) for _ in range(100)} == {1, 2}


def test_times_are_the_same_to_the_millisecond() -> None:
    chance = random.Random(7)
    times = [0, 1, 999, *(chance.randrange(4_000_000_000_000) for _ in range(5_000))]
    for given in send(*(Record("out", b"k", b"v", when) for when in times)).sent:
        assert int(given[4] * 1000.0) == times.pop(0), "as Faust makes milliseconds of it"
    message: Any = SimpleNamespace(topic="in", partition=1, offset=5, key=b"k", value=None, headers=None)
    for when in (0, 1, 1_001, *(chance.randrange(4_000_000_000_000) for _ in range(5_000))):
        message.timestamp = when / 1000.0  # as Faust makes seconds of it
        assert raw_record(message).timestamp_ms == when


def test_a_record_is_read_as_it_lies_there() -> None:
    headers = (("a", b"1"), ("a", None), ("b", b""))
    message: Any = SimpleNamespace(
        topic="in", partition=1, offset=5, key=None, value=b"", headers=headers, timestamp=1.5
    )
    assert raw_record(message) == Record("in", None, b"", 1_500, 1, 5, headers)


def test_a_record_is_sent_as_it_is() -> None:
    headers = (("a", b"1"), ("a", None))
    (given,) = send(Record("out", b"k", None, 5, 3, headers=headers)).sent
    assert given[:4] == ("out", b"k", None, 3)
    assert given[5] == list(headers)
    (given,) = send(Record("out", b"k", b"v", 5)).sent
    assert given[3] is None, "its key decides"


@pytest.mark.parametrize(
    "record",
    [
        Record("out", b"k", bytes(LIMIT - FRAMING_BYTES), 5),
        Record("out", b"k", b"", 5, headers=(("name", bytes(LIMIT - FRAMING_BYTES)),)),
        Record("compacted", None, b"v", 5),
        Record("out", None, None, 5),
    ],
    ids=["large", "large headers", "compacted without a key", "nothing"],
)
def test_what_a_broker_would_refuse_is_found_before_anything_is_sent(record: RawRecord) -> None:
    with pytest.raises(SendError):
        send(Record("out", b"k", b"v", 5), record)
    assert sent[-1].sent == []


def test_the_largest_record_that_fits_is_sent() -> None:
    assert len(send(Record("out", b"k", bytes(LIMIT - FRAMING_BYTES - 1), 5)).sent) == 1


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ([b"large", b"k"], SendError),
        ([b"at once"], SendError),
        ([b"away", b"k"], FencedError),
        ([b"away", b"large"], SendError),
        ([b"large", b"away"], SendError),
    ],
)
def test_what_is_not_delivered_is_told(keys: list[bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        send(*(Record("out", key, b"v", 5) for key in keys))
