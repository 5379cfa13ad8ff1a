"""How every process logs: lines for a person at a terminal, else one JSON object a line, on standard error.

Each has a stable `action`, a `level` and `at` in UTC.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs() -> None:
    """Set it up for this process; call it once, before anything logs."""
    to_person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            *([] if to_person else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer(timestamp_key="at") if to_person else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
