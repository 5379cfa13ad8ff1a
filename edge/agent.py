"""One running agent: drivers → batch → outbox → publisher."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import structlog
from prometheus_client import CollectorRegistry

from edge.batch import Gathering
from edge.care.care import Care
from edge.condition import Condition
from edge.configuration import Configured, EdgeConfiguration
from edge.counters import Counters
from edge.drivers import DriverContext, now_ms
from edge.errors import EdgePermanentError
from edge.intake import Intake, Source
from edge.local_status import LocalStatus
from edge.outbox import Outbox
from edge.publisher import Publisher
from edge.readings import Taken
from edge.renewal import Renewal
from edge.status_socket import telling
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
        agent = _Agent(
            configuration,
            outbox=outbox,
            sources=sources,
            offers=offers,
            counters=counters,
            condition=condition,
            care=self._care,
            now_ms=now_ms,
        )
        status = await agent.run(stop, until_stored=until_stored)
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
        condition: Condition,
        care: Care | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._care = care
        # None: no more will come.
        self._queue: asyncio.Queue[Taken | None] = asyncio.Queue(_QUEUED)
        self._intakes = [Intake(source, self._queue, counters) for source in sources]
        self._publisher = Publisher(
            configuration=configuration,
            outbox=outbox,
            offers=offers,
            counters=counters,
            condition=condition,
            version=version("afkobling"),
            now_ms=now_ms,
            hear_configuration=None if care is None else care.hear,
        )
        self._renewal = Renewal(configuration, counters, renewed=self._publisher.reconnect)
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

    async def run(self, stop: asyncio.Event, *, until_stored: bool) -> int | None:
        """The exit status, or None when the stages are to begin anew.

        A stage that fails has a defect: it ends the others and is raised.
        """
        try:
            return await self._run(stop, until_stored=until_stored)
        except BaseException:
            await asyncio.gather(*(intake.stop() for intake in self._intakes))
            raise

    async def _run(self, stop: asyncio.Event, *, until_stored: bool) -> int | None:
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publisher.run())
            writing = group.create_task(self._writer.run())
            intakes = [group.create_task(intake.run()) for intake in self._intakes]
            renewing = group.create_task(self._renewal.run())
            stopped = group.create_task(stop.wait())
            ends: list[asyncio.Task[Any]] = [stopped]
            caring = None if self._care is None else group.create_task(self._care.run())
            if caring is not None:
                ends.append(caring)
            if until_stored:
                ends.append(group.create_task(self._all_stored(intakes, writing)))
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            was_stopped = stopped.done()
            begins_anew = not was_stopped and caring is not None and caring.done()
            for end in (*ends[1:], renewing):
                end.cancel()
            ending = stop if begins_anew else asyncio.Event()
            if not begins_anew:
                ending.set()
            await self._finish(intakes, writing, publishing, ending)
            stopped.cancel()
        if begins_anew and not stop.is_set():
            return None
        return 0 if was_stopped or begins_anew or all(task.result() for task in intakes) else 1

    async def _all_stored(self, intakes: Sequence[asyncio.Task[bool]], writing: asyncio.Task[None]) -> bool:
        await asyncio.wait(intakes)
        await self._queue.put(None)
        await asyncio.wait([writing])
        await self._publisher.all_stored()
        return True

    async def _finish(
        self,
        intakes: Sequence[asyncio.Task[bool]],
        writing: asyncio.Task[None],
        publishing: asyncio.Task[None],
        ending: asyncio.Event,
    ) -> None:
        """In the order of the flow, so that nothing that was taken stays behind.

        Only when the agent is `ending` does it give up what the outbox does not take: who begins anew has time.
        """
        giving_up = asyncio.create_task(self._give_up_at(ending))
        await asyncio.gather(*(intake.stop() for intake in self._intakes))
        while True:
            _, stuck = await asyncio.wait(intakes, timeout=DRAIN_S)
            if not stuck or ending.is_set() or not self._queue.full():
                break
        for task in stuck:
            task.cancel()
        if stuck:
            await asyncio.wait(stuck)
        if not writing.done():
            await self._queue.put(None)
            await writing
        giving_up.cancel()
        await self._publisher.stop(drain_s=DRAIN_S if ending.is_set() else 0)
        await publishing

    async def _give_up_at(self, ending: asyncio.Event) -> None:
        await ending.wait()
        self._writer.stop_trying(after_s=DRAIN_S)
