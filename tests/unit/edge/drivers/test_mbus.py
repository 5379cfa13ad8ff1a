"""The M-Bus driver against a simulated segment on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from edge.devices.mbus import MADNESS, Gateway, Segment, SimulatedMeter, pseudo_serial_port
from edge.devices.mbus_telegrams import encode_record
from edge.drivers import DriverContext
from edge.drivers.mbus.asking import MOST_TELEGRAMS, MeterAwayError, ask
from edge.drivers.mbus.bus import Bus, NoiseError, SilenceError, join
from edge.drivers.mbus.driver import MbusDriver, MbusSettings
from edge.drivers.mbus.frames import request, reset
from edge.drivers.mbus.line import LineDownError, Place, Speed
from edge.drivers.mbus.meanings import Meaning, Measure
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.telegram import Record
from edge.drivers.reach import Parity
from edge.errors import EdgePermanentError
from edge.readings import Taken
from schemas.resources import Quality

DEADLINE_S = 60
SPEED = Speed()
METERS = {"oven-heat": "heat-energy", "oven-power": "heat-power"}


def energy(kwh: str, *, unit: str = "Wh", exponent: int = 3) -> bytes:
    value = Decimal(kwh) * (1000 if unit == "Wh" else 3_600_000)
    return encode_record(Record(meaning=Meaning(measure=Measure.ENERGY, unit=unit, exponent=exponent), value=value))


def power(kw: str) -> bytes:
    meaning = Meaning(measure=Measure.POWER, unit="W", exponent=2)
    return encode_record(Record(meaning=meaning, value=Decimal(kw) * 1000))


def heat_meter(
    address: int = 17, number: str = "12345678", telegrams: Iterable[list[bytes]] = (), status: int = 0
) -> SimulatedMeter:
    return SimulatedMeter(
        identity=SecondaryAddress.parse(f"{number}-KAM-1B-04"),
        address=address,
        status=status,
        telegrams=list(telegrams) or [[energy("1234"), power("5.6")]],
    )


@asynccontextmanager
async def segment(*meters: SimulatedMeter) -> AsyncIterator[Gateway]:
    gateway = Gateway(Segment(meters=list(meters)))
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


class Failures:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def settings(**given: Any) -> MbusSettings:
    base = {"name": "d", "driver": "mbus", "profile": "kamstrup-multical", "meters": METERS}
    return MbusSettings.model_validate({**base, **given})


def make_driver(port: int, failures: Callable[[], None] = lambda: None, **given: Any) -> MbusDriver:
    short = {"host": "127.0.0.1", "port": port, "every": "20ms", "timeout": "100ms", "longest_wait": "50ms"}
    if "secondary" not in given:
        short["address"] = 17
    return MbusDriver(settings(**{**short, **given}), DriverContext(agent="a", folder=Path(), count_failure=failures))


@asynccontextmanager
async def reading(driver: MbusDriver) -> AsyncIterator[AsyncIterator[Taken]]:
    await driver.start()
    readings = driver.readings()
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield readings
    finally:
        await driver.stop()
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await anext(readings)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def bus_at(gateway: Gateway) -> AsyncIterator[Bus]:
    bus = join(Place(host=gateway.host, port=gateway.port))
    try:
        yield bus
    finally:
        bus.leave()


def values(taken: Taken) -> dict[str, tuple[float, str]]:
    return {r.meter: (r.value, r.unit) for r in taken.readings}


BOTH = {"oven-heat": (1234.0, "kWh"), "oven-power": (5.6, "kW")}


# --- what is read


async def test_a_meter_by_its_primary_address() -> None:
    failures = Failures()
    async with segment(heat_meter()) as gateway, reading(make_driver(gateway.port, failures)) as readings:
        for _ in range(3):
            assert values(await anext(readings)) == BOTH
    assert failures.count == 0


@pytest.mark.parametrize("address", ["12345678-KAM-1B-04", "12345678", "1234FFFF-KAM-*-04"])
async def test_a_meter_by_its_secondary_address(address: str) -> None:
    other = heat_meter(18, "99999999", [[energy("1"), power("1")]])
    async with segment(other, heat_meter()) as gateway:
        driver = make_driver(gateway.port, secondary=address)
        async with reading(driver) as readings:
            assert values(await anext(readings)) == BOTH


async def test_values_that_come_in_several_telegrams() -> None:
    meter = heat_meter(telegrams=[[energy("1234")], [], [power("5.6")], [energy("1")]])
    async with segment(meter) as gateway, reading(make_driver(gateway.port)) as readings:
        assert values(await anext(readings)) == BOTH
        # Reset and three requests: what is wanted had come, so the fourth telegram was spared.
        before = meter.requests
        assert values(await anext(readings)) == BOTH
        assert meter.requests - before == 4


async def test_a_second_telegram_that_fails_leaves_the_first_as_it_is() -> None:
    failures = Failures()
    meter = heat_meter(telegrams=[[energy("1234")], [power("5.6")]])

    def breaks_off_later(asking: bytes) -> bytes:
        return b"" if asking == request(17, telegram=1) else meter.hear(asking) or b""

    async with segment(meter) as gateway, reading(make_driver(gateway.port, failures)) as readings:
        gateway.segment.instead = breaks_off_later
        assert values(await anext(readings)) == {"oven-heat": BOTH["oven-heat"]}
        assert failures.count == 1
        gateway.segment.instead = None
        async with asyncio.timeout(DEADLINE_S):
            while values(await anext(readings)) != BOTH:
                pass


async def test_a_meter_that_never_stops_to_tell() -> None:
    failures = Failures()
    meter = heat_meter(telegrams=[[energy("1234")]] * 100)
    async with segment(meter) as gateway, bus_at(gateway) as bus:
        told = await ask(bus, 17, speed=SPEED, timeout_s=5, now_ms=lambda: 7, enough=lambda _: False)
        assert [one.at_ms for one in told] == [7], "a telegram that only repeats itself is no news"
        meter.telegrams = [[energy(str(n))] for n in range(100)]
        told = await ask(bus, 17, speed=SPEED, timeout_s=5, now_ms=lambda: 7, enough=lambda _: False)
        assert len(told) == MOST_TELEGRAMS
    assert failures.count == 0


async def test_a_meter_that_counts_in_another_unit_than_the_profile() -> None:
    meter = heat_meter(telegrams=[[energy("1234", unit="J", exponent=5), power("5.6")]])
    async with segment(meter) as gateway, reading(make_driver(gateway.port)) as readings:
        assert values(await anext(readings)) == BOTH


async def test_what_the_meter_does_not_tell_is_missing_and_counted() -> None:
    failures = Failures()
    stored = Record(meaning=Meaning(measure=Measure.POWER, unit="W", exponent=2), value=Decimal(100), storage=1)
    negative = Record(meaning=stored.meaning, value=Decimal(200), tariff=1, vife=(0x3C,))
    meter = heat_meter(telegrams=[[energy("1234"), encode_record(stored), encode_record(negative)]])
    with capture_logs() as logs:
        async with segment(meter) as gateway, reading(make_driver(gateway.port, failures)) as readings:
            for _ in range(3):
                assert values(await anext(readings)) == {"oven-heat": BOTH["oven-heat"]}
    assert failures.count >= 3
    (refused,) = [entry for entry in logs if entry["action"] == "driver.refused"]
    assert refused["meters"] == ["oven-power"]
    assert refused["reason"].endswith("it tells: energy, power (tariff 1, vife [0x3c])")


@pytest.mark.parametrize(
    ("status", "quality", "says"),
    [(0x08, Quality.SUSPECT, "permanent"), (0x10, Quality.SUSPECT, "temporary"), (0x04, Quality.GOOD, "battery")],
)
async def test_what_a_meter_says_of_itself(status: int, quality: Quality, says: str) -> None:
    with capture_logs() as logs:
        async with segment(heat_meter(status=status)) as gateway, reading(make_driver(gateway.port)) as readings:
            assert {r.quality for r in (await anext(readings)).readings} == {quality}
            await anext(readings)
    (trouble,) = [entry for entry in logs if entry["action"] == "driver.trouble"]
    assert says in trouble["reason"]


async def test_a_busy_meter_has_no_values() -> None:
    failures = Failures()
    meter = heat_meter(status=0x01)
    async with segment(meter) as gateway, reading(make_driver(gateway.port, failures)) as readings:
        waiting = asyncio.ensure_future(anext(readings))
        await until(lambda: failures.count >= 2)
        assert not waiting.done()
        meter.status = 0
        assert values(await waiting) == BOTH


# --- trouble on the bus


async def test_two_meters_that_answer_at_once_are_told_and_not_read() -> None:
    failures = Failures()
    twin = heat_meter(17, "87654321", [[energy("999"), power("1")]])
    with capture_logs() as logs:
        async with segment(heat_meter(), twin) as gateway, reading(make_driver(gateway.port, failures)) as readings:
            waiting = asyncio.ensure_future(anext(readings))
            await until(lambda: failures.count >= 3)
            assert not waiting.done()
            gateway.segment.meters.remove(twin)
            assert values(await waiting) == BOTH
    (away,) = [entry["reason"] for entry in logs if entry["action"] == "driver.away"]
    assert "no two meters have this address" in away


async def test_the_answer_of_another_meter_is_not_taken() -> None:
    async with segment() as gateway, bus_at(gateway) as bus:

        async def asked(address: int | SecondaryAddress) -> object:
            return await ask(bus, address, speed=SPEED, timeout_s=0.1, now_ms=lambda: 0, enough=lambda _: True)

        other = heat_meter(18)
        gateway.segment.instead = lambda asking: (
            b"\xe5" if asking[1] != 0x7B else other.hear(request(18, telegram=0)) or b""
        )
        with pytest.raises(MeterAwayError, match="the meter with address 18 answered"):
            await asked(17)
        with pytest.raises(MeterAwayError, match="the meter 12345678-KAM-1B-04 answered"):
            await asked(SecondaryAddress.parse("87654321"))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["e5", "e5"], "no data at present"),
        (["68030368080172 7b16"], "a meter only acknowledges"),
        (["e5", "6804046808017008 8116"], "reports that it is busy"),
        (["e5", "6803036853 0178cc16"], "another master"),
        (["e5e5"], "1 bytes came behind an answer"),
        (["e5", "00"], "no frame begins with 0x00"),
        (["e5", "680303"], "broke off after 3 bytes"),
        (["e5", ""], "try a longer timeout"),
        ([""], "check address 17"),
    ],
)
async def test_each_trouble_says_what_to_try(answers: list[str], reason: str) -> None:
    async with segment() as gateway, bus_at(gateway) as bus:
        waiting = [bytes.fromhex(answer) for answer in answers]
        gateway.segment.instead = lambda _: waiting.pop(0)
        with pytest.raises(MeterAwayError, match=reason):
            await ask(bus, 17, speed=SPEED, timeout_s=0.05, now_ms=lambda: 0, enough=lambda _: True)


@pytest.mark.parametrize("damage", MADNESS, ids=lambda damage: damage.__name__.strip("_"))
async def test_no_damage_gives_a_value(damage: Callable[[bytes], bytes]) -> None:
    meter = heat_meter()

    def damaged(asking: bytes) -> bytes:
        answer = meter.hear(asking) or b""
        return damage(answer) if len(answer) > 1 else answer

    async with segment(meter) as gateway, bus_at(gateway) as bus:
        gateway.segment.instead = damaged
        with pytest.raises(MeterAwayError):
            await ask(bus, 17, speed=SPEED, timeout_s=0.05, now_ms=lambda: 0, enough=lambda _: True)


async def test_what_came_too_late_is_not_taken_for_the_next_answer() -> None:
    async with segment(heat_meter()) as gateway, bus_at(gateway) as bus:
        (meter,) = gateway.segment.meters
        loop = asyncio.get_running_loop()

        def answer(asking: bytes) -> None:
            for writer in gateway._writers:
                writer.write(meter.hear(asking) or b"")

        def late(asking: bytes) -> bytes:
            loop.call_later(0.08, answer, asking)
            return b""

        async with bus.held(SPEED, timeout_s=0.05) as held:
            gateway.segment.instead = late
            with pytest.raises(SilenceError):
                await held.exchange(reset(17))
            gateway.segment.instead = None
            # Were the late acknowledgement taken for the answer, this would not be the telegram.
            assert (await held.exchange(request(17, telegram=0)))[0] == 0x68


async def test_a_connection_on_which_nobody_answers_is_made_again() -> None:
    async with segment(heat_meter()) as gateway, bus_at(gateway) as bus:
        gateway.segment.silent = True
        for _ in range(4):
            async with bus.held(SPEED, timeout_s=0.03) as held:
                with pytest.raises(SilenceError):
                    await held.exchange(reset(17))
        assert gateway.connections == 2
        for _ in range(4):
            async with bus.held(SPEED, timeout_s=0.03) as held:
                with pytest.raises(SilenceError):
                    await held.exchange(reset(17), may_be_silent=True)
        assert gateway.connections == 3


async def test_an_echo_is_not_an_answer() -> None:
    async with pseudo_serial_port(Segment(meters=[heat_meter()]), echoes=True) as device:
        bus = join(Place(host=device))
        try:
            speed = Speed(parity=Parity.NONE)
            address = SecondaryAddress.parse("12345678")
            told = await ask(bus, address, speed=speed, timeout_s=5, now_ms=lambda: 0, enough=lambda _: True)
            assert len(told[0].telegram.records) == 2
            with pytest.raises(MeterAwayError, match="check address 99"):
                await ask(bus, 99, speed=speed, timeout_s=0.05, now_ms=lambda: 0, enough=lambda _: True)
        finally:
            bus.leave()


async def test_a_garbled_telegram_that_passes_its_checksum_is_not_taken_but_an_exchanged_meter_is() -> None:
    failures = Failures()
    meter = heat_meter()
    stranger = heat_meter(17, "87654321", [[energy("1"), power("1")]])
    with capture_logs() as logs:
        async with segment(meter) as gateway, reading(make_driver(gateway.port, failures)) as readings:
            assert values(await anext(readings)) == BOTH
            once = [stranger]

            def garbled(asking: bytes) -> bytes:
                return (once.pop() if once and asking[1] != 0x40 else meter).hear(asking) or b""

            gateway.segment.instead = garbled
            for _ in range(3):
                assert values(await anext(readings)) == BOTH
            assert failures.count == 1
            assert "driver.exchanged" not in {entry["action"] for entry in logs}
            gateway.segment.instead = None
            gateway.segment.meters[:] = [stranger]
            async with asyncio.timeout(DEADLINE_S):
                while values(await anext(readings)) == BOTH:
                    pass
            assert failures.count == 2
    (exchanged,) = [entry for entry in logs if entry["action"] == "driver.exchanged"]
    assert (exchanged["before"], exchanged["now"]) == ("12345678-KAM-1B-04", "87654321-KAM-1B-04")


# --- sharing a bus


async def test_drivers_on_one_gateway_take_turns_on_one_connection() -> None:
    meters = [heat_meter(n, f"{n:08d}", [[energy(str(n)), power("1")]]) for n in (17, 18, 19)]
    async with segment(*meters) as gateway, contextlib.AsyncExitStack() as stack:
        drivers = [make_driver(gateway.port, address=n, meters={f"m{n}": "heat-energy"}) for n in (17, 18, 19)]
        running = [await stack.enter_async_context(reading(driver)) for driver in drivers]
        for _ in range(5):
            for n, readings in zip((17, 18, 19), running, strict=True):
                assert values(await anext(readings)) == {f"m{n}": (float(n), "kWh")}
        assert gateway.connections == 1
        # One that ends does not take the connection of the others along.
        await drivers[0].stop()
        assert values(await anext(running[1])) == {"m18": (18.0, "kWh")}
        assert gateway.connections == 1


async def test_a_dead_meter_costs_the_others_its_timeout_only() -> None:
    failures = Failures()
    async with segment(heat_meter()) as gateway, contextlib.AsyncExitStack() as stack:
        alive = await stack.enter_async_context(reading(make_driver(gateway.port)))
        dead = await stack.enter_async_context(reading(make_driver(gateway.port, failures, address=99)))
        waiting = asyncio.ensure_future(anext(dead))
        for _ in range(10):
            assert values(await anext(alive)) == BOTH
        await until(lambda: failures.count >= 2)
        assert values(await anext(alive)) == BOTH
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_meters_of_one_port_may_differ_in_speed() -> None:
    async with pseudo_serial_port(Segment(meters=[heat_meter()])) as device:
        bus = join(Place(host=device))
        try:
            for baud in (300, 2400):
                async with bus.held(Speed(baud=baud, parity=Parity.NONE), timeout_s=5) as held:
                    await held.exchange(reset(17))
                port: Any = bus._line
                assert port._port.baudrate == baud
        finally:
            bus.leave()


async def test_places_that_can_t_be_opened_say_why(tmp_path: Path) -> None:
    async with segment() as gateway:
        pass
    plain = tmp_path / "file"
    plain.touch()
    for place, reason in {
        Place(host=gateway.host, port=gateway.port): "refuses the connection",
        Place(host=str(tmp_path / "ttyUSB9")): "is the adapter plugged in",
        Place(host=str(plain)): "cannot be opened",
    }.items():
        bus = join(place)
        with pytest.raises(LineDownError, match=reason):
            async with bus.held(SPEED, timeout_s=1):
                pass
        bus.leave()


async def test_noise_between_frames_is_waited_out() -> None:
    async with segment(heat_meter()) as gateway, bus_at(gateway) as bus:
        gateway.segment.instead = lambda _: bytes(range(0x20, 0x40))
        async with bus.held(SPEED, timeout_s=0.2) as held:
            with pytest.raises(NoiseError):
                await held.exchange(reset(17))
            gateway.segment.instead = None
            assert await held.exchange(reset(17)) == b"\xe5"


# --- settings


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"address": 1}, "either `host` and `port` of a gateway, or `serial`"),
        ({"host": "h", "address": 1}, "`host` and `port` belong together"),
        ({"port": 9, "serial": {"port": "/dev/x"}, "address": 1}, "`host` and `port` belong together"),
        ({"host": "h", "port": 9, "serial": {"port": "/dev/x"}, "address": 1}, "either `host`"),
        ({"host": "h", "port": 9}, "either `address`, 0 to 250, or `secondary`"),
        ({"host": "h", "port": 9, "address": 1, "secondary": "12345678"}, "either `address`"),
        ({"host": "h", "port": 9, "address": 251}, "less than or equal to 250"),
        ({"host": "h", "port": 9, "secondary": 12345678}, "put it in quotes"),
        ({"host": "h", "port": 9, "secondary": "1234"}, "write it like 12345678-KAM-1B-04"),
        ({"serial": {"port": "COM3"}, "address": 1}, "serial.port"),
        ({"serial": {"port": "/dev/x", "baud": 115200}, "address": 1}, "no speed of M-Bus"),
    ],
)
def test_settings_that_do_not_fit_say_what_to_do(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        settings(**given)


def test_an_unknown_quantity_or_profile_is_refused() -> None:
    with pytest.raises(EdgePermanentError, match="no quantity 'power'; known: heat-energy, heat-power"):
        make_driver(9, meters={"m": "power"})
    with pytest.raises(EdgePermanentError, match=r"known for mbus: .*kamstrup-multical"):
        make_driver(9, profile="kamstrup")


async def test_how_often_meters_are_read() -> None:
    def cadences(**given: Any) -> set[int | None]:
        driver = MbusDriver(settings(host="h", port=9, address=1, **given), DriverContext(agent="a", folder=Path()))
        return {offer.cadence_ms for offer in driver.offers()}

    assert cadences() == {900_000}
    assert cadences(every="2min") == {120_000}
    assert cadences(profile="mbus-electricity", meters={"m": "power"}) == {60_000}
    with capture_logs() as logs:
        for every, profile in (("59s", "mbus-water"), ("60s", "mbus-water"), ("1s", "mbus-electricity")):
            meters = {"m": "volume" if profile == "mbus-water" else "power"}
            driver = make_driver(9, every=every, profile=profile, meters=meters)
            await driver.start()
            await driver.stop()
    assert [(entry["action"], entry["every"]) for entry in logs] == [("driver.battery", "59s")]


def test_drivers_tell_what_they_share() -> None:
    assert settings(host="h", port=9, address=1).shared() == {"h:9": "M-Bus"}
    assert settings(serial={"port": "/dev/ttyUSB0"}, address=1).shared() == {"/dev/ttyUSB0": "M-Bus"}
