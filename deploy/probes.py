"""What every process shows of itself, on the loopback interface as a rule: /metrics, /health and /ready."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from deploy.secrets import without_secrets
from schemas.errors import PermanentError


class PortTakenError(PermanentError):
    """Something else listens on the port for metrics."""


LOOPBACK = "127.0.0.1"
Page = Callable[[str, str], tuple[str, bytes]]
"""From what stands after the question mark, and the languages that are asked for, to content type and content."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: str,
        port: int,
        registry: CollectorRegistry,
        problems: Callable[[], Iterable[str]],
        pages: Mapping[str, Page],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)
        self.registry = registry
        self.problems = problems
        self.pages = pages

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked may be gone before the answer is: no matter, and no traceback in the log."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10
    """Seconds. Browsers connect in advance and say nothing, and a phone walks away: its thread is not kept for that."""

    def do_GET(self) -> None:
        match self.path:
            case "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
            case "/health":
                self._answer(200, "application/json", b'{"status": "ok"}')
            case "/ready":
                found = [without_secrets(problem) for problem in self.server.problems()]
                body = json.dumps({"ready": not found, "problems": found}).encode()
                self._answer(503 if found else 200, "application/json", body)
            case path if (page := self.server.pages.get(path.partition("?")[0])) is not None:
                self._answer(200, *page(path.partition("?")[2], self.headers.get("Accept-Language", "")))
            case _:
                known = ", ".join(("/metrics", "/health", "/ready", *self.server.pages))
                self._answer(404, "text/plain", known.encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in http.server
        """Probes come every few seconds; they are not worth a line each."""


def serve_probes(
    port: int,
    registry: CollectorRegistry,
    problems: Callable[[], Iterable[str]],
    *,
    address: str = LOOPBACK,
    pages: Mapping[str, Page] | None = None,
) -> Callable[[], None]:
    """Answer on `address`:`port` from a thread of its own; returns what ends that. Raises PortTakenError.

    `pages` are further ones, by path. /health says that this process lives; /ready says 503 and why, in plain words,
    while `problems` finds any.
    """
    try:
        server = _Server(address, port, registry, problems, pages or {})
    except OSError as error:
        raise PortTakenError(
            f"the port for metrics, {port}, cannot be used: {error.strerror}; choose another or leave it out"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
