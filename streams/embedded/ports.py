"""Which ports of the loopback interface are free."""

import secrets
import socket
import time
from collections.abc import Iterable

from streams.embedded.addresses import HOST
from streams.errors import StreamsError, UsageError

PORTS = 3
LAST_PORT = 65_535
# Below the range from which the system takes ports for outgoing connections: those would be in the way.
THROW_AWAY_PORTS = range(20_000, 32_000)
ATTEMPTS = 50
RELEASED_WITHIN = 10.0  # seconds


def check_first_port(port: int) -> None:
    """Raise UsageError unless the port and the two after it exist."""
    if not 0 < port <= LAST_PORT - PORTS + 1:
        raise UsageError(
            f"port {port} cannot be the first of {PORTS}", fix=f"choose one from 1 to {LAST_PORT - PORTS + 1}"
        )


def check_free(server: str, ports: Iterable[int]) -> None:
    """Raise UsageError, with the way out, if another program has one of the ports."""
    for port in ports:
        if not is_free(port):
            raise UsageError(
                f"port {port}, for {server}, is taken by another program",
                where=f"{HOST}:{port}",
                fix="stop that program, or choose other ports: streams up --port P takes P, P+1 and P+2",
            )


def await_free(ports: Iterable[int]) -> None:
    """Wait, for a while, for ports of a process that is gone: the system takes them back a moment after its end."""
    deadline = time.monotonic() + RELEASED_WITHIN
    while not all(map(is_free, ports)) and time.monotonic() < deadline:
        time.sleep(0.05)


def free_ports() -> int:
    """Return a random port that is free together with the two after it."""
    for _ in range(ATTEMPTS):
        port = secrets.choice(THROW_AWAY_PORTS)
        if all(is_free(port + offset) for offset in range(PORTS)):
            return port
    raise StreamsError(f"found no free ports from {THROW_AWAY_PORTS.start} to {THROW_AWAY_PORTS.stop}")


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As servers do: a port with closing connections is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
