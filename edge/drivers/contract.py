"""The suite that every driver passes, ours and those of others: one check a promise of `edge.drivers.Driver`.

A driver's tests give a `Rig`: the driver's settings, and a device that the checks can take away, silence or drive mad.
A device that doesn't exist will do, as long as it speaks over the real transport. With pytest-asyncio:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
    async def test_contract(check: Check, tmp_path: Path) -> None:
        await check.run(MyRig(tmp_path))

No check measures time: what has to come about has a deadline far beyond what is usual, and what must not hold others up
is shown by their getting on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edge.drivers import Driver, DriverContext, find_driver
from edge.readings import Taken, refusal

DEADLINE_S = 60.0
NAME = "rig"
"""The driver's name in every rig's settings."""
_OTHERS = 25
"""How often others must get their turn while a device gives trouble."""


class DoesNotApplyError(Exception):
    """The fault has no meaning for this kind of source; the message says why. The check is then not counted."""


class Rig(Protocol):
    """One driver and the source that it reads. Everything is asked within one event loop; `close` comes last.

    A fault is raised as DoesNotApplyError where it can't happen: a folder of files does not send garbage.
    """

    folder: Path
    """Where the driver's relative paths begin."""

    def settings(self) -> Mapping[str, Any]:
        """The driver's entry as in edge.yaml, with `name: rig`. Waits and timeouts short: some 100 ms."""
        ...

    async def appear(self) -> None:
        """The source is there and answers. Also ends every fault."""
        ...

    async def say(self) -> Mapping[str, float]:
        """The source says something that it has not said before; returns the value of each meter, in its unit.

        Of an event source it is said now, once; a polled one says it until the next time.
        """
        ...

    async def vanish(self) -> None:
        """It is gone, with connections open: pulled out, switched off."""
        ...

    async def fall_silent(self) -> None:
        """It takes connections or requests and does not answer."""
        ...

    async def go_mad(self) -> None:
        """It sends what makes no sense."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe twice, and before `appear`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise. `run` raises AssertionError where it is broken, DoesNotApplyError where it says nothing."""

    name: str
    about: str
    run: Callable[[Rig], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a driver that runs has given so far, and how often it said that it could not."""

    driver: Driver
    context: DriverContext
    taken: list[Taken] = field(default_factory=list)
    failures: int = 0
    ended: bool = False

    def values(self) -> dict[str, float]:
        """The last value of each meter."""
        return {reading.meter: reading.value for taken in self.taken for reading in taken.readings}

    def all_values(self) -> set[tuple[str, float]]:
        return {(reading.meter, reading.value) for taken in self.taken for reading in taken.readings}


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait, with a deadline that only a defect reaches."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"this did not come about in {DEADLINE_S:.0f} s: {what}"
        await asyncio.sleep(0.01)


def make_driver(rig: Rig, *, count_failure: Callable[[], None] = lambda: None) -> tuple[Driver, DriverContext]:
    """The rig's driver as the agent would make it, not started."""
    settings = dict(rig.settings())
    kind = find_driver(str(settings["driver"]))
    context = DriverContext(agent="rig", folder=rig.folder, count_failure=count_failure)
    return kind.create(kind.settings.model_validate(settings), context), context


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Seen]:
    """The rig's driver, started and read, until the block is left; its end is part of the check."""
    failed: list[None] = []
    driver, context = make_driver(rig, count_failure=lambda: failed.append(None))
    seen = Seen(driver=driver, context=context)

    async def read() -> None:
        await driver.start()
        async for taken in driver.readings():
            seen.taken.append(taken)
            seen.failures = len(failed)
            if taken.kept is not None:
                taken.kept()
        seen.ended = True

    async def count() -> None:
        while True:
            seen.failures = len(failed)
            await asyncio.sleep(0.01)

    reading, counting = asyncio.create_task(read()), asyncio.create_task(count())
    try:
        yield seen
        if reading.done():
            await reading
    finally:
        counting.cancel()
        await driver.stop()
        _, late = await asyncio.wait([reading], timeout=DEADLINE_S)
        for task in late:
            task.cancel()
        await asyncio.wait([reading, counting])
        assert not late, f"the driver did not end within {DEADLINE_S:.0f} s of `stop`"


@asynccontextmanager
async def _appeared(rig: Rig) -> AsyncIterator[None]:
    try:
        await rig.appear()
        yield
    finally:
        await rig.close()


async def _reads(rig: Rig, seen: Seen, what: str) -> None:
    """It says something new, and that arrives: all meters, in their units, at instants of now or of the source."""
    said = await rig.say()
    await until(lambda: all(seen.values().get(meter) == value for meter, value in said.items()), what)


async def _offers(rig: Rig) -> None:
    try:
        driver, _ = make_driver(rig)
        offers = driver.offers()
        assert offers, "it offers no meter before `start`"
        assert {offer.driver for offer in offers} == {NAME}, "it offers its meters under another name than its own"
        assert len({offer.meter for offer in offers}) == len(offers), "it offers a meter twice"
    finally:
        await rig.close()


async def _starts_and_reads(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        await _reads(rig, seen, "the next values")
        units = {offer.meter: offer.unit for offer in seen.driver.offers()}
        for taken in seen.taken:
            for reading in taken.readings:
                assert units.get(reading.meter) == reading.unit, (
                    f"{reading.meter} comes in {reading.unit}, not as offered"
                )
                assert refusal(reading) is None, f"{reading.meter}: {refusal(reading)}"


async def _begins_without_its_device(rig: Rig) -> None:
    try:
        await rig.appear()
        await rig.vanish()
        async with running(rig) as seen:
            await until(lambda: seen.failures > 0, "a failure counted for a device that is not there")
            await rig.appear()
            await _reads(rig, seen, "values after the device appeared")
    finally:
        await rig.close()


async def _times_out(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        before = seen.failures
        await rig.fall_silent()
        await until(lambda: seen.failures > before, "a failure counted for a device that does not answer")
        await rig.appear()
        await _reads(rig, seen, "values after the device answered again")


async def _reconnects(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        for _ in range(2):
            before = seen.failures
            await rig.vanish()
            await until(lambda before=before: seen.failures > before, "a failure counted for a device that vanished")  # type: ignore[misc]
            await rig.appear()
            await _reads(rig, seen, "values after the device came back")


async def _survives_garbage(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        true = set((await rig.say()).items())
        await until(lambda: true <= seen.all_values(), "the first values")
        before = seen.failures
        await rig.go_mad()
        await until(lambda: seen.failures > before, "a failure counted for garbage")
        await rig.appear()
        said = await rig.say()
        await until(lambda: set(said.items()) <= seen.all_values(), "values after the garbage")
        invented = seen.all_values() - true - set(said.items())
        assert not invented, f"it made values of garbage: {sorted(invented)}"


async def _lets_others_go_on(rig: Rig) -> None:
    """While the device is silent, the event loop belongs to the others."""
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        await rig.fall_silent()
        turns, before = 0, seen.failures
        while seen.failures < before + 2:
            await asyncio.sleep(0.001)
            turns += 1
            assert turns < 100_000, "the device is silent and the driver says nothing of it"
        assert turns >= _OTHERS, f"others got their turn {turns} times while the driver waited; does it block?"
        await rig.appear()


async def _stops(rig: Rig) -> None:
    driver, _ = make_driver(rig)
    await driver.stop()
    async with _appeared(rig):
        async with running(rig) as seen:
            await _reads(rig, seen, "the first values")
            await seen.driver.stop()
            await seen.driver.stop()
        assert seen.ended, "`readings` did not come to its end after `stop`"
        await driver.stop()


async def _stops_in_trouble(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        await rig.fall_silent()
        await asyncio.sleep(0)
    assert seen.ended, "`readings` did not come to its end after `stop` while the device was silent"


async def _starts_again(rig: Rig) -> None:
    async with _appeared(rig):
        driver, _ = make_driver(rig)
        for _ in range(2):
            await driver.start()
            reading = asyncio.create_task(_first(driver))
            said = await rig.say()
            taken: Taken | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    taken = await reading
            await driver.stop()
            assert taken is not None, "it gave nothing after `start`"
            assert {reading.meter for reading in taken.readings} <= set(said), "it gave a meter that it has not"


async def _first(driver: Driver) -> Taken | None:
    readings = driver.readings()
    async for taken in readings:
        if taken.kept is not None:
            taken.kept()
        if taken.readings:
            return taken
    return None


CHECKS: tuple[Check, ...] = (
    Check(name="offers", about="tells its meters before it starts", run=_offers),
    Check(name="reads", about="starts, and reads every meter in its unit", run=_starts_and_reads),
    Check(
        name="begins alone",
        about="starts without its device, and reads when that appears",
        run=_begins_without_its_device,
    ),
    Check(name="times out", about="gives up waiting for a silent device, and reads it later", run=_times_out),
    Check(name="reconnects", about="reads again after the device vanished, twice", run=_reconnects),
    Check(name="garbage", about="makes no value of what makes no sense, and recovers", run=_survives_garbage),
    Check(name="others", about="holds up nobody while its device is silent", run=_lets_others_go_on),
    Check(name="stops", about="stops before it started, while it reads, and twice", run=_stops),
    Check(name="stops in trouble", about="stops while its device is silent", run=_stops_in_trouble),
    Check(name="starts again", about="can be started again after a stop", run=_starts_again),
)
