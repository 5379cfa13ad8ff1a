"""Every profile that ships is read, all of it, from a simulated device that serves its registers or records."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from edge.commissioning.catalogue import catalogue, find_entry, profile_schema
from edge.devices.modbus import ModbusBank, TcpModbusDevices
from edge.drivers import DriverContext, find_driver
from edge.drivers.mbus.profile import load_mbus_profile
from edge.drivers.modbus.profile import load_modbus_profile
from edge.drivers.profile import Protocol, shipped_profiles
from edge.errors import EdgePermanentError
from edge.readings import Reading
from schemas.resources import MeterKind

MODBUS = sorted(shipped_profiles(Protocol.MODBUS))


async def read_once(settings: dict[str, object]) -> list[Reading]:
    kind = find_driver("modbus")
    driver = kind.create(kind.settings.model_validate(settings), DriverContext(agent="a", folder=Path()))
    await driver.start()
    try:
        async with asyncio.timeout(60):
            async for taken in driver.readings():
                return list(taken.readings)
    finally:
        await driver.stop()
    return []


@pytest.mark.parametrize("name", MODBUS)
async def test_every_quantity_comes_in_its_unit(name: str) -> None:
    profile = load_modbus_profile(name, folder=Path())
    # Values that every type of register holds exactly, whatever its scale, and no two alike.
    shown = {quantity: 10.0 * (i + 1) for i, quantity in enumerate([*profile.quantities, *profile.checks])}
    bank = ModbusBank()
    bank.add(1).show(profile, shown)
    if profile.gap:
        # A profile that says so reads along what lies between: the meter has registers there.
        for function in {place.function or profile.function for place in profile.quantities.values()}:
            places = [place.address for place in [*profile.quantities.values(), *profile.checks.values()]]
            bank.devices[1].fill(function, min(places), max(places) + 4 - min(places))
    devices = TcpModbusDevices(bank)
    await devices.start()
    try:
        readings = await read_once(
            {
                "name": "d",
                "driver": "modbus",
                "host": "127.0.0.1",
                "port": devices.port,
                "profile": name,
                "every": "1s",
                "meters": {quantity: quantity for quantity in profile.quantities},
            }
        )
    finally:
        await devices.stop()
    got = {reading.meter: (reading.value, reading.unit) for reading in readings}
    assert got == {name: (shown[name], quantity.unit) for name, quantity in profile.quantities.items()}


@pytest.mark.parametrize("name", sorted(shipped_profiles()))
def test_a_profile_says_what_it_is_and_whence(name: str) -> None:
    entry = find_entry(name)
    assert entry.name == name
    assert len(entry.source) > 10
    assert any(quantity.kind is MeterKind.COUNTER for quantity in entry.quantities.values())


@pytest.mark.parametrize("protocol", list(Protocol))
def test_profiles_follow_the_schema_that_editors_get(protocol: Protocol) -> None:
    validator = jsonschema.Draft202012Validator(profile_schema(protocol))
    for name, text in shipped_profiles(protocol).items():
        assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == [], name
        broken = yaml.safe_load(text)
        del broken["quantities"]
        assert list(validator.iter_errors(broken))


def test_the_catalogue_covers_what_a_factory_meters() -> None:
    entries = catalogue()
    assert len(entries) >= 10
    carriers = {quantity.carrier for entry in entries for quantity in entry.quantities.values()}
    assert {"electricity", "natural_gas", "compressed_air"} <= carriers
    assert "district_heating" in carriers
    assert any(quantity.resource == "water" for entry in entries for quantity in entry.quantities.values())
    with pytest.raises(EdgePermanentError, match="known: abb-b23"):
        find_entry("none")


def test_the_page_s_examples_are_profiles(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "profiles.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "protocol:" in block]
    assert len(blocks) == 2
    (tmp_path / "modbus.yaml").write_text(blocks[0], encoding="utf-8")
    (tmp_path / "mbus.yaml").write_text(blocks[1], encoding="utf-8")
    assert load_modbus_profile("modbus.yaml", folder=tmp_path).checks
    assert load_mbus_profile("mbus.yaml", folder=tmp_path).quantities
