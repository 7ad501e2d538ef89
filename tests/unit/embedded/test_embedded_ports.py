"""Ports of a server that has just ended."""

from __future__ import annotations

import socket
import threading

import pytest

from streams.embedded import ports
from streams.embedded.ports import await_free, free_ports, is_free


def test_a_port_that_is_given_back_in_a_moment_is_waited_for() -> None:
    port = free_ports()
    holder = socket.create_server(("127.0.0.1", port))
    assert not is_free(port)
    threading.Timer(0.2, holder.close).start()

    await_free([port])

    assert is_free(port)


def test_a_port_that_stays_taken_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RELEASED_WITHIN", 0.1)
    with socket.create_server(("127.0.0.1", free_ports())) as holder:
        await_free([holder.getsockname()[1]])
        assert not is_free(holder.getsockname()[1])
