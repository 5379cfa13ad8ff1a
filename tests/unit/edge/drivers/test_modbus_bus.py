"""The Modbus driver on lines that are shared, disturbed and late: bytes on the wire."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from edge.devices.modbus import ModbusBank, SerialModbusDevices, SimulatedDevice, TcpModbusDevices
from edge.devices.modbus_faults import FAULTS, Fault, Late, Said
from edge.drivers import DriverContext
from edge.drivers.modbus.bus import LineDownError, NonsenseError, Request, join
from edge.drivers.modbus.driver import ModbusDriver, ModbusSettings
from edge.drivers.modbus.line import Framing, SerialLine, TcpLine
from edge.drivers.modbus.profile import load_modbus_profile
from edge.drivers.modbus.registers import Function
from edge.drivers.reach import Parity

PROFILE = load_modbus_profile("carlo-gavazzi-em340", folder=Path())
VALUES = {"power": -2502.5, "energy-import": 1001.1, "energy-export": 500.5}
"""Three values of the same size in three places: an answer to one looks just like an answer to another."""
DEADLINE_S = 60


class Kept:
    """What a driver gave while it ran."""

    def __init__(self) -> None:
        self.readings: list[tuple[str, float]] = []
        self.failures = 0
        self.polls = 0

    def count(self) -> None:
        self.failures += 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def settings(where: dict[str, Any], device_id: int, **more: Any) -> ModbusSettings:
    given: dict[str, Any] = {"every": "20ms", "timeout": "50ms", "longest_wait": "30ms", **where, **more}
    meters = {f"{quantity}-{device_id}": quantity for quantity in VALUES}
    return ModbusSettings.model_validate(
        {"name": f"d{device_id}", "driver": "modbus", "device_id": device_id, "profile": PROFILE.name, "meters": meters}
        | given
    )


@asynccontextmanager
async def running(model: ModbusSettings) -> AsyncIterator[Kept]:
    kept = Kept()
    driver = ModbusDriver(model, DriverContext(agent="a", folder=Path(), count_failure=kept.count))

    async def read() -> None:
        await driver.start()
        async for taken in driver.readings():
            kept.polls += 1
            kept.readings += [(reading.meter, reading.value) for reading in taken.readings]

    reading = asyncio.create_task(read())
    try:
        yield kept
    finally:
        await driver.stop()
        async with asyncio.timeout(DEADLINE_S):
            await reading


def true_values(device_id: int) -> set[tuple[str, float]]:
    return {(f"{quantity}-{device_id}", value) for quantity, value in VALUES.items()}


def add(bank: ModbusBank, device_id: int) -> SimulatedDevice:
    device = bank.add(device_id)
    device.show(PROFILE, VALUES)
    return device


@asynccontextmanager
async def on_the_wire(kind: str, folder: Path) -> AsyncIterator[tuple[ModbusBank, dict[str, Any]]]:
    """A bank, and where a driver finds it."""
    bank = ModbusBank(framing=Framing.TCP if kind == "tcp" else Framing.RTU)
    devices = SerialModbusDevices(bank, port=folder / "ttyUSB0") if kind == "serial" else TcpModbusDevices(bank)
    await devices.start()
    try:
        if isinstance(devices, SerialModbusDevices):
            yield bank, {"serial": {"port": str(devices.port)}}
        else:
            yield bank, {"host": "127.0.0.1", "port": devices.port, "framing": bank.framing.value}
    finally:
        await devices.stop()


WIRES = ("tcp", "rtu", "serial")
CASES = [(wire, fault) for wire in ("tcp", "serial") for fault in FAULTS[Framing.TCP if wire == "tcp" else Framing.RTU]]


@pytest.mark.parametrize(
    ("wire", "fault"),
    CASES,
    ids=[f"{wire}-{fault.__name__}" for wire, fault in CASES],
)
async def test_no_value_comes_of_nonsense_and_reading_goes_on(wire: str, fault: Fault, tmp_path: Path) -> None:
    async with on_the_wire(wire, tmp_path) as (bank, where):
        device = add(bank, 9)
        async with running(settings(where, 9, timeout="20ms")) as kept:
            await until(lambda: kept.polls >= 1)
            device.fault = fault
            before = kept.failures
            await until(lambda: kept.failures >= before + 2)
            device.fault = None
            polls = kept.polls
            await until(lambda: kept.polls >= polls + 2)
    assert set(kept.readings) == true_values(9)


@pytest.mark.parametrize(("wire", "behind"), [("tcp", 1), ("rtu", 1), ("rtu", 3), ("serial", 1), ("serial", 2)])
async def test_answers_that_come_with_the_next_question_are_never_taken_for_its_own(
    wire: str, behind: int, tmp_path: Path
) -> None:
    async with on_the_wire(wire, tmp_path) as (bank, where):
        device = add(bank, 9)
        async with running(settings(where, 9, timeout="20ms")) as kept:
            await until(lambda: kept.polls >= 1)
            late = [Late() for _ in range(behind)]

            def fault(said: Said) -> Iterable[bytes]:
                frames: Iterable[bytes] = (said.frame(),)
                for one in late:
                    frames = [f for frame in frames for f in one.pass_on(frame)]
                return frames

            device.fault = fault
            before = kept.failures
            await until(lambda: kept.failures >= before + 5)
            device.fault = None
            polls = kept.polls
            await until(lambda: kept.polls >= polls + 2)
    assert set(kept.readings) == true_values(9)


@pytest.mark.parametrize("takes_any_count", [False, True])
async def test_a_device_slower_than_the_timeout_gives_no_wrong_value(tmp_path: Path, takes_any_count: bool) -> None:
    """Each answer comes after the next question was asked, as behind a serial server with a long queue."""
    devices = SerialModbusDevices(ModbusBank(framing=Framing.RTU), port=tmp_path / "ttyUSB0")
    device = add(devices.bank, 9)
    if takes_any_count:
        device.fill(Function.INPUT, 0, 200)
    await devices.start()
    loop = asyncio.get_running_loop()
    asked = Counter[None]()

    def answer_later(said: Said) -> Iterable[bytes]:
        asked[None] += 1
        loop.call_later(0.05, devices.send, said.frame())
        return ()

    async with running(settings({"serial": {"port": str(devices.port)}}, 9, timeout="20ms")) as kept:
        await until(lambda: kept.polls >= 1)
        device.fault = answer_later
        await until(lambda: asked[None] >= 10)
        device.fault = None
        polls = kept.polls
        await until(lambda: kept.polls >= polls + 2)
    await devices.stop()
    assert set(kept.readings) == true_values(9)


def one_value(where: dict[str, Any], quantity: str, **more: Any) -> ModbusSettings:
    """A driver for one value of device 9, named by its quantity."""
    return settings(where, 9, timeout="100ms").model_copy(update={"meters": {quantity: quantity}, **more})


async def test_what_one_driver_did_not_wait_for_is_not_taken_by_another_of_the_same_device(tmp_path: Path) -> None:
    async with on_the_wire("serial", tmp_path) as (bank, where):
        kept_back: list[bytes] = []
        held = 0

        def hold_back(said: Said) -> Iterable[bytes]:
            nonlocal held
            frames = [*kept_back, said.frame()]
            kept_back.clear()
            if said.request[2:6] == b"\x00\x34\x00\x02" and held < 3:
                held += 1
                kept_back.append(frames.pop())
            return frames

        add(bank, 9).fault = hold_back
        async with (
            running(one_value(where, "energy-import")) as taken,
            running(one_value(where, "energy-export")) as given,
        ):
            await until(lambda: held == 3 and taken.polls >= 3 and given.polls >= 3)
        assert set(taken.readings) == {("energy-import", VALUES["energy-import"])}
        assert set(given.readings) == {("energy-export", VALUES["energy-export"])}


async def test_what_was_asked_before_a_change_is_not_taken_after_it(tmp_path: Path) -> None:
    devices = SerialModbusDevices(ModbusBank(framing=Framing.RTU), port=tmp_path / "ttyUSB0")
    await devices.start()
    device, frames = add(devices.bank, 9), list[bytes]()

    def keep(said: Said) -> Iterable[bytes]:
        frames.append(said.frame())
        return ()

    device.fault = keep
    where = {"serial": {"port": str(devices.port)}}
    async with running(one_value(where, "energy-export", timeout=60_000)):
        await until(lambda: len(frames) == 1)

    def answer_both(said: Said) -> Iterable[bytes]:
        late = [frames.pop()] if frames else []
        return [*late, said.frame()]

    device.fault = answer_both
    async with running(one_value(where, "energy-import")) as kept:
        await until(lambda: kept.polls >= 2)
    await devices.stop()
    assert set(kept.readings) == {("energy-import", VALUES["energy-import"])}


async def test_a_gateway_that_gives_a_late_answer_to_the_next_question_is_not_believed(tmp_path: Path) -> None:
    async with on_the_wire("tcp", tmp_path) as (bank, where):
        late: list[bytes] = []
        asked = 0

        def pass_on(said: Said) -> Iterable[bytes]:
            nonlocal asked
            asked += 1
            if late:
                return (said.frame(pdu=late.pop()),)
            if asked in {2, 9, 20}:
                late.append(said.pdu)
                return (said.frame(pdu=bytes([said.pdu[0] | 0x80, 11])),)
            return (said.frame(),)

        add(bank, 9).fault = pass_on
        async with running(settings(where, 9)) as kept:
            await until(lambda: asked > 40)
        assert set(kept.readings) == true_values(9)
        assert kept.failures >= 3


async def test_a_device_that_its_gateway_does_not_reach_is_asked_less_and_less(tmp_path: Path) -> None:
    """The gateway waits for it each time, and all others with it."""
    async with on_the_wire("tcp", tmp_path) as (bank, where):
        add(bank, 1)
        bank.add(2).refusal = 11
        async with (
            running(settings(where, 1)) as kept,
            running(settings(where, 2, longest_wait="60s")) as dead,
        ):
            await until(lambda: kept.polls >= 20)
        assert 1 <= dead.failures <= 5
        assert bank.devices[2].asked <= 5


@pytest.mark.parametrize("code", [5, 6])
async def test_a_busy_device_is_asked_again_before_the_next_read_is_due(code: int, tmp_path: Path) -> None:
    async with on_the_wire("tcp", tmp_path) as (bank, where):
        device = add(bank, 9)
        device.refusal = code
        async with running(settings(where, 9, every="1h")) as kept:
            await until(lambda: kept.failures >= 2)
            device.refusal = None
            await until(lambda: kept.polls >= 1)
        assert set(kept.readings) == true_values(9)


@pytest.mark.parametrize("wire", ["tcp", "serial"])
@pytest.mark.parametrize("silent", VALUES)
async def test_silence_about_one_value_hides_no_other(wire: str, silent: str, tmp_path: Path) -> None:
    address = PROFILE.quantities[silent].address.to_bytes(2, "big")
    async with on_the_wire(wire, tmp_path) as (bank, where):
        add(bank, 9).fault = lambda said: () if address in said.request[2:] else (said.frame(),)
        async with running(settings(where, 9, timeout="20ms")) as kept:
            await until(lambda: len({meter for meter, _ in kept.readings}) == 2 and kept.polls >= 4)
        assert set(kept.readings) == true_values(9) - {(f"{silent}-9", VALUES[silent])}


@pytest.mark.parametrize("wire", ["rtu", "serial"])
async def test_a_device_that_says_nothing_to_half_a_value_comes_back(wire: str, tmp_path: Path) -> None:
    async with on_the_wire(wire, tmp_path) as (bank, where):
        device = add(bank, 9)

        def only_whole_values(said: Said) -> Iterable[bytes]:
            return () if said.request[5] % 2 else (said.frame(),)

        device.fault = only_whole_values
        async with running(settings(where, 9, timeout="20ms")) as kept:
            await until(lambda: kept.polls >= 1)
            device.fault = lambda said: ()
            failures = kept.failures
            await until(lambda: kept.failures > failures)
            device.fault = only_whole_values
            polls = kept.polls
            await until(lambda: kept.polls >= polls + 2)
        assert set(kept.readings) == true_values(9)


async def test_a_line_that_is_too_slow_for_its_devices_is_told(tmp_path: Path) -> None:
    devices = SerialModbusDevices(ModbusBank(framing=Framing.RTU), port=tmp_path / "ttyUSB0")
    await devices.start()
    loop = asyncio.get_running_loop()

    def take_a_while(said: Said) -> Iterable[bytes]:
        loop.call_later(0.03, devices.send, said.frame())
        return ()

    add(devices.bank, 9).fault = take_a_while
    where = {"serial": {"port": str(devices.port)}}
    with capture_logs() as logged:
        async with running(settings(where, 9, every="20ms", timeout="60s")) as kept:
            await until(lambda: any(entry["action"] == "driver.slow" for entry in logged))
    await devices.stop()
    assert kept.polls >= 5
    assert kept.failures == 0


@pytest.mark.parametrize("wire", WIRES)
async def test_drivers_on_one_line_share_its_bus_and_a_dead_one_stops_nobody(wire: str, tmp_path: Path) -> None:
    async with on_the_wire(wire, tmp_path) as (bank, where), AsyncExitStack() as stack:
        for device_id in (1, 2, 3):
            add(bank, device_id)
        kept = {i: await stack.enter_async_context(running(settings(where, i, timeout="30ms"))) for i in (1, 2, 3)}
        await until(lambda: all(one.polls >= 2 for one in kept.values()))
        assert bank.connections <= 1
        bank.devices[2].fault = lambda said: ()
        failures, polls = kept[2].failures, {i: kept[i].polls for i in (1, 3)}
        await until(lambda: kept[2].failures >= failures + 3)
        await until(lambda: all(kept[i].polls >= polls[i] + 3 for i in (1, 3)))
        assert kept[1].failures == kept[3].failures == 0
        bank.devices[2].fault = None
        polls_2 = kept[2].polls
        await until(lambda: kept[2].polls > polls_2)
    for device_id, one in kept.items():
        assert set(one.readings) == true_values(device_id)


async def test_one_request_at_a_time_and_each_in_its_turn(tmp_path: Path) -> None:
    """Nobody is asked again while another waits."""
    async with on_the_wire("tcp", tmp_path) as (bank, where):
        order: list[int] = []
        for device_id in (1, 2, 3):

            def note(said: Said) -> Iterable[bytes]:
                order.append(said.device_id)
                return (said.frame(),)

            add(bank, device_id).fault = note
        bus = join(TcpLine(host="127.0.0.1", port=where["port"], framing=Framing.TCP))

        async def ask(device_id: int) -> None:
            for _ in range(4):
                request = Request(device_id=device_id, function=Function.INPUT, address=0x28, count=2)
                await bus.ask(request, timeout_s=5)

        await asyncio.gather(*(ask(device_id) for device_id in (1, 2, 3)))
        bus.leave()
    assert order == [1, 2, 3] * 4


async def test_a_driver_that_stops_leaves_the_connection_to_the_others(tmp_path: Path) -> None:
    async with on_the_wire("tcp", tmp_path) as (bank, where):
        add(bank, 1)
        add(bank, 2)
        async with running(settings(where, 1)) as stays:
            async with running(settings(where, 2)) as goes:
                await until(lambda: min(stays.polls, goes.polls) >= 1)
            polls = stays.polls
            await until(lambda: stays.polls >= polls + 2)
        assert stays.failures == 0
        assert bank.connections == 1


async def test_a_gateway_that_is_away_costs_all_of_its_devices_one_attempt(tmp_path: Path) -> None:
    async with on_the_wire("tcp", tmp_path) as (_, where):
        pass
    bus = join(TcpLine(host="127.0.0.1", port=where["port"], framing=Framing.TCP))
    request = Request(device_id=1, function=Function.INPUT, address=0, count=1)
    told = await asyncio.gather(*(bus.ask(request, timeout_s=5) for _ in range(5)), return_exceptions=True)
    bus.leave()
    assert Counter(type(one) for one in told) == {LineDownError: 5}
    assert bus._attempts == 1
    assert "refuses the connection; check the port" in str(told[0])


async def test_what_is_wrong_with_a_serial_port_is_told(tmp_path: Path) -> None:
    async def why(port: Path) -> str:
        bus = join(SerialLine(port=str(port), baud=9600, parity=Parity.NONE, stop_bits=1))
        request = Request(device_id=1, function=Function.INPUT, address=0, count=1)
        with pytest.raises(LineDownError) as told:
            await bus.ask(request, timeout_s=1)
        bus.leave()
        return str(told.value)

    assert "is the adapter plugged in?" in await why(tmp_path / "ttyUSB7")
    (tmp_path / "file").write_text("no port")
    assert "cannot be opened" in await why(tmp_path / "file")
    async with on_the_wire("serial", tmp_path) as (bank, where):
        add(bank, 1)
        async with running(settings(where, 1)) as kept:
            await until(lambda: kept.polls >= 1)
            # The same port on other terms is another bus, which does not get it.
            other = SerialLine(port=where["serial"]["port"], baud=19200, parity=Parity.NONE, stop_bits=1)
            bus = join(other)
            with pytest.raises(LineDownError, match="another program, or a driver with other settings"):
                await bus.ask(Request(device_id=1, function=Function.INPUT, address=0, count=1), timeout_s=1)
            bus.leave()


async def test_bytes_that_are_no_answer_are_told_apart_from_silence(tmp_path: Path) -> None:
    async with on_the_wire("serial", tmp_path) as (bank, where):
        add(bank, 1).fault = lambda said: (b"\x55\xaa\x55",)
        bus = join(SerialLine(port=where["serial"]["port"], baud=9600, parity=Parity.NONE, stop_bits=1))
        with pytest.raises(NonsenseError, match=r"3 bytes that are no answer .*\(55 aa 55 …\); check baud, parity"):
            await bus.ask(Request(device_id=1, function=Function.INPUT, address=0, count=1), timeout_s=0.05)
        bus.leave()


def test_settings_that_do_not_go_together() -> None:
    def refused(**given: Any) -> str:
        base = {"name": "d", "driver": "modbus", "profile": "abb-b23", "meters": {"m": "power"}}
        with pytest.raises(ValidationError) as error:
            ModbusSettings.model_validate(base | given)
        return str(error.value)

    serial = {"port": "/dev/ttyUSB0"}
    assert "give either `host`" in refused()
    assert "give either `host`" in refused(host="h", serial=serial)
    assert "`port` and `framing` go with `host`" in refused(serial=serial, port=502)
    assert "device_id 0 cannot be had in RTU" in refused(serial=serial, device_id=0)
    assert "device_id 250 cannot be had in RTU" in refused(host="h", framing="rtu", device_id=250)
    assert "31 baud is no usual speed" in refused(serial=serial | {"baud": 31})
    assert "String should match pattern" in refused(serial={"port": "ttyUSB0"})


def test_the_silence_before_a_request_is_that_of_the_specification() -> None:
    def pause(baud: int) -> float:
        return SerialLine(port="/dev/x", baud=baud, parity=Parity.NONE, stop_bits=1).pause_s

    assert pause(9600) == pytest.approx(0.00401, rel=0.01)
    assert pause(115200) == 0.00175
