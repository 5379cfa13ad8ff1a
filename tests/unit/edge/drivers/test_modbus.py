"""The Modbus driver against pymodbus' own server on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.drivers import DriverContext
from edge.drivers.modbus.driver import ModbusDriver, ModbusSettings
from edge.errors import EdgePermanentError
from edge.readings import Taken

ABB = {"oven-electricity": "energy-import", "oven-export": "energy-export", "oven-power": "power"}
DEADLINE_S = 60


def words(layout: str, value: float) -> list[int]:
    data = struct.pack(layout, value)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def registers(address: int, values: list[int]) -> SimData:
    return SimData(address=address, values=values, datatype=DataType.REGISTERS)


def abb(**device: Any) -> SimDevice:
    energy = words(">Q", 1_234_567) + [0xFFFF] * 4
    return SimDevice(id=7, simdata=[registers(0x5000, energy), registers(0x5B14, words(">i", -250))], **device)


@asynccontextmanager
async def serving(device: SimDevice, port: int = 0) -> AsyncIterator[int]:
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        listening: Any = server.transport
        yield listening.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


class Failures:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def make_driver(port: int, failures: Callable[[], None] = lambda: None, **settings: Any) -> ModbusDriver:
    given = {"profile": "abb-b23", "device_id": 7, "every": "20ms", "timeout": "300ms", "longest_wait": "50ms"}
    model = ModbusSettings.model_validate(
        {"name": "d", "driver": "modbus", "host": "127.0.0.1", "port": port, "meters": ABB, **given, **settings}
    )
    return ModbusDriver(model, DriverContext(agent="a", folder=Path(), count_failure=failures))


@asynccontextmanager
async def reading(driver: ModbusDriver) -> AsyncIterator[AsyncIterator[Taken]]:
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


def values(taken: Taken) -> dict[str, tuple[float, str]]:
    return {r.meter: (r.value, r.unit) for r in taken.readings}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_values_in_their_units_and_absent_ones_absent() -> None:
    failures = Failures()
    async with serving(abb()) as port, reading(make_driver(port, failures)) as readings:
        for _ in range(3):
            assert values(await anext(readings)) == {"oven-electricity": (12_345.67, "kWh"), "oven-power": (-2.5, "W")}
    assert failures.count == 0


async def test_low_words_first_and_input_registers() -> None:
    low_first = list(reversed(words(">i", 70_000)))
    device = SimDevice(id=1, simdata=[registers(0x34, low_first)])
    async with serving(device) as port:
        driver = make_driver(port, profile="carlo-gavazzi-em340", device_id=1, meters={"main": "energy-import"})
        async with reading(driver) as readings:
            assert values(await anext(readings)) == {"main": (7_000.0, "kWh")}


async def test_neighbours_come_in_one_request() -> None:
    asked: list[tuple[int, int]] = []

    async def note(
        _function: int, _start: int, address: int, count: int, _current: list[int], _new: object
    ) -> ExcCodes | None:
        asked.append((address, count))
        return None

    async with serving(abb(action=note)) as port, reading(make_driver(port)) as readings:
        await anext(readings)
    assert asked[:2] == [(0x5000, 8), (0x5B14, 2)]


async def test_a_refused_register_costs_only_itself() -> None:
    failures = Failures()
    device = SimDevice(id=7, simdata=[registers(0x5B14, words(">i", 100))])
    async with serving(device) as port, reading(make_driver(port, failures)) as readings:
        assert values(await anext(readings)) == {"oven-power": (1.0, "W")}
    assert failures.count >= 1


async def test_a_device_that_vanishes_comes_back() -> None:
    failures = Failures()
    async with serving(abb()) as port:
        driver = make_driver(port, failures)
        async with reading(driver) as readings:
            await anext(readings)
    # A connection of its own, so that the server's end is the device's end.
    driver = make_driver(port, failures)
    async with reading(driver) as readings:
        waiting = asyncio.ensure_future(anext(readings))
        await until(lambda: failures.count >= 3)
        assert not waiting.done()
        async with serving(abb(), port):
            assert "oven-electricity" in values(await waiting)
            before = failures.count
        # The server has gone with connections open.
        waiting = asyncio.ensure_future(_next_after_silence(readings, failures, before))
        await until(lambda: failures.count > before)
        async with serving(abb(), port):
            assert "oven-power" in values(await waiting)


async def _next_after_silence(readings: AsyncIterator[Taken], failures: Failures, before: int) -> Taken:
    while True:
        taken = await anext(readings)
        if failures.count > before:
            return taken


async def test_a_device_that_does_not_answer_is_let_go_and_tried_again() -> None:
    failures = Failures()
    writers: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, reading(make_driver(server.sockets[0].getsockname()[1], failures, timeout="50ms")) as readings:
        waiting = asyncio.ensure_future(anext(readings, None))
        await until(lambda: len(writers) >= 3)
        assert failures.count >= 2
        waiting.cancel()
        await asyncio.wait([waiting])
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def test_an_unknown_quantity_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EdgePermanentError, match=r"meter m: profile abb-b23 has no quantity 'heat'; known: power"):
        make_driver(1, meters={"m": "heat"})


def test_what_a_profile_knows_of_its_meters_is_offered(tmp_path: Path) -> None:
    own = """
    name: own
    description: a meter with five digits
    source: its dial
    protocol: modbus
    function: holding
    quantities:
      oven: {address: 1, type: u32, unit: kWh, resource: energy, kind: counter, register_width: 100000,
             rated_maximum: 69.5, accuracy_class: 0.5}
      power: {address: 3, type: u32, unit: W, resource: energy, kind: rate}
    """
    (tmp_path / "own.yaml").write_text(own, encoding="utf-8")
    settings = ModbusSettings.model_validate(
        {
            "name": "d",
            "driver": "modbus",
            "host": "127.0.0.1",
            "profile": "own.yaml",
            "meters": {"oven": "oven", "power": "power"},
        }
    )
    oven, power = ModbusDriver(settings, DriverContext(agent="a", folder=tmp_path)).offers()
    assert (oven.register_width, oven.rated_maximum, oven.accuracy_class, oven.cadence_ms) == (1e5, 69.5, 0.5, 10_000)
    assert (power.register_width, power.rated_maximum, power.accuracy_class) == (None, None, None)
    (tmp_path / "own.yaml").write_text(own.replace("kind: rate", "kind: rate, register_width: 9"), encoding="utf-8")
    with pytest.raises(EdgePermanentError, match="only a counter has a register that begins again"):
        ModbusDriver(settings, DriverContext(agent="a", folder=tmp_path))


def test_the_register_list_of_siemens_says_where_energies_overflow() -> None:
    offers = make_driver(1, profile="siemens-pac3200", meters={"in": "energy-import", "p": "power"}).offers()
    assert [(offer.unit, offer.register_width) for offer in offers] == [("Wh", 1e12), ("W", None)]
