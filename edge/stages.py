"""The stages of an agent with one configuration, put together: from their start to an end in the order of the flow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from edge.batch import Gathering
from edge.care.care import Care
from edge.condition import Condition
from edge.configuration import EdgeConfiguration
from edge.counters import Counters
from edge.intake import Intake, Source
from edge.outbox import Outbox
from edge.publisher import Publisher
from edge.readings import Taken
from edge.renewal import Renewal
from edge.writer import Writer
from schemas.wire import OfferedMeter

DRAIN_S = 5.0
"""At a stop, how long to wait for confirmations, and for an outbox that fails."""
_QUEUED = 256
"""What drivers took and the outbox has not: bounded memory while the disk fails. Behind it, drivers wait."""


class Stages:
    """Drivers, writer, publisher, renewal and care; `run` once."""

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
