"""What the collector and the roll-up count, for Prometheus; and the small server that shows it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_COMMIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class CollectorMetrics:
    """Counters of one collector."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter("afkobling_collector_messages", "Messages committed", registry=self.registry)
        self.redelivered = Counter(
            "afkobling_collector_redelivered", "Messages that had been committed before", registry=self.registry
        )
        self.stored = Counter("afkobling_collector_readings_stored", "Readings stored", registry=self.registry)
        self.repeated = Counter(
            "afkobling_collector_readings_repeated", "Readings that were stored already", registry=self.registry
        )
        self.late = Counter(
            "afkobling_collector_readings_late", "Readings older than the last closed quarter", registry=self.registry
        )
        self.quarantined = Counter(
            "afkobling_collector_quarantined", "Readings or messages in quarantine", ["reason"], registry=self.registry
        )
        self.commit_seconds = Histogram(
            "afkobling_collector_commit_seconds",
            "Time of one transaction",
            buckets=_COMMIT_SECONDS,
            registry=self.registry,
        )
        self.retries = Counter(
            "afkobling_collector_retries", "Batches tried again as the database was away", registry=self.registry
        )
        self.buffered = Gauge(
            "afkobling_collector_buffered_messages", "Messages waiting to be written", registry=self.registry
        )


class RollupMetrics:
    """Counters of one roll-up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.quarters = Counter("afkobling_rollup_quarters_written", "Rows of consumption", registry=self.registry)
        self.recomputed = Counter(
            "afkobling_rollup_late_recomputed", "Stretches recomputed for late readings", registry=self.registry
        )
        self.closed_to = Gauge(
            "afkobling_rollup_closed_to_seconds", "Unix time up to which quarters are closed", registry=self.registry
        )
        self.failures = Counter("afkobling_rollup_failures", "Steps tried again", registry=self.registry)


class ProbeServer:
    """Serves /metrics, /health (this process lives) and /ready (its peers are there) on the loopback interface."""

    def __init__(self, *, port: int, registry: CollectorRegistry, problems: Callable[[], Iterable[str]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                match self.path:
                    case "/metrics":
                        self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                    case "/health":
                        self._answer(200, "application/json", b'{"status": "ok"}')
                    case "/ready":
                        found = list(problems())
                        body = json.dumps({"ready": not found, "problems": found}).encode()
                        self._answer(503 if found else 200, "application/json", body)
                    case _:
                        self._answer(404, "text/plain", b"/metrics, /health or /ready")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in http.server
                """Probes come every few seconds; they are not worth a line each."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
