"""A driver that runs while it is looked at, as it does in the agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from edge.drivers import Driver, DriverContext, find_driver
from edge.drivers.contract import deadlines
from edge.drivers.contract.rig import NAME, Rig
from edge.readings import Taken


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a driver that runs has given so far, and how often it said that it could not."""

    driver: Driver
    taken: list[Taken] = field(default_factory=list)
    failures: int = 0
    ended: bool = False
    error: BaseException | None = None

    def values(self) -> dict[str, float]:
        """The last value of each meter."""
        return {reading.meter: reading.value for taken in self.taken for reading in taken.readings}

    def all_values(self) -> set[tuple[str, float]]:
        return {(reading.meter, reading.value) for taken in self.taken for reading in taken.readings}

    def has(self, said: Mapping[str, float]) -> bool:
        """Whether this is the last that it gave."""
        values = self.values()
        return all(values.get(meter) == value for meter, value in said.items())

    async def comes(self, condition: Callable[[], bool], what: str, *, within_s: float) -> bool:
        """Whether it comes about. A driver that raises or ends meanwhile has broken its promise.

        The wait is counted in looks: while the machine holds up both driver and check, none of it passes.
        """
        for _ in range(round(within_s / deadlines.TURN_S)):
            if condition():
                return True
            if self.error is not None:
                raise AssertionError(f"the driver raised {self.error!r} while this was to come: {what}") from self.error
            assert not self.ended, f"`readings` ended while this was to come: {what}"
            await asyncio.sleep(deadlines.TURN_S)
        return condition()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, with a deadline that only a defect reaches."""
        within_s = deadlines.COME_ABOUT_S
        assert await self.comes(condition, what, within_s=within_s), (
            f"this did not come about in {within_s:g} s: {what}"
        )

    async def until_failure(self, of: str) -> None:
        """Wait until it counts a failure from now on."""
        before = self.failures
        await self.until(lambda: self.failures > before, f"a failure counted for {of}")


def make_driver(rig: Rig, *, count_failure: Callable[[], None] = lambda: None) -> Driver:
    """The rig's driver as the agent would make it, not started."""
    settings = dict(rig.settings())
    assert settings.get("name") == NAME, f"a rig's settings have `name: {NAME}`"
    kind = find_driver(str(settings["driver"]))
    context = DriverContext(agent="rig", folder=rig.folder, count_failure=count_failure)
    return kind.create(kind.settings.model_validate(settings), context)


@asynccontextmanager
async def running(rig: Rig, *, keep: bool = True) -> AsyncIterator[Seen]:
    """The rig's driver, started and read, until the block is left; its end is part of the check.

    `keep`: whether what it gave is said to be kept, a little later, and after `stop` too.
    """

    def count() -> None:
        seen.failures += 1

    seen = Seen(driver=make_driver(rig, count_failure=count))
    async with reading(seen, keep=keep):
        yield seen


@asynccontextmanager
async def reading(seen: Seen, *, keep: bool = True) -> AsyncIterator[None]:
    """Start the driver and read it until the block is left; it may have been started and stopped before."""
    waiting: list[Callable[[], None]] = []
    seen.ended = False

    def keep_all() -> None:
        while waiting:
            waiting.pop(0)()

    async def read() -> None:
        await seen.driver.start()
        async for taken in seen.driver.readings():
            seen.taken.append(taken)
            if taken.kept is not None and keep:
                waiting.append(taken.kept)
        seen.ended = True

    async def keep_later() -> None:
        while True:
            await asyncio.sleep(deadlines.TURN_S)
            keep_all()

    def note(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            seen.error = task.exception()

    tasks = [asyncio.create_task(read()), asyncio.create_task(keep_later())]
    for task in tasks:
        task.add_done_callback(note)
    try:
        yield
    except BaseException:
        # What went wrong first is what to tell.
        with suppress(AssertionError):
            await _end(seen, *tasks)
        raise
    await _end(seen, *tasks)
    keep_all()


async def _end(seen: Seen, read: asyncio.Task[None], keep: asyncio.Task[None]) -> None:
    try:
        await stopped(seen.driver)
    finally:
        _, late = await asyncio.wait([read], timeout=deadlines.STOP_S)
        for task in (*late, keep):
            task.cancel()
        await asyncio.wait([read, keep])
    assert not late, f"`readings` did not come to its end within {deadlines.STOP_S:g} s of `stop`"
    if seen.error is not None:
        raise AssertionError(f"the driver raised {seen.error!r}") from seen.error


async def stopped(driver: Driver) -> None:
    """Stop it, and see that this ends well."""
    stop = asyncio.create_task(driver.stop())
    _, late = await asyncio.wait([stop], timeout=deadlines.STOP_S)
    if late:
        stop.cancel()
        await asyncio.wait([stop])
        raise AssertionError(f"`stop` did not come to its end within {deadlines.STOP_S:g} s")
    if error := stop.exception():
        raise AssertionError(f"`stop` raised {error!r}") from error
