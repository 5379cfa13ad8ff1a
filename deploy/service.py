"""How a long-running part becomes a process: signals, probes, structured logs, and an end within a deadline."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import structlog
from prometheus_client import CollectorRegistry

from deploy.logs import configure_logs
from deploy.probes import serve_probes
from schemas.errors import AfkoblingError, PermanentError

_LOG = structlog.get_logger(__name__)
_VARIABLE = "AFKOBLING_STOP_SECONDS"
STOP_SECONDS = 25.0
"""Less than the half minute that Kubernetes gives; the ninety seconds of systemd leave room."""
_LONGEST = 3600.0


class Service(Protocol):
    """Something that runs until it is told to stop."""

    def run(self) -> None: ...

    def stop(self) -> None: ...

    def problems(self) -> Iterable[str]: ...


@runtime_checkable
class Unfinished(Protocol):
    """A service that can say what it has at hand."""

    def unfinished(self) -> Iterable[str]: ...


class StopSecondsError(PermanentError):
    """The setting is no number of seconds."""


def stop_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How long a process may take to end once it is told to. Raises StopSecondsError."""
    text = environment.get(_VARIABLE, "")
    if not text.strip():
        return STOP_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds <= _LONGEST:
        raise StopSecondsError(f"setting {_VARIABLE}: {text!r} is no number of seconds from 0 to {_LONGEST:g}")
    return seconds


class Deadline:
    """Ends the process, loudly, when it has not come to its end in good order so long after it was told to stop."""

    def __init__(self, seconds: float, unfinished: Callable[[], Iterable[str]]) -> None:
        self._seconds = seconds
        self._unfinished = unfinished
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """The clock runs from now on. Safe twice: the first counts."""
        if self._timer is not None:
            return
        self._timer = threading.Timer(self._seconds, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        _LOG.info("told to stop; what is at hand is finished first", action="process.stopping", within_s=self._seconds)

    def __enter__(self) -> None:
        """What is within has to end."""

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        _LOG.critical(
            "not finished in time: the process ends as if it were killed. Nothing is lost by that: what was not "
            "confirmed comes again, what was not committed is done again",
            action="process.overdue",
            after_s=self._seconds,
            unfinished=list(self._unfinished()),
        )
        os._exit(1)


@contextmanager
def logging_failures() -> Iterator[None]:
    """Off a terminal, what keeps a process from its work is a line of its log as well, and it ends with status 1."""
    try:
        yield
    except AfkoblingError as error:
        if sys.stderr.isatty():
            raise
        _LOG.critical(str(error), action="process.failed")
        raise SystemExit(1) from None


def serve(service: Service, *, registry: CollectorRegistry, port: int | None, part: str | None = None) -> None:
    """Run until SIGTERM or SIGINT, with /metrics, /health and /ready on 127.0.0.1:`port` where one is given.

    Told to stop, it finishes what is at hand, within AFKOBLING_STOP_SECONDS. A second signal changes nothing.
    Raises AfkoblingError as the service does; off a terminal that is logged, and the process ends with status 1.
    """
    unfinished = service.unfinished if isinstance(service, Unfinished) else service.problems
    deadline = Deadline(stop_seconds(), unfinished)
    configure_logs(part)

    def stop() -> None:
        deadline.begin()
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        # From a thread: the signal may come while ours holds the very lock that `stop` needs.
        signal.signal(number, lambda *_: threading.Thread(target=stop, name="stop").start())
    _LOG.info("started", action="process.started", version=version("afkobling"), pid=os.getpid())
    with logging_failures(), deadline, ExitStack() as cleanup:
        if port:
            cleanup.callback(serve_probes(port, registry, service.problems))
        service.run()
    _LOG.info("stopped in good order", action="process.stopped")
