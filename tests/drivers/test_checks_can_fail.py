"""Each check, and a driver that breaks just this promise: a check that can't fail would be worth nothing."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import edge.drivers
from edge.drivers import DriverKind
from edge.drivers.contract import CHECKS, Check, DoesNotApplyError, deadlines
from edge.drivers.pacing import sleep_unless
from edge.readings import Reading, Taken
from schemas.wire import OfferedMeter
from tests.drivers.source import DeviceRig, PollingDriver, PollSettings, State


class OffersNothing(PollingDriver):
    def offers(self) -> Sequence[OfferedMeter]:
        return []


class OffersUnderAnotherName(PollingDriver):
    def offers(self) -> Sequence[OfferedMeter]:
        return [offer.model_copy(update={"driver": "somebody"}) for offer in super().offers()]


class OffersTwice(PollingDriver):
    def offers(self) -> Sequence[OfferedMeter]:
        return [*super().offers(), *super().offers()]


class AnotherUnit(PollingDriver):
    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        return [replace(reading, unit="MWh") for reading in super().understand(said)]


class NotOffered(PollingDriver):
    def offers(self) -> Sequence[OfferedMeter]:
        return super().offers()[:1]


class NotANumber(PollingDriver):
    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        oven, tap = super().understand(said)
        return [replace(oven, value=math.nan), oven, tap]


class NoInstant(PollingDriver):
    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        return [replace(reading, at_ms=reading.at_ms // 1000) for reading in super().understand(said)]


class LeavesAMeterOut(PollingDriver):
    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        return super().understand(said)[:1]


class ReadsOnce(PollingDriver):
    async def readings(self) -> AsyncIterator[Taken]:
        async for taken in super().readings():
            yield taken
            if any(reading.value for reading in taken.readings):
                return


class ReadsWhatIsOld(PollingDriver):
    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        return [replace(reading, value=min(reading.value, 1.0)) for reading in super().understand(said)]


class FailsToStart(PollingDriver):
    async def start(self) -> None:
        await super().start()
        await self.device.ask()


class RaisesWhenItIsAway(PollingDriver):
    async def readings(self) -> AsyncIterator[Taken]:
        while not await sleep_unless(self._stop, 0.005):
            yield Taken(readings=self.understand(await self.device.ask()))


class SaysNothingOfFailures(PollingDriver):
    async def readings(self) -> AsyncIterator[Taken]:
        while not await sleep_unless(self._stop, 0.005):
            try:
                found = self.understand(await self.ask())
            except (OSError, ValueError):
                continue
            yield Taken(readings=found)


class WaitsForEver(PollingDriver):
    async def ask(self) -> dict[str, str]:
        asking = asyncio.ensure_future(self.device.ask())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        asking.cancel()
        await asyncio.wait([asking, stopping])
        if asking.cancelled():
            raise TimeoutError
        return asking.result()


class GivesUp(PollingDriver):
    async def ask(self) -> dict[str, str]:
        if getattr(self, "_given_up", False):
            raise ConnectionError
        try:
            return await super().ask()
        except OSError:
            self._given_up = True
            raise


class EndsWhenItVanishes(PollingDriver):
    async def readings(self) -> AsyncIterator[Taken]:
        async for taken in super().readings():
            yield taken
            if self.device.state is State.AWAY:
                self._context.count_failure()
                return


class Invents(PollingDriver):
    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        digits = {key: "".join(sign for sign in text if sign in "0123456789.") or "0" for key, text in said.items()}
        if digits != said:
            self._context.count_failure()
        return super().understand(digits)


class RaisesAtGarbage(PollingDriver):
    async def readings(self) -> AsyncIterator[Taken]:
        while not await sleep_unless(self._stop, 0.005):
            try:
                said = await self.ask()
            except OSError:
                self._context.count_failure()
                continue
            yield Taken(readings=self.understand(said))


class Blocks(PollingDriver):
    async def ask(self) -> dict[str, str]:
        if self.device.state is State.SILENT:
            time.sleep(0.15)  # noqa: ASYNC251 - that is the defect
            raise TimeoutError
        return await super().ask()


class CannotStopBeforeStart(PollingDriver):
    async def start(self) -> None:
        await super().start()
        self._started = True

    async def stop(self) -> None:
        assert self._started
        await super().stop()


class CannotStopTwice(PollingDriver):
    async def stop(self) -> None:
        if self._stop.is_set():
            raise RuntimeError("stopped already")
        await super().stop()


class NeverStops(PollingDriver):
    async def stop(self) -> None:
        pass


class StopHangs(PollingDriver):
    async def stop(self) -> None:
        if self._stop.is_set():
            await asyncio.Event().wait()
        await super().stop()


class LeavesATask(PollingDriver):
    async def start(self) -> None:
        await super().start()
        self._left = asyncio.create_task(asyncio.sleep(3))


class LeavesAThread(PollingDriver):
    async def start(self) -> None:
        await super().start()
        self._over = threading.Event()
        threading.Thread(target=partial(self._over.wait, 3), name="left", daemon=True).start()


class StopsOnlyWhenAnswered(PollingDriver):
    async def ask(self) -> dict[str, str]:
        if self.device.state is State.SILENT:
            self._context.count_failure()
        return await self.device.ask()


class StartsOnce(PollingDriver):
    async def start(self) -> None:
        pass


class LetsGoAtOnce(PollingDriver):
    """Of a queue that it empties while it reads."""

    async def readings(self) -> AsyncIterator[Taken]:
        while not await sleep_unless(self._stop, 0.005):
            while self.device.unread:
                said = {key: str(value) for key, value in self.device.unread.pop(0).items()}
                yield Taken(readings=self.understand(said), kept=lambda: None)


class KeptRaises(PollingDriver):
    def _fail(self) -> None:
        raise KeyError("nothing")

    async def readings(self) -> AsyncIterator[Taken]:
        async for taken in super().readings():
            yield replace(taken, kept=self._fail)


BROKEN: tuple[tuple[type[PollingDriver], str, str], ...] = (
    (OffersNothing, "offers", "offers no meter"),
    (OffersUnderAnotherName, "offers", "another name than its own"),
    (OffersTwice, "offers", "offers a meter twice"),
    (AnotherUnit, "reads", "comes in MWh and was offered in kWh"),
    (NotOffered, "reads", "tap comes and was not offered"),
    (NotANumber, "reads", "not a finite number"),
    (NoInstant, "reads", "no instant in Unix milliseconds"),
    (LeavesAMeterOut, "reads", "did not come about.*first values"),
    (ReadsOnce, "reads", "`readings` ended while"),
    (ReadsWhatIsOld, "reads", "did not come about.*next values"),
    (KeptRaises, "reads", "KeyError"),
    (FailsToStart, "begins alone", "raised ConnectionError"),
    (RaisesWhenItIsAway, "begins alone", "raised ConnectionError"),
    (SaysNothingOfFailures, "begins alone", "a failure counted for a device that is not there"),
    (WaitsForEver, "times out", "a failure counted for a device that does not answer"),
    (GivesUp, "times out", "values after the device answered again"),
    (GivesUp, "reconnects", "values after the device came back"),
    (RaisesWhenItIsAway, "reconnects", "raised ConnectionError"),
    (Invents, "garbage", "made values of garbage.*8"),
    (RaisesAtGarbage, "garbage", "raised ValueError"),
    (SaysNothingOfFailures, "garbage", "a failure counted for garbage"),
    (Blocks, "others", "it blocks"),
    (WaitsForEver, "others", "a failure counted"),
    (CannotStopBeforeStart, "stops", "_started"),
    (CannotStopTwice, "stops", "stopped already"),
    (NeverStops, "stops", "`readings` did not come to its end"),
    (StopHangs, "stops", "`stop` did not come to its end"),
    (LeavesATask, "stops", "still runs after `stop`: .*sleep"),
    (LeavesAThread, "stops", "still runs after `stop`: left"),
    (StopsOnlyWhenAnswered, "stops in trouble", "`readings` did not come to its end"),
    (StartsOnce, "starts again", "`readings` ended while"),
    (LetsGoAtOnce, "not kept", "once more what it gave"),
)


def find_check(name: str) -> Check:
    return next(check for check in CHECKS if check.name == name)


def let_it_be_found(driver: type[PollingDriver], rig: DeviceRig, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = type(driver.__name__, (driver,), {"device": rig.device})
    kind = DriverKind(settings=PollSettings, create=tried)
    monkeypatch.setitem(edge.drivers._DRIVERS, "tried", lambda: kind)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
async def test_a_good_driver_passes(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = DeviceRig(tmp_path)
    let_it_be_found(PollingDriver, rig, monkeypatch)
    if check.name == "not kept":
        with pytest.raises(DoesNotApplyError, match="does not ask to hear"):
            await check.run(rig)
    else:
        await check.run(rig)


@pytest.mark.parametrize(
    ("driver", "name", "words"), BROKEN, ids=lambda value: value.__name__ if isinstance(value, type) else value
)
async def test_a_broken_driver_fails(
    driver: type[PollingDriver], name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "COME_ABOUT_S", 0.5)
    monkeypatch.setattr(deadlines, "STOP_S", 0.3)
    rig = DeviceRig(tmp_path)
    let_it_be_found(driver, rig, monkeypatch)
    with pytest.raises(AssertionError, match=words):
        await find_check(name).run(rig)


def test_each_check_is_shown_to_fail() -> None:
    assert {name for _, name, _ in BROKEN} == {check.name for check in CHECKS}
