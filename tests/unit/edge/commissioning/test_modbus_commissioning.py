"""Scan and probe against a simulated meter, one mistake at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.commissioning.ids import parse_ids
from edge.commissioning.modbus_probe import ModbusTarget, probe_modbus
from edge.commissioning.modbus_reading import registers_of
from edge.commissioning.modbus_scan import scan_modbus
from edge.commissioning.observed import Findings, Verdict
from edge.devices.modbus import ModbusBank, SerialModbusDevices, SimulatedDevice, TcpModbusDevices
from edge.devices.modbus_faults import Said
from edge.drivers.modbus.line import Framing, SerialLine, TcpLine
from edge.drivers.modbus.profile import ModbusProfile, load_modbus_profile
from edge.drivers.modbus.registers import Function, WordOrder
from edge.drivers.reach import Parity
from edge.errors import EdgePermanentError

VALUES = {
    "power": 12_000.0,
    "energy-import": 10_234.5,
    "energy-export": 12.5,
    **{f"voltage-l{i}": 230.0 + i for i in (1, 2, 3)},
    **{f"power-l{i}": 4_000.0 for i in (1, 2, 3)},
}
IEM: Mapping[str, float] = (
    VALUES | {"power": 12.0, "energy-import": 10_234_500.0, "frequency": 50.0} | {f"power-l{i}": 4.0 for i in (1, 2, 3)}
)
QUANTITIES = ("power", "energy-import", "energy-export")
MINUTE_MS = 60_000


def profile_of(name: str) -> ModbusProfile:
    return load_modbus_profile(name, folder=Path())


@asynccontextmanager
async def serving(bank: ModbusBank) -> AsyncIterator[TcpLine]:
    devices = TcpModbusDevices(bank)
    await devices.start()
    try:
        yield TcpLine(host="127.0.0.1", port=devices.port, framing=bank.framing)
    finally:
        await devices.stop()


def minutes() -> int:
    """A clock that is a minute on at each look."""
    minutes.now += MINUTE_MS  # type: ignore[attr-defined]
    return minutes.now  # type: ignore[attr-defined,no-any-return]


minutes.now = 0  # type: ignore[attr-defined]


async def probe(line: TcpLine, profile: str, *, device_id: int = 1, timeout_s: float = 1.0) -> Findings:
    target = ModbusTarget(line=line, device_id=device_id, profile=profile_of(profile), timeout_s=timeout_s)
    return await probe_modbus(target, apart_s=0, now_ms=minutes)


def show(device: SimulatedDevice, name: str, values: Mapping[str, float], **changed: Any) -> None:
    """The values as that profile has them, with something of each register changed."""
    for register in registers_of(profile_of(name)):
        if register.key in values:
            device.hold(replace(register, **changed), values[register.key])


def verdicts(found: Findings) -> dict[str, Verdict]:
    return {judged.observed.name: judged.remark.verdict for judged in found.values}


async def test_a_meter_that_is_right() -> None:
    bank = ModbusBank()
    show(bank.add(1), "carlo-gavazzi-em340", VALUES)
    async with serving(bank) as line:
        found = await probe(line, "carlo-gavazzi-em340")
    values = {judged.observed.name: judged.observed.last for judged in found.values}
    assert values == VALUES
    assert all(len(judged.observed.values) == 2 for judged in found.values)
    # The counter stands still although power flows: no simulated time passes for it.
    assert verdicts(found).pop("energy-import") is Verdict.IMPLAUSIBLE
    assert not found.advice


async def test_a_counter_that_rises_with_its_power() -> None:
    bank = ModbusBank()
    device = bank.add(1)
    show(device, "carlo-gavazzi-em340", VALUES)

    def rise(said: Said) -> Iterable[bytes]:
        # 12 kW for the minutes that the clock goes on with each block that is read.
        elapsed_h = (minutes.now - began) / 3_600_000  # type: ignore[attr-defined]
        device.show(profile_of("carlo-gavazzi-em340"), {"energy-import": 10_234.5 + 12 * elapsed_h})
        return (said.frame(),)

    device.fault = rise
    began = minutes.now  # type: ignore[attr-defined]
    async with serving(bank) as line:
        found = await probe(line, "carlo-gavazzi-em340")
    assert found.ok, [judged.remark for judged in found.values]
    (told,) = (judged.remark.text for judged in found.values if judged.observed.name == "energy-import")
    assert told == "rises as the power says"


@pytest.mark.parametrize("order", [order for order in WordOrder if order is not WordOrder.LOW_FIRST])
async def test_another_word_order_is_named(order: WordOrder) -> None:
    bank = ModbusBank()
    show(bank.add(1), "carlo-gavazzi-em340", VALUES, word_order=order)
    async with serving(bank) as line:
        found = await probe(line, "carlo-gavazzi-em340")
    assert not found.ok
    (advice,) = found.advice
    assert f"with `word_order: {order}` everything is plausible (voltage-l1 231 V)" in advice


@pytest.mark.parametrize(("shift", "text"), [(-1, "one too high"), (1, "one too low")])
async def test_addresses_that_are_off_by_one_are_told(shift: int, text: str) -> None:
    bank = ModbusBank()
    device = bank.add(1)
    device.fill(Function.HOLDING, 0x0BD0, 0x0C90 - 0x0BD0)
    for register in registers_of(profile_of("schneider-iem3155")):
        device.hold(replace(register, address=register.address + shift), IEM[register.key])
    async with serving(bank) as line:
        found = await probe(line, "schneider-iem3155")
    (advice,) = found.advice
    assert text in advice
    assert "voltage-l1 231 V" in advice


async def test_the_other_function_is_told() -> None:
    bank = ModbusBank()
    show(bank.add(1), "carlo-gavazzi-em340", VALUES, function=Function.HOLDING)
    async with serving(bank) as line:
        found = await probe(line, "carlo-gavazzi-em340")
    assert "with `function: holding` everything is plausible" in found.advice[0]
    assert {verdicts(found)[quantity] for quantity in QUANTITIES} == {Verdict.MISSING}
    assert not found.ok


async def test_another_meter_is_recognised() -> None:
    bank = ModbusBank()
    show(bank.add(1), "schneider-iem3155", IEM)
    async with serving(bank) as line:
        found = await probe(line, "abb-b23")
    assert found.advice[0].startswith(
        "the profile: through schneider-iem3155 everything is plausible (voltage-l1 231 V)"
    )


async def test_a_meter_that_nobody_knows() -> None:
    bank = ModbusBank()
    bank.add(1).fill(Function.HOLDING, 0, 10)
    async with serving(bank) as line:
        found = await probe(line, "abb-b23")
    assert "compare its type with the profile's" in found.advice[0]


async def test_a_reversed_transformer_and_a_missing_phase_are_told_with_the_phase() -> None:
    bank = ModbusBank()
    show(bank.add(1), "carlo-gavazzi-em340", VALUES | {"power-l2": -4_000.0, "voltage-l3": 0.2})
    async with serving(bank) as line:
        found = await probe(line, "carlo-gavazzi-em340")
    told = {judged.observed.name: judged.remark.text for judged in found.values}
    assert "the current transformer of this phase is the wrong way round" in told["power-l2"]
    assert "is this phase connected" in told["voltage-l3"]
    assert told["power-l1"] == told["voltage-l1"] == ""
    # The registers are right: nobody is sent to look at profiles.
    assert not found.advice


async def test_registers_that_one_variant_lacks_hide_no_others() -> None:
    bank = ModbusBank()
    show(bank.add(1), "carlo-gavazzi-em340", {name: v for name, v in VALUES.items() if name != "voltage-l3"})
    async with serving(bank) as line:
        found = await probe(line, "carlo-gavazzi-em340")
    assert verdicts(found)["voltage-l3"] is Verdict.UNSURE
    assert verdicts(found)["voltage-l1"] is Verdict.PLAUSIBLE
    assert verdicts(found)["power-l1"] is Verdict.PLAUSIBLE


async def test_a_gateway_without_a_path() -> None:
    async with serving(ModbusBank(foreign=11)) as line:
        found = await probe(line, "abb-b23", device_id=5)
    assert {verdicts(found)[quantity] for quantity in QUANTITIES} == {Verdict.MISSING}
    assert not found.ok
    assert found.advice[0].startswith("the gateway answers and does not reach device 5: the gateway gets no answer")
    assert "edge scan modbus" in found.advice[1]


async def test_silence_says_what_to_look_at() -> None:
    bank = ModbusBank(framing=Framing.RTU)
    bank.add(1)
    async with serving(bank) as line:
        found = await probe(line, "abb-b23", device_id=5, timeout_s=0.05)
    assert found.advice[0] == "no answer within 0.05 s; check device_id, wiring and power"
    assert "is 5 its id" in found.advice[1]
    assert not found.values
    found = await probe(line, "abb-b23")
    assert [advice.partition("refuses")[1] for advice in found.advice] == ["refuses"]


async def test_noise_on_a_serial_line_says_what_to_look_at(tmp_path: Path) -> None:
    devices = SerialModbusDevices(ModbusBank(framing=Framing.RTU), port=tmp_path / "ttyUSB0")
    devices.bank.add(3).fault = lambda said: (b"\x00\xfe\x00",)
    await devices.start()
    line = SerialLine(port=str(devices.port), baud=9600, parity=Parity.NONE, stop_bits=1)
    target = ModbusTarget(line=line, device_id=3, profile=profile_of("abb-b23"), timeout_s=0.05)
    found = await probe_modbus(target, apart_s=0)
    await devices.stop()
    assert "3 bytes that are no answer" in found.advice[0]
    assert any("exchange them once" in advice for advice in found.advice)


async def test_a_scan_finds_who_answers_and_what_it_is() -> None:
    bank = ModbusBank()
    show(bank.add(3), "schneider-iem3155", IEM)
    bank.add(7).refusal = 1
    told = []
    async with serving(bank) as line:
        (scan,) = await scan_modbus(
            [line], range(1, 10), timeout_s=1, progress=lambda line, id_, found: told.append((id_, found is not None))
        )
    assert told == [(i, i in {3, 7}) for i in range(1, 10)]
    iem, silent = scan.found
    assert (iem.device_id, iem.candidates[0].profile) == (3, "schneider-iem3155")
    assert iem.candidates[0].evidence == "voltage-l1 231 V"
    assert (silent.device_id, silent.answer) == (7, "it does not know the function; check the profile")
    assert silent.candidates == []
    assert not scan.is_indifferent


async def test_a_gateway_that_is_away_for_a_moment_ends_no_scan() -> None:
    devices = TcpModbusDevices(ModbusBank(framing=Framing.RTU))
    for device_id in (1, 5):
        devices.bank.add(device_id).fill(Function.HOLDING, 0, 1)
    restarts: list[asyncio.Task[None]] = []

    async def restart() -> None:
        await devices.vanish()
        await asyncio.sleep(0.1)
        await devices.start()

    def fall_over(said: Said) -> Iterable[bytes]:
        if not restarts:
            restarts.append(asyncio.create_task(restart()))
        return ()

    devices.bank.add(3).fault = fall_over
    await devices.start()
    line = TcpLine(host="127.0.0.1", port=devices.port, framing=Framing.RTU)
    # (Nobody answers under 4, so that the first who is asked after the restart says nothing.)
    (scan,) = await scan_modbus([line], range(1, 6), timeout_s=0.05)
    await asyncio.gather(*restarts)
    await devices.stop()
    assert [device.device_id for device in scan.found] == [1, 5]


async def test_a_device_that_answers_under_every_id_is_one() -> None:
    bank = ModbusBank()
    for device_id in range(1, 9):
        show(bank.add(device_id), "carlo-gavazzi-em340", VALUES)
    async with serving(bank) as line:
        (scan,) = await scan_modbus([line], range(1, 9), timeout_s=1)
    assert scan.is_indifferent
    assert "carlo-gavazzi-em340" in [one.profile for one in scan.found[0].candidates]


async def test_a_serial_line_is_tried_on_other_terms_until_somebody_answers(tmp_path: Path) -> None:
    devices = SerialModbusDevices(ModbusBank(framing=Framing.RTU), port=tmp_path / "ttyUSB0")
    show(devices.bank.add(2), "carlo-gavazzi-em340", VALUES)
    await devices.start()
    missing = SerialLine(port=str(tmp_path / "none"), baud=9600, parity=Parity.NONE, stop_bits=1)
    # (A pseudo-terminal has no speed: the first that can be opened is right.)
    lines = [missing, *(replace(missing, port=str(devices.port), baud=baud) for baud in (19200, 38400))]
    scans = await scan_modbus(lines, [1, 2, 3], timeout_s=0.03)
    await devices.stop()
    (scan,) = scans
    assert (str(scan.line), scan.line.terms) == (str(devices.port), "Modbus RTU, 19200 baud, parity none, stop bits 1")
    assert [device.device_id for device in scan.found] == [2]


def test_ids_as_people_write_them() -> None:
    assert parse_ids("1-3, 9,7") == [1, 2, 3, 7, 9]
    assert len(parse_ids("1-247")) == 247
    for text in ("", "0", "248", "5-1", "a", "1,,2", "1-300"):
        with pytest.raises(EdgePermanentError, match="device ids; write 1-247, or"):
            parse_ids(text)
