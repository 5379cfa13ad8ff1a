"""How a long-running part becomes a process: signals, probes, structured logs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Protocol

from prometheus_client import CollectorRegistry

from deploy.logs import configure_logs
from deploy.probes import serve_probes


class Service(Protocol):
    """Something that runs until it is told to stop."""

    def run(self) -> None: ...

    def stop(self) -> None: ...

    def problems(self) -> Iterable[str]: ...


def serve(service: Service, *, registry: CollectorRegistry, port: int | None) -> None:
    """Run until SIGTERM or SIGINT, with /metrics, /health and /ready on 127.0.0.1:`port` where one is given."""
    configure_logs()
    for number in (signal.SIGTERM, signal.SIGINT):
        # From a thread: the signal may come while ours holds the very lock that `stop` needs.
        signal.signal(number, lambda *_: threading.Thread(target=service.stop).start())
    with ExitStack() as cleanup:
        if port:
            cleanup.callback(serve_probes(port, registry, service.problems))
        service.run()
