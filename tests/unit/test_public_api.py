"""What `from streams import …` gives is a decision, not an accident."""

from __future__ import annotations

import streams

PUBLIC = {
    "DEAD_LETTER",
    "SKIP",
    "STOP",
    "App",
    "BatchContext",
    "CircuitOpenError",
    "Context",
    "Dependency",
    "Failure",
    "FailurePolicy",
    "Inbox",
    "PARK",
    "Retry",
    "Publisher",
    "Record",
    "ReplyTimeoutError",
    "Requester",
    "Store",
    "StreamsError",
    "Table",
    "Topic",
    "TopicPartition",
    "UsageError",
}


def test_the_public_names_are_exactly_these() -> None:
    assert set(streams.__all__) == PUBLIC
    assert len(streams.__all__) == len(PUBLIC)


def test_every_public_name_exists_and_says_what_it_is() -> None:
    for name in PUBLIC:
        assert getattr(streams, name).__doc__, name
