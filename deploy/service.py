"""How a long-running part becomes a process: signals, probes, structured logs."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry

from collector.metrics import ProbeServer


class Service(Protocol):
    """Something that runs until it is told to stop."""

    def run(self) -> None: ...

    def stop(self) -> None: ...

    def problems(self) -> Iterable[str]: ...


def configure_logs() -> None:
    """One JSON object a line on standard error, each with `action`, `level` and `at`."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def serve(service: Service, *, registry: CollectorRegistry, port: int | None) -> None:
    """Run until SIGTERM or SIGINT, with /metrics, /health and /ready on 127.0.0.1:`port` where one is given."""
    configure_logs()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    probes = ProbeServer(port=port, registry=registry, problems=service.problems) if port else None
    if probes:
        probes.start()
    try:
        service.run()
    finally:
        if probes:
            probes.stop()
