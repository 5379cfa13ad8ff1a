"""Searching an M-Bus segment for meters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.commissioning.mbus_scan import Asked, FoundMbusMeter, scan_primary, scan_secondary
from edge.devices.mbus import Gateway, Segment, SimulatedMeter
from edge.drivers.mbus.bus import Bus, join
from edge.drivers.mbus.line import LineDownError, Place, Speed
from edge.drivers.mbus.secondary import SecondaryAddress

SPEED = Speed()
TIMEOUT_S = 0.01
HEAT = bytes.fromhex("04 06 E7 91 00 00")
WATER = bytes.fromhex("04 13 4C 01 00 00")


@pytest.fixture(autouse=True)
def soon_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.mbus.bus._QUIET_S", 0.002)


def meter(identity: str, *, address: int = 0, records: bytes = HEAT, status: int = 0) -> SimulatedMeter:
    return SimulatedMeter(
        identity=SecondaryAddress.parse(identity), address=address, telegrams=[[records]], status=status
    )


@asynccontextmanager
async def bus_of(*meters: SimulatedMeter) -> AsyncIterator[Bus]:
    gateway = Gateway(Segment(meters=list(meters)))
    await gateway.start()
    bus = join(Place(host=gateway.host, port=gateway.port))
    try:
        yield bus
    finally:
        bus.leave()
        await gateway.stop()


async def found(scan: AsyncIterator[Asked]) -> tuple[list[FoundMbusMeter], int]:
    """Who was found, and how many addresses were asked."""
    asked = [one async for one in scan]
    return [one.found for one in asked if one.found is not None], len(asked)


async def test_primary_addresses_with_the_profiles_that_fit() -> None:
    meters = (
        meter("12345678-KAM-1B-04", address=3),
        meter("00000007-XYZ-01-07", address=5, records=WATER, status=0x04),
        meter("00000008-XYZ-01-1B", address=6),
    )
    async with bus_of(*meters) as bus:
        who, asked = await found(scan_primary(bus, speed=SPEED, timeout_s=TIMEOUT_S, addresses=range(8)))
    assert asked == 8
    assert [(one.address, str(one.identity), one.profiles) for one in who] == [
        (3, "12345678-KAM-1B-04", ("kamstrup-multical", "mbus-heat")),
        (5, "00000007-XYZ-01-07", ("mbus-water",)),
        (6, "00000008-XYZ-01-1B", ()),
    ]
    assert [len(one.remarks) for one in who] == [0, 1, 0]


async def test_several_meters_at_one_primary_address_are_told() -> None:
    async with bus_of(meter("12345678-KAM-1B-04"), meter("22345678-KAM-1B-04")) as bus:
        who, _ = await found(scan_primary(bus, speed=SPEED, timeout_s=TIMEOUT_S, addresses=range(2)))
    (one,) = who
    assert (one.address, one.identity, one.profiles) == (0, None, ())
    assert "several meters with the same address; by secondary address they can be told apart?" in one.remarks[0]


async def test_a_meter_alone_is_found_with_one_question() -> None:
    async with bus_of(meter("12345678-KAM-1B-04")) as bus:
        who, asked = await found(scan_secondary(bus, speed=SPEED, timeout_s=TIMEOUT_S))
    assert asked == 1
    assert [str(one.address) for one in who] == ["12345678-KAM-1B-04"]
    assert who[0].profiles == ("kamstrup-multical", "mbus-heat")


async def test_many_meters_are_found_digit_by_digit() -> None:
    numbers = ["12345678", "12345681", "12400000", "90000000"]
    async with bus_of(*(meter(f"{number}-KAM-1B-04") for number in numbers)) as bus:
        who, asked = await found(scan_secondary(bus, speed=SPEED, timeout_s=TIMEOUT_S))
    assert [one.identity.number for one in who if one.identity is not None] == numbers
    assert asked == 1 + 7 * 10


async def test_a_search_can_be_narrowed() -> None:
    meters = (meter("12345678-KAM-1B-04"), meter("12345679-LUG-07-04"), meter("92345678-LUG-07-04"))
    within = SecondaryAddress.parse("1234FFFF-LUG")
    async with bus_of(*meters) as bus:
        who, asked = await found(scan_secondary(bus, speed=SPEED, timeout_s=TIMEOUT_S, within=within))
    assert (asked, [str(one.identity) for one in who]) == (1, ["12345679-LUG-07-04"])


async def test_several_meters_of_one_number_are_told() -> None:
    async with bus_of(meter("12345678-KAM-1B-04"), meter("12345678-LUG-07-04")) as bus:
        who, _ = await found(
            scan_secondary(bus, speed=SPEED, timeout_s=TIMEOUT_S, within=SecondaryAddress.parse("1234567F"))
        )
    (one,) = who
    assert str(one.address) == "12345678-*-*-*"
    assert "several meters with the same number?" in one.remarks[0]


async def test_an_empty_segment_and_no_segment() -> None:
    async with bus_of() as bus:
        assert await found(scan_secondary(bus, speed=SPEED, timeout_s=TIMEOUT_S)) == ([], 1)
        assert await found(scan_primary(bus, speed=SPEED, timeout_s=TIMEOUT_S, addresses=range(3))) == ([], 3)
    bus = join(bus.place)
    with pytest.raises(LineDownError, match="refuses the connection"):
        await found(scan_secondary(bus, speed=SPEED, timeout_s=TIMEOUT_S))
    bus.leave()
