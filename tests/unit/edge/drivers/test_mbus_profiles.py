"""Shipped M-Bus profiles, each read from a simulated meter that tells what such meters are known to tell."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge.devices.mbus import Gateway, Segment, SimulatedMeter
from edge.drivers import DriverContext
from edge.drivers.mbus.driver import MbusDriver, MbusSettings
from edge.drivers.mbus.frames import Frame
from edge.drivers.mbus.profile import MbusProfile, fitting_profiles, load_mbus_profile
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.telegram import decode_telegram
from edge.drivers.profile import Protocol, shipped_profiles
from edge.errors import EdgePermanentError

SHIPPED = tuple(shipped_profiles(Protocol.MBUS))

# Who says it; the records of its telegram, as public samples have them or as the standard would; each quantity's value.
METERS: dict[str, tuple[str, str, dict[str, float]]] = {
    "kamstrup-multical": (
        "06855817-KAM-08-04",
        "04 06 E7 91 00 00  04 14 2C DB 00 00  04 22 D9 03 00 00  04 59 B9 27 00 00  04 2D 5B 01 00 00"
        "14 2D C0 01 00 00  04 3B 1F 02 00 00  84 10 06 00 00 00 00  84 40 14 7B 00 00 00  84 80 40 14 C8 01 00 00"
        "44 06 51 82 00 00  54 2D 26 02 00 00  0F 00 01",
        {"heat-energy": 37351.0, "heat-power": 34.7, "water-a": 1.23, "water-b": 4.56},
    ),
    "landis-gyr-ultraheat": (
        "66660205-LUG-07-04",
        "09 74 04  0C 06 45 23 01 00  0C 14 00 00 00 00  0B 2D 78 00 00  0B 5A 95 01 00  0B 62 02 00 F0"
        "8C 90 10 06 99 00 00 00  9B 10 2D 99 00 00  4C 06 11 00 00 00",
        {"heat-energy": 12345.0, "heat-power": 7.8},
    ),
    "sensus-pollucom": (
        "63940045-SEN-08-04",
        "0C 06 19 90 01 00  0C 13 19 11 62 01  0C 3B 00 00 00 00  0C 2B 34 12 00 00  02 5A 67 01  1F",
        {"heat-energy": 19019.0, "heat-power": 1.234},
    ),
    "engelmann-waterstar": (
        "04990254-EFE-00-06",
        "04 13 4C 01 00 00  44 13 4B 01 00 00  84 01 13 4C 01 00 00  04 3B 10 00 00 00  14 3B 16 08 00 00"
        "04 90 28 08 00 00 00",
        {"volume": 0.332, "flow": 0.016},
    ),
    "itron-cyble-water": (
        "10020380-ACW-14-16",
        "0D 7C 08 44 49 20 2E 74 73 75 63 0A 20 20 20 20 20 20 20 20 20 20  04 15 B7 11 00 00"
        "04 95 7F 05 00 00 00  44 15 B6 11 00 00  0F 00 04 1F",
        {"volume": 453.5},
    ),
    "itron-cyble-gas": (
        "10020387-ACW-14-03",
        "04 14 1A 00 00 00  04 94 7F 07 00 00 00  44 14 19 00 00 00  0F 00 02 1F",
        {"volume": 0.26},
    ),
    "emu-professional": (
        "00032629-EMU-10-02",
        "84 10 03 54 05 00 00  84 20 03 07 00 00 00  84 90 40 03 AE 1E 00 00  04 AB FF 01 FD FF FF FF"
        "04 2B FE FF FF FF  84 80 40 2B 0E 00 00 00",
        {"energy-import": 1.364, "energy-import-tariff-2": 0.007, "power": -0.002},
    ),
    "finder-7e": (
        "23006207-FIN-23-02",
        "8C 10 04 68 28 17 00  8C 11 04 11 11 11 00  02 AC FF 01 09 00  82 40 AC FF 01 FD FF",
        {"energy-import": 1728.68, "power": 0.09},
    ),
    "mbus-heat": (
        "11155185-ACW-0A-0D",
        "04 06 01 00 00 00  04 86 3C 02 00 00 00  3B 2D 99 99 99  0B 2D 30 00 00",
        {"heat-energy": 1.0, "cooling-energy": 2.0, "heat-power": 3.0},
    ),
    "mbus-cooling": (
        "00000001-ACW-0A-0A",
        "04 FB 09 04 00 00 00  04 33 90 00 00 00",
        {"cooling-energy": 4e9 / 3.6e6, "cooling-power": 0.04},
    ),
    "mbus-water": ("00000002-ZRI-01-07", "0C 14 23 01 00 00  02 42 18 00", {"volume": 1.23, "flow": 0.0144}),
    "mbus-gas": ("00000003-ELS-01-03", "0C 13 01 00 00 00  0B 3B 50 02 00", {"volume": 0.001, "flow": 0.25}),
    "mbus-electricity": (
        "78563412-ABB-02-02",
        "0E 84 00 23 01 00 00 00 00  8E 10 84 00 99 00 00 00 00 00  0E 84 3C 07 00 00 00 00 00  0B 2A 56 34 12",
        {"energy-import": 1.23, "energy-export": 0.07, "power": 12.3456},
    ),
    "mbus-compressed-air": (
        "00000004-VPI-01-09",
        "04 15 0A 00 00 00  04 3D 2D 01 00 00",
        {"volume": 1.0, "flow": 30.1},
    ),
}


def test_each_shipped_profile_has_a_meter_here() -> None:
    assert set(METERS) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
async def test_a_profile_reads_its_meter(name: str) -> None:
    identity, records, expected = METERS[name]
    profile = load_mbus_profile(name, folder=Path())
    assert set(profile.quantities) == set(expected), "each quantity has a value here"
    meter = SimulatedMeter(identity=SecondaryAddress.parse(identity), address=1, telegrams=[[bytes.fromhex(records)]])
    gateway = Gateway(Segment(meters=[meter]))
    await gateway.start()
    model = MbusSettings.model_validate(
        {
            "name": "d",
            "driver": "mbus",
            "host": "127.0.0.1",
            "port": gateway.port,
            "address": 1,
            "profile": name,
            "meters": {quantity: quantity for quantity in expected},
        }
    )
    driver = MbusDriver(model, DriverContext(agent="a", folder=Path()))
    await driver.start()
    try:
        readings = driver.readings()
        async with asyncio.timeout(60):
            taken = await anext(readings)
        assert {r.meter: r.value for r in taken.readings} == expected
        assert {r.meter: r.unit for r in taken.readings} == {o.meter: o.unit for o in driver.offers()}
        await readings.aclose()  # type: ignore[attr-defined] # a generator, as all drivers' are
    finally:
        await driver.stop()
        await gateway.stop()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_is_offered_for_its_meter(name: str) -> None:
    identity, records, _ = METERS[name]
    head = SecondaryAddress.parse(identity).encode() + bytes(4)
    telegram = decode_telegram(Frame(control=8, address=1, information=0x72, data=head + bytes.fromhex(records)))
    assert telegram.identity is not None
    offered = [profile.name for profile in fitting_profiles(telegram.identity, telegram.records, folder=Path())]
    assert name in offered
    if load_mbus_profile(name, folder=Path()).meter.makers:
        assert offered[0] == name, "the profile of its maker comes first"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_says_where_its_facts_come_from(name: str) -> None:
    profile = load_mbus_profile(name, folder=Path())
    assert profile.name == name
    assert "not tried on hardware" in profile.source


OWN = """
name: own
description: mine
source: its data sheet
protocol: mbus
quantities:
  good: {measures: count, position: 2, scale: 0.5, unit: pcs, resource: production, kind: counter, carrier: good}
  steam: {measures: mass, unit: t, resource: material, kind: counter}
"""


def test_one_s_own_profile(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN, encoding="utf-8")
    profile = load_mbus_profile("own.yaml", folder=tmp_path)
    assert isinstance(profile, MbusProfile)
    assert profile.battery


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("measures: mass", "measures: other", "`other` can't be a quantity"),
        ("unit: t,", "unit: m3,", "mass can't be told in m3; use one of: kg, g, t"),
        ("measures: mass", "measures: weight", "quantities.steam.measures"),
        ("measures: mass", "position: 0, measures: mass", "quantities.steam.position"),
        ("position: 2", "vife: [0x80]", "quantities.good.vife.0"),
        ("protocol: mbus", "protocol: modbus", "is for the driver modbus, not for mbus"),
        ("protocol: mbus", "protocol: mbus\nmeter: {makers: [kam]}", "meter.makers.0"),
    ],
)
def test_mistakes_in_a_profile_are_told(tmp_path: Path, old: str, new: str, reason: str) -> None:
    (tmp_path / "own.yaml").write_text(OWN.replace(old, new), encoding="utf-8")
    with pytest.raises(EdgePermanentError, match=reason):
        load_mbus_profile("own.yaml", folder=tmp_path)
