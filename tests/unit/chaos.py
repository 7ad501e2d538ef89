"""Calls of the clients that fail, in a rig, and a registry that nobody asks."""

from __future__ import annotations

from streams.errors import AbortedError

ABORTABLE = frozenset({"send", "send_tracked", "flush", "commit"})  # calls that may say: abort


class Chaos:
    """Lets the n-th call of a client from now fail."""

    def __init__(self) -> None:
        self._armed: list[tuple[int, BaseException]] = []
        self._calls = 0

    def arm(self, calls: int, failure: BaseException) -> None:
        """Fail once `calls` more calls were made."""
        self._armed.append((self._calls + calls, failure))

    def disarm(self) -> None:
        """Let everything work from now on."""
        self._armed.clear()

    def call(self, name: str) -> None:
        """Note a call, and fail it if it is its turn."""
        self._calls += 1
        for armed in self._armed:
            if self._calls > armed[0] and (name in ABORTABLE or not isinstance(armed[1], AbortedError)):
                self._armed.remove(armed)
                raise armed[1]


class NoLookup:
    """For workers whose codecs know every schema."""

    def request(self, schema_id: int) -> None:
        raise AssertionError(f"schema {schema_id} was asked for")

    def is_waiting(self, schema_id: int) -> bool:
        raise AssertionError(f"schema {schema_id} was asked for")

    def poll(self) -> None:
        """There is nothing to answer."""
