"""One running agent: drivers → batch → outbox → publisher."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from edge.batch import Gathering
from edge.configuration import Configured, EdgeConfiguration
from edge.counters import Counters
from edge.drivers import DriverContext, now_ms
from edge.errors import EdgePermanentError
from edge.intake import Intake, Source
from edge.outbox import Outbox
from edge.publisher import Publisher
from edge.readings import Taken
from edge.writer import Writer
from schemas.wire import OfferedMeter

log = structlog.get_logger()

DRAIN_S = 5.0
"""At a stop, how long to wait for confirmations, and for an outbox that fails."""
_QUEUED = 256
"""What drivers took and the outbox has not: bounded memory while the disk fails. Behind it, drivers wait."""


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


ServeProbes = Callable[[int, CollectorRegistry, Callable[[], list[str]]], Callable[[], None]]
"""Shows metrics, health and readiness on a port, and returns what ends that; how is not the agent's business."""


def run(
    configuration: EdgeConfiguration,
    *,
    until_stored: bool,
    serve_probes: ServeProbes | None = None,
    stopping: Callable[[], None] | None = None,
    counters: Counters | None = None,
    now_ms: Callable[[], int] = now_ms,
) -> int:
    """Run until SIGTERM or SIGINT, or with `until_stored` until finite drivers ended and all is confirmed.

    `stopping` is called at the signal. Returns the exit status: 0, or 1 when a driver failed for good in a run that was
    to end by itself. Raises EdgeError when it cannot begin.
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
    now_ms: Callable[[], int] = now_ms,
) -> int:
    """The same within a program that has an event loop, ended by `stop`."""
    counters = counters or Counters()
    sources = [make_source(configured, configuration, counters, now_ms) for configured in configuration.drivers]
    offers = all_offers(sources)
    outbox = Outbox(
        configuration.outbox.path,
        max_bytes=configuration.outbox.max_size,
        when_full=configuration.outbox.when_full,
        now_ms=now_ms,
    )
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(outbox.close)
        if configuration.metrics_port is not None and serve_probes is not None:
            cleanup.callback(serve_probes(configuration.metrics_port, counters.registry, counters.problems))
        counters.watch(outbox)
        log.info(
            "the agent starts",
            action="agent.started",
            agent=str(configuration.address),
            epoch=outbox.epoch,
            meters=len(offers),
            waiting=outbox.state().waiting,
        )
        agent = _Agent(configuration, outbox=outbox, sources=sources, offers=offers, counters=counters, now_ms=now_ms)
        status = await agent.run(stop, until_stored=until_stored)
        log.info("the agent has stopped", action="agent.stopped", waiting=outbox.state().waiting)
        return status


class _Agent:
    """The stages, put together."""

    def __init__(
        self,
        configuration: EdgeConfiguration,
        *,
        outbox: Outbox,
        sources: Sequence[Source],
        offers: Sequence[OfferedMeter],
        counters: Counters,
        now_ms: Callable[[], int],
    ) -> None:
        self._outbox = outbox
        # None: no more will come.
        self._queue: asyncio.Queue[Taken | None] = asyncio.Queue(_QUEUED)
        self._intakes = [Intake(source, self._queue, counters) for source in sources]
        self._publisher = Publisher(
            configuration=configuration,
            outbox=outbox,
            offers=offers,
            counters=counters,
            version=version("afkobling"),
            now_ms=now_ms,
        )
        self._writer = Writer(
            queue=self._queue,
            gathering=Gathering(
                max_readings=configuration.batch.readings,
                max_age_s=configuration.batch.age / 1000,
                max_bytes=configuration.batch.size,
            ),
            outbox=outbox,
            counters=counters,
            appended=self._publisher.wake,
            now_ms=now_ms,
        )

    async def run(self, stop: asyncio.Event, *, until_stored: bool) -> int:
        """The exit status. A stage that fails has a defect: it ends the others and is raised."""
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publisher.run())
            writing = group.create_task(self._writer.run())
            intakes = [group.create_task(intake.run()) for intake in self._intakes]
            stopped = group.create_task(stop.wait())
            ends: list[asyncio.Task[Any]] = [stopped]
            if until_stored:
                ends.append(group.create_task(self._all_stored(intakes, writing)))
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            ended_by_itself = not stopped.done()
            for end in ends:
                end.cancel()
            await self._finish(intakes, writing, publishing)
        return 1 if ended_by_itself and not all(task.result() for task in intakes) else 0

    async def _all_stored(self, intakes: Sequence[asyncio.Task[bool]], writing: asyncio.Task[None]) -> bool:
        await asyncio.wait(intakes)
        await self._queue.put(None)
        await asyncio.wait([writing])
        await self._publisher.all_stored()
        return True

    async def _finish(
        self, intakes: Sequence[asyncio.Task[bool]], writing: asyncio.Task[None], publishing: asyncio.Task[None]
    ) -> None:
        """In the order of the flow, so that nothing that was taken stays behind."""
        self._writer.stop_trying(after_s=DRAIN_S)
        await asyncio.gather(*(intake.stop() for intake in self._intakes))
        _, stuck = await asyncio.wait(intakes, timeout=DRAIN_S)
        for task in stuck:
            task.cancel()
        if stuck:
            await asyncio.wait(stuck)
        if not writing.done():
            await self._queue.put(None)
            await writing
        await self._publisher.stop(drain_s=DRAIN_S)
        await publishing
