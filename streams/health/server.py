"""The HTTP server of a supervisor: `/livez`, `/readyz`, `/healthz`, `/metrics`."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from streams.errors import UsageError
from streams.health.report import Answer, Report

PATIENCE = 5.0  # seconds that a client may take to ask, or to take the answer
METRICS = "/metrics"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """Answers from threads of its own: a client that hangs holds up nobody."""

    def __init__(self, report: Report, host: str, port: int) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            UsageError: the address cannot be had.
        """
        self._server = _listen(report, host, port)
        taken = int(self._server.server_address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{taken}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more; who is being answered is not waited for."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind without asking the name service who this host is, which may take long."""
        TCPServer.server_bind(self)

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that went away."""


def _listen(report: Report, host: str, port: int) -> _Server:
    asked: dict[str, Callable[[], Answer]] = {
        "/livez": report.live,
        "/readyz": report.ready,
        "/healthz": report.health,
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == METRICS:
                self._answer(HTTPStatus.OK, METRICS_TYPE, report.metrics())
            elif path in asked:
                good, content = asked[path]()
                self._tell(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, content)
            else:
                self._tell(HTTPStatus.NOT_FOUND, {"error": f"no such path; there are {', '.join([*asked, METRICS])}"})

        do_HEAD = do_GET  # noqa: N815 - named by the base class

        def _tell(self, status: HTTPStatus, content: dict[str, Any]) -> None:
            self._answer(status, "application/json", json.dumps(content, indent=1).encode() + b"\n")

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing: probes come every few seconds."""

    try:
        return _Server(host, port, Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"the health endpoint cannot listen: {error}",
            where=f"{host}:{port}",
            fix="set health_port to a free port, to 0 for any free one, or to off; and health_host to an own address",
        ) from error
