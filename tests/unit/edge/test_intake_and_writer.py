"""Between drivers and outbox: a bad driver harms nobody, a bad disk loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from edge.backoff import Backoff
from edge.batch import Draft, Gathering
from edge.counters import Counters
from edge.errors import EdgePermanentError, OutboxUnavailableError
from edge.intake import Intake, Source
from edge.notices import Seldom
from edge.outbox import Outbox, WhenFull
from edge.readings import Reading, Taken
from edge.writer import Writer
from schemas.wire import OfferedMeter, Readings


def taken(*values: float) -> Taken:
    return Taken(readings=[Reading(meter="oven", at_ms=1_000, value=value, unit="kWh") for value in values])


class Scripted:
    """Yields what it is given; an exception is raised in passing, once."""

    def __init__(self, *script: Taken | Exception, stop_error: Exception | None = None) -> None:
        self.script = list(script)
        self.starts = 0
        self._stop_error = stop_error

    def offers(self) -> Sequence[OfferedMeter]:
        return []

    async def start(self) -> None:
        self.starts += 1

    async def readings(self) -> AsyncIterator[Taken]:
        while self.script:
            one = self.script.pop(0)
            if isinstance(one, Exception):
                raise one
            yield one

    async def stop(self) -> None:
        if self._stop_error:
            raise self._stop_error


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.backoff.Backoff.next_s", lambda _self: 0.001)


class TestIntake:
    async def run(self, driver: Scripted) -> tuple[bool, list[Taken | None], Counters]:
        queue: asyncio.Queue[Taken | None] = asyncio.Queue()
        counters = Counters()
        ended = await Intake(Source(name="d", driver=driver), queue, counters).run()
        return ended, [queue.get_nowait() for _ in range(queue.qsize())], counters

    async def test_a_driver_that_fails_is_started_again(self) -> None:
        driver = Scripted(taken(1), ValueError("a defect"), taken(2), stop_error=OSError("busy"))
        ended, found, counters = await self.run(driver)
        assert ended
        assert driver.starts == 2
        assert found == [taken(1), taken(2)]
        assert counters.registry.get_sample_value("afkobling_edge_driver_failures_total", {"driver": "d"}) == 1

    async def test_one_that_cancels_itself_is_started_again(self) -> None:
        class Cancelled(Scripted):
            async def readings(self) -> AsyncIterator[Taken]:
                if self.starts == 1:
                    raise asyncio.CancelledError
                async for one in super().readings():
                    yield one

        ended, found, counters = await self.run(Cancelled(taken(1)))
        assert (ended, found) == (True, [taken(1)])
        assert counters.registry.get_sample_value("afkobling_edge_driver_failures_total", {"driver": "d"}) == 1

    async def test_one_that_fails_when_told_that_it_is_kept_harms_nobody(self) -> None:
        def fail() -> None:
            raise ValueError("a defect")

        _, (found,), counters = await self.run(Scripted(Taken(kept=fail)))
        assert found is not None
        assert found.kept is not None
        found.kept()
        assert counters.registry.get_sample_value("afkobling_edge_driver_failures_total", {"driver": "d"}) == 1

    async def test_a_stop_before_it_ran_is_not_forgotten(self) -> None:
        driver = Scripted(taken(1))
        intake = Intake(Source(name="d", driver=driver), asyncio.Queue(), Counters())
        await intake.stop()
        assert await intake.run()
        assert driver.starts == 0

    async def test_one_that_fails_for_good_is_not(self) -> None:
        driver = Scripted(taken(1), EdgePermanentError("no such file"), taken(2))
        ended, found, _ = await self.run(driver)
        assert (ended, driver.starts, found) == (False, 1, [taken(1)])

    async def test_unfit_readings_are_refused_and_counted(self) -> None:
        _, found, counters = await self.run(Scripted(taken(1, float("nan"), 2, float("inf"))))
        assert found == [taken(1, 2)]
        assert counters.registry.get_sample_value("afkobling_edge_readings_refused_total", {"driver": "d"}) == 2
        assert counters.registry.get_sample_value("afkobling_edge_readings_taken_total", {"driver": "d"}) == 2


class FailingOutbox(Outbox):
    """The disk is full for the first few appends."""

    failures = 3

    def append(self, drafts: Sequence[Draft]) -> list[int]:
        if self.failures:
            self.failures -= 1
            raise OutboxUnavailableError("the disk is full")
        return super().append(drafts)


class TestWriter:
    def make(self, folder: Path) -> tuple[Writer, FailingOutbox, asyncio.Queue[Taken | None], Counters]:
        outbox = FailingOutbox(
            folder / "outbox.sqlite", max_bytes=10**6, when_full=WhenFull.DROP_OLDEST, now_ms=lambda: 0
        )
        queue: asyncio.Queue[Taken | None] = asyncio.Queue(4)
        counters = Counters()
        writer = Writer(
            queue=queue,
            gathering=Gathering(max_readings=2, max_age_s=0.01, max_bytes=10_000),
            outbox=outbox,
            counters=counters,
            appended=lambda: None,
            now_ms=lambda: 0,
        )
        return writer, outbox, queue, counters

    def values(self, outbox: Outbox) -> list[float]:
        window = outbox.window(0, 1_000)
        return [value for waiting in window for value in Readings.model_validate_json(waiting.payload).value]

    async def test_a_disk_that_was_full_costs_nothing(self, tmp_path: Path) -> None:
        writer, outbox, queue, counters = self.make(tmp_path)
        running = asyncio.create_task(writer.run())
        for value in range(20):
            await queue.put(taken(value))
        await queue.put(None)
        await running
        assert self.values(outbox) == list(range(20))
        assert counters.registry.get_sample_value("afkobling_edge_outbox_failures_total") == 3
        outbox.close()

    async def test_age_flushes_a_batch_that_is_not_full(self, tmp_path: Path) -> None:
        writer, outbox, queue, _ = self.make(tmp_path)
        outbox.failures = 0
        running = asyncio.create_task(writer.run())
        await queue.put(taken(1))
        while not outbox.state().last_seq:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        await queue.put(None)
        await running
        outbox.close()

    async def test_at_a_stop_it_tries_no_longer_than_it_may(self, tmp_path: Path) -> None:
        writer, outbox, queue, _ = self.make(tmp_path)
        outbox.failures = 10**9
        await queue.put(taken(1))
        await queue.put(None)
        writer.stop_trying(after_s=0.05)
        async with asyncio.timeout(60):
            await writer.run()
        assert outbox.state().last_seq == 0
        outbox.close()


def test_seldom_says_it_once_a_while() -> None:
    now = [0.0]
    seldom = Seldom(every_s=60, clock=lambda: now[0])
    assert seldom.due("a")
    assert not seldom.due("a")
    assert seldom.due("b")
    now[0] = 60
    assert seldom.due("a")
    assert seldom.forget("a")
    assert not seldom.forget("a")
    assert seldom.due("a")


def test_waits_grow_to_the_cap_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    backoff = Backoff(initial_s=1, cap_s=30)
    waits = [backoff.next_s() for _ in range(12)]
    for wait, least in zip(waits, (1, 2, 4, 8, 16, *[30] * 7), strict=True):
        assert least <= wait <= least + 1
    backoff.reset()
    assert backoff.next_s() <= 2
