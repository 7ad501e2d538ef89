"""What a request and its reply carry: who asked, and which of the questions is answered. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from streams.errors import DecodeError
from streams.record import RawRecord, Record
from streams.topic import MOST_NAME_LENGTH

CORRELATION_ID = "streams.correlation.id"
REPLY_TO = "streams.reply.to"
MOST_ID_BYTES = 128

_INSTANCE = re.compile(r"(\d{13})-[0-9a-f]{12}")


class Address(NamedTuple):
    """Where a reply goes: the topic of the instance that asked, and the id of its question."""

    topic: str
    correlation_id: bytes


def reply_topic(requests: str, instance: str) -> str:
    """Name the topic to which the replies for one instance go that asks in a topic."""
    return f"{requests}.replies.{instance}"


def made_at(topic: str, requests: str) -> int | None:
    """Return when a reply topic for requests of a topic was made, in milliseconds; None if it is none."""
    match = _INSTANCE.fullmatch(topic.removeprefix(reply_topic(requests, "")))
    return int(match[1]) if match and topic.startswith(reply_topic(requests, "")) else None


def address_of(request: RawRecord, requests: str) -> Address | None:
    """Read where the reply to a request goes that came in a topic; None if nobody asked for one.

    The name of a topic comes from outside: only one for replies to requests of this very topic is taken.

    Raises:
        DecodeError: the headers name another topic, or no question.
    """
    headers = dict(request.headers)  # of several of a name the last one counts
    if REPLY_TO not in headers:
        return None
    topic = (headers[REPLY_TO] or b"").decode("ascii", "replace")
    if len(topic) > MOST_NAME_LENGTH or made_at(topic, requests) is None:
        raise DecodeError("reply-to", f"{topic[:MOST_NAME_LENGTH]!r} is no topic for replies to {requests}")
    question = headers.get(CORRELATION_ID)
    if not question or len(question) > MOST_ID_BYTES:
        raise DecodeError("correlation-id", f"a request has one of 1 to {MOST_ID_BYTES} bytes")
    return Address(topic, question)


def checked(batch: Iterable[RawRecord], values: Iterable[Any], requests: str) -> list[Any]:
    """Put errors in the place of requests that may not be answered."""
    return [_refusal(record, requests) or value for record, value in zip(batch, values, strict=True)]


def replies(batch: Sequence[RawRecord], frames: Sequence[bytes], requests: str) -> Iterator[RawRecord]:
    """Address a frame to whoever sent its request; what nobody asked for goes nowhere."""
    for request, frame in zip(batch, frames, strict=True):
        address = address_of(request, requests)
        if address is not None:
            headers = ((CORRELATION_ID, address.correlation_id),)
            yield Record(address.topic, None, frame, request.timestamp_ms, 0, headers=headers)


def request_headers(address: Address) -> tuple[tuple[str, bytes | None], ...]:
    """Return the headers of a request."""
    return (REPLY_TO, address.topic.encode()), (CORRELATION_ID, address.correlation_id)


def _refusal(record: RawRecord, requests: str) -> DecodeError | None:
    try:
        address_of(record, requests)
    except DecodeError as error:
        return error
    return None
