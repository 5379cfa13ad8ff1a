"""The checks, in the order in which a driver grows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from edge.drivers.contract import deadlines
from edge.drivers.contract.others import others_starved
from edge.drivers.contract.rig import NAME, DoesNotApplyError, Rig, SaidAllError
from edge.drivers.contract.seen import Seen, make_driver, reading, running, stopped
from edge.readings import refusal

_EARLIEST_MS = 946_684_800_000
"""2000-01-01: no meter is read before; an instant near 1970 is one that nobody set."""
_AHEAD_MS = 60_000
_POOLED = ("asyncio_", "ThreadPoolExecutor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise. `run` raises AssertionError where it is broken, DoesNotApplyError where it says nothing."""

    name: str
    about: str
    run: Callable[[Rig], Awaitable[None]]


@asynccontextmanager
async def _appeared(rig: Rig) -> AsyncIterator[None]:
    try:
        await rig.appear()
        yield
    finally:
        await rig.close()


async def _reads(rig: Rig, seen: Seen, what: str) -> set[tuple[str, float]]:
    """It says something new until it is heard: nobody may be listening yet. Returns all that it said.

    Raises SaidAllError when there was nothing left to say to begin with.
    """
    waited_s, wait_s = 0.0, 0.2
    everything: set[tuple[str, float]] = set()
    said: Mapping[str, float] = {}
    while waited_s < deadlines.COME_ABOUT_S:
        try:
            said = await rig.say()
        except SaidAllError:
            if not said:
                raise
        assert said, "the rig says nothing: each of its meters needs a value"
        everything |= set(said.items())
        if await seen.comes(lambda said=said: seen.has(said), what, within_s=wait_s):  # type: ignore[misc]
            return everything
        waited_s, wait_s = waited_s + wait_s, wait_s * 2
    raise AssertionError(f"this did not come about in {deadlines.COME_ABOUT_S:g} s: {what}")


async def _misses_nothing(rig: Rig, seen: Seen, what: str) -> None:
    """Now that it listens, it hears what is said once. A finite source may have said all: its driver ends."""
    try:
        said = await rig.say()
    except SaidAllError:
        await _comes_to_its_end(seen)
    else:
        await seen.until(lambda: seen.has(said), what)


async def _comes_to_its_end(seen: Seen) -> None:
    deadline = time.monotonic() + deadlines.COME_ABOUT_S
    while not seen.ended:
        assert seen.error is None, f"the driver raised {seen.error!r}"
        assert time.monotonic() < deadline, "the source has said all that it had, and `readings` does not end"
        await asyncio.sleep(deadlines.TURN_S)


async def _offers(rig: Rig) -> None:
    try:
        offers = make_driver(rig).offers()
        assert offers, "it offers no meter before `start`"
        assert {offer.driver for offer in offers} == {NAME}, "it offers its meters under another name than its own"
        assert len({offer.meter for offer in offers}) == len(offers), "it offers a meter twice"
    finally:
        await rig.close()


async def _starts_and_reads(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        await _misses_nothing(rig, seen, "the next values")
        await _misses_nothing(rig, seen, "the values after those")
        latest_ms = time.time_ns() // 1_000_000 + _AHEAD_MS
        offers = {offer.meter: offer.unit for offer in seen.driver.offers()}
        for reading in (reading for taken in seen.taken for reading in taken.readings):
            assert reading.meter in offers, f"{reading.meter} comes and was not offered"
            unit = offers[reading.meter]
            assert unit == reading.unit, f"{reading.meter} comes in {reading.unit} and was offered in {unit}"
            assert (why := refusal(reading)) is None, f"{reading.meter}: {why}"
            assert _EARLIEST_MS < reading.at_ms < latest_ms, (
                f"{reading.meter}: {reading.at_ms} is no instant in Unix milliseconds that a meter was read at"
            )


async def _begins_without_its_device(rig: Rig) -> None:
    async with _appeared(rig):
        await rig.vanish()
        async with running(rig) as seen:
            await seen.until_failure(of="a device that is not there")
            await rig.appear()
            await _reads(rig, seen, "values after the device appeared")


async def _times_out(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        await rig.fall_silent()
        await seen.until_failure(of="a device that does not answer")
        await rig.appear()
        await _reads(rig, seen, "values after the device answered again")


async def _reconnects(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        for _ in range(2):
            await rig.vanish()
            await seen.until_failure(of="a device that vanished")
            await rig.appear()
            await _reads(rig, seen, "values after the device came back")
        await _misses_nothing(rig, seen, "the next values after that")


async def _survives_garbage(rig: Rig) -> None:
    async with _appeared(rig), running(rig) as seen:
        said = await _reads(rig, seen, "the first values")
        true = said | seen.all_values()
        for _ in range(2):
            await rig.go_mad()
            await seen.until_failure(of="garbage")
        await rig.appear()
        true |= await _reads(rig, seen, "values after the garbage")
        invented = seen.all_values() - true
        assert not invented, f"it made values of garbage: {sorted(invented)}"


async def _lets_others_go_on(rig: Rig) -> None:
    """While the device is silent, the event loop belongs to the others."""
    async with _appeared(rig), running(rig) as seen:
        await _reads(rig, seen, "the first values")
        await rig.fall_silent()
        async with others_starved() as starved:
            # Its first attempt may be under way, answered before the device fell silent.
            for _ in range(3):
                await seen.until_failure(of="a device that does not answer")
        # A busy machine may hold the loop up once; a driver that blocks does it at each attempt.
        assert len(starved) < 2, (
            f"it blocks: {len(starved)} times nobody else got a turn in the event loop while the driver waited "
            f"({max(starved)} turns of a thread meanwhile)"
        )
        await rig.appear()


async def _stops(rig: Rig) -> None:
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    await stopped(make_driver(rig))
    async with _appeared(rig):
        async with running(rig) as seen:
            await _reads(rig, seen, "the first values")
            await stopped(seen.driver)
            await stopped(seen.driver)
        assert seen.ended, "`readings` did not come to its end after `stop`"
        await stopped(seen.driver)
    await _nothing_is_left(tasks, threads)


async def _nothing_is_left(tasks: set[asyncio.Task[Any]], threads: set[threading.Thread]) -> None:
    """Driver and device are gone: so is what they had running. (A pool's threads stay, with nothing to do.)"""
    deadline = time.monotonic() + deadlines.STOP_S
    while left := sorted(
        [repr(task.get_coro()) for task in asyncio.all_tasks() - tasks]
        + [thread.name for thread in set(threading.enumerate()) - threads if not thread.name.startswith(_POOLED)]
    ):
        assert time.monotonic() < deadline, f"this still runs after `stop`: {', '.join(left)}"
        await asyncio.sleep(deadlines.TURN_S)


async def _stops_in_trouble(rig: Rig) -> None:
    reasons: list[str] = []
    async with _appeared(rig):
        for trouble in (rig.fall_silent, rig.vanish):
            try:
                await trouble()
            except DoesNotApplyError as error:
                reasons.append(str(error))
                continue
            # In the midst of its waiting for the device, and in that for its next attempt.
            for failures in (0, 1):
                await rig.appear()
                async with running(rig) as seen:
                    await _reads(rig, seen, "the first values")
                    before = seen.failures
                    await trouble()
                    await asyncio.sleep(deadlines.TURN_S)
                    await seen.until(lambda n=before + failures: seen.failures >= n, "a failure counted")  # type: ignore[misc]
                assert seen.ended, "`readings` did not come to its end after `stop` while the device gave trouble"
    if len(reasons) == 2:
        raise DoesNotApplyError(reasons[0])


async def _starts_again(rig: Rig) -> None:
    async with _appeared(rig):
        async with running(rig) as seen:
            said = await _reads(rig, seen, "the first values")
        seen.taken.clear()
        async with reading(seen):
            try:
                await _reads(rig, seen, "values after it was started again")
            except SaidAllError:
                await seen.until(lambda: said <= seen.all_values(), "the same values after it was started again")


async def _gives_again_what_was_not_kept(rig: Rig) -> None:
    async with _appeared(rig):
        async with running(rig, keep=False) as seen:
            await _reads(rig, seen, "the first values")
        if all(taken.kept is None for taken in seen.taken):
            raise DoesNotApplyError("it does not ask to hear when its readings are kept")
        async with running(rig) as again:
            await again.until(
                lambda: seen.all_values() <= again.all_values(), "once more what it gave and what was not kept"
            )


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
    Check(name="stops", about="stops before it started, while it reads, and twice; leaves nothing running", run=_stops),
    Check(name="stops in trouble", about="stops while its device is silent or away", run=_stops_in_trouble),
    Check(name="starts again", about="can be started again after a stop", run=_starts_again),
    Check(
        name="not kept",
        about="gives again, after a restart, what was not on disk yet",
        run=_gives_again_what_was_not_kept,
    ),
)
