"""How every process logs: lines for a person at a terminal, else one JSON object a line, on standard error.

Each has a stable `action`, a `level`, `at` in UTC and the `part` that says it. What libraries log (uvicorn, asyncio)
comes in the same form, from warnings on, and so does what nobody caught. A warning that is repeated is told once a
minute.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from deploy.log_stream import enduring
from deploy.secrets import without_secrets_in

_LIBRARY = "library."
_SELDOM_S = 60.0
_MOST_REMEMBERED = 1_000


def configure_logs(part: str | None = None) -> None:
    """Set it up for this process; call it once, before anything logs."""
    to_person = sys.stderr.isatty()
    about: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _Part(part),
        _Seldom(),
    ]
    shown: list[Processor] = [
        *([] if to_person else [structlog.processors.format_exc_info]),
        _hide_secrets,
        structlog.dev.ConsoleRenderer(timestamp_key="at")
        if to_person
        else structlog.processors.JSONRenderer(default=str),
    ]
    structlog.configure(
        processors=[*about, *shown],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(enduring(sys.stderr)),
        cache_logger_on_first_use=True,
    )
    _take_in_libraries(about, shown)
    if not to_person:
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda found: _log_uncaught(
            found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
        )


class _Part:
    """Says which part of Afkobling it is, whichever thread says it."""

    def __init__(self, part: str | None) -> None:
        self._part = part

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if self._part is not None:
            event.setdefault("part", self._part)
        return event


class _Seldom:
    """Lets the same warning through once a minute, with how often it came: an outage of hours is no flood of lines.

    What differs in more than how long is waited is another warning.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if event.get("level") != "warning":
            return event
        key = repr(
            sorted((name, str(value)) for name, value in event.items() if name not in {"at", "wait_s", "_record"})
        )
        with self._mutex:
            now = self._clock()
            since, times = self._said.get(key, (float("-inf"), 0))
            if now - since < _SELDOM_S:
                self._said[key] = since, times + 1
                raise structlog.DropEvent
            if len(self._said) >= _MOST_REMEMBERED:
                self._said = {one: kept for one, kept in self._said.items() if now - kept[0] < _SELDOM_S}
            self._said[key] = now, 0
        return {**event, "repeated": times} if times else event


def _hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # What stays a tuple is the exception itself, for a person at a terminal.
    return {key: value if key == "exc_info" else without_secrets_in(value, key) for key, value in event.items()}


def _take_in_libraries(about: list[Processor], shown: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*about, _name_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _name_library(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord | None = event.get("_record")
    event.setdefault("action", _LIBRARY + (record.name.partition(".")[0] if record is not None else "unknown"))
    return event


def _log_uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
        return
    found: Any = (kind, error, where)
    structlog.get_logger(__name__).critical(
        "a defect; please report it with this line", action="process.defect", exc_info=found
    )
