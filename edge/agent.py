"""One running agent: drivers → batch → outbox → publisher."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry

from edge.care.care import Care
from edge.condition import Condition
from edge.configuration import Configured, EdgeConfiguration
from edge.counters import Counters
from edge.drivers import DriverContext, now_ms
from edge.errors import EdgePermanentError
from edge.intake import Source
from edge.local_status import LocalStatus
from edge.outbox import Outbox
from edge.stages import Stages
from edge.status_socket import telling
from schemas.wire import OfferedMeter

log = structlog.get_logger()


def make_source(
    configured: Configured,
    configuration: EdgeConfiguration,
    counters: Counters,
    now_ms: Callable[[], int] = now_ms,
) -> Source:
    """A configured driver, not started. Raises EdgePermanentError, ConfigurationError when it cannot be made."""
    name = configured.settings.name
    context = DriverContext(
        agent=configuration.address.agent,
        folder=configuration.folder,
        now_ms=now_ms,
        count_failure=partial(counters.note_driver_failure, name),
    )
    return Source(name=name, driver=configured.kind.create(configured.settings, context))


def all_offers(sources: Sequence[Source]) -> list[OfferedMeter]:
    """The meters of all drivers. Raises EdgePermanentError when two drivers offer the same."""
    offers = [meter for source in sources for meter in source.driver.offers()]
    doubled = [key for key, count in Counter(meter.meter for meter in offers).items() if count > 1]
    if doubled:
        drivers = sorted({str(meter.driver) for meter in offers if meter.meter in doubled})
        raise EdgePermanentError(
            f"{', '.join(doubled)}: offered twice (drivers {', '.join(drivers)}); give each meter a key of its own"
        )
    return offers


class ServeProbes(Protocol):
    """Shows metrics, health, readiness and status on a port, and returns what ends that; how is not our business."""

    def __call__(
        self,
        port: int,
        registry: CollectorRegistry,
        problems: Callable[[], list[str]],
        *,
        address: str,
        status: Callable[[], LocalStatus],
    ) -> Callable[[], None]: ...


def run(
    configuration: EdgeConfiguration,
    *,
    until_stored: bool,
    serve_probes: ServeProbes | None = None,
    stopping: Callable[[], None] | None = None,
    counters: Counters | None = None,
    care: Care | None = None,
    now_ms: Callable[[], int] = now_ms,
) -> int:
    """Run until SIGTERM or SIGINT, or with `until_stored` until finite drivers ended and all is confirmed.

    With `care`, which gave the configuration, others may be sent. `stopping` is called at the signal. Returns the exit
    status: 0, or 1 when a driver failed for good in a run that was to end by itself. Raises EdgeError when it cannot
    begin.
    """

    async def run_with_signals() -> int:
        stop = asyncio.Event()

        def begin_to_stop() -> None:
            if stopping is not None:
                stopping()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, begin_to_stop)
        return await run_agent(
            configuration,
            stop=stop,
            until_stored=until_stored,
            serve_probes=serve_probes,
            counters=counters,
            care=care,
            now_ms=now_ms,
        )

    return asyncio.run(run_with_signals())


async def run_agent(
    configuration: EdgeConfiguration,
    *,
    stop: asyncio.Event,
    until_stored: bool = False,
    serve_probes: ServeProbes | None = None,
    counters: Counters | None = None,
    care: Care | None = None,
    now_ms: Callable[[], int] = now_ms,
) -> int:
    """The same within a program that has an event loop, ended by `stop`."""
    process = _Process(counters or Counters(), care, serve_probes=serve_probes, now_ms=now_ms)
    async with process:
        while True:
            try:
                status = await process.run(configuration, stop, until_stored=until_stored)
            except Exception as error:
                if care is None or not await asyncio.to_thread(care.has_fallen, error):
                    raise
                status = None
            if status is not None:
                return status
            assert care is not None  # noqa: S101 - nobody else asks to begin anew
            configuration = await asyncio.to_thread(care.load)


class _Process:
    """What outlasts a configuration: outbox, counters, and what tells of them. Opened with the first one."""

    def __init__(
        self,
        counters: Counters,
        care: Care | None,
        *,
        serve_probes: ServeProbes | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._counters = counters
        self._care = care
        self._serve_probes = serve_probes
        self._now_ms = now_ms
        self._open = contextlib.AsyncExitStack()
        self._outbox: Outbox | None = None
        self._condition: Condition | None = None

    async def __aenter__(self) -> None:
        """Nothing is open yet: a configuration that can't be run with opens nothing."""

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def run(self, configuration: EdgeConfiguration, stop: asyncio.Event, *, until_stored: bool) -> int | None:
        """The exit status, or None when the stages are to begin anew with another configuration."""
        counters, now_ms = self._counters, self._now_ms
        sources = [make_source(configured, configuration, counters, now_ms) for configured in configuration.drivers]
        offers = all_offers(sources)
        outbox, condition = await self._opened(configuration)
        outbox.limit(max_bytes=configuration.outbox.max_size, when_full=configuration.outbox.when_full)
        counters.watch(outbox)
        counters.begin_anew()
        condition.begin(configuration, offers)
        if self._care is not None:
            self._care.begin(configuration, offers, counters.last, outbox)
        log.info(
            "the agent starts",
            action="agent.started",
            agent=str(configuration.address),
            epoch=outbox.epoch,
            meters=len(offers),
            waiting=outbox.state().waiting,
        )
        stages = Stages(
            configuration,
            outbox=outbox,
            sources=sources,
            offers=offers,
            counters=counters,
            condition=condition,
            care=self._care,
            now_ms=now_ms,
        )
        status = await stages.run(stop, until_stored=until_stored)
        log.info("the agent has stopped", action="agent.stopped", waiting=outbox.state().waiting)
        return status

    async def _opened(self, configuration: EdgeConfiguration) -> tuple[Outbox, Condition]:
        if self._outbox is not None and self._condition is not None:
            return self._outbox, self._condition
        self._outbox = outbox = Outbox(
            configuration.outbox.path,
            max_bytes=configuration.outbox.max_size,
            when_full=configuration.outbox.when_full,
            now_ms=self._now_ms,
        )
        self._open.callback(outbox.close)
        self._condition = condition = Condition(
            outbox=outbox,
            counters=self._counters,
            version=version("afkobling"),
            now_ms=self._now_ms,
            told=(lambda: None) if self._care is None else self._care.told,
        )
        condition.begin(configuration, ())
        if configuration.metrics_port is not None and self._serve_probes is not None:
            end = self._serve_probes(
                configuration.metrics_port,
                self._counters.registry,
                condition.problems,
                address=configuration.metrics_address,
                status=condition.local_status,
            )
            self._open.callback(end)
        await self._open.enter_async_context(telling(configuration.outbox.path, condition.local_status))
        return outbox, condition
