"""`afkobling edge scan mbus`, beside a simulated segment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from deploy.cli import main
from edge.devices.mbus import Gateway, Segment, SimulatedMeter
from edge.drivers.mbus.secondary import SecondaryAddress


def meter(identity: str, address: int) -> SimulatedMeter:
    records = [bytes.fromhex("04 06 E7 91 00 00")]
    return SimulatedMeter(identity=SecondaryAddress.parse(identity), address=address, telegrams=[records])


@pytest.fixture(autouse=True)
def soon_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.mbus.bus._QUIET_S", 0.002)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway(Segment(meters=[meter("12345678-KAM-1B-04", 3), meter("92345681-XYZ-07-1B", 4)]))
    await gateway.start()
    yield gateway
    await gateway.stop()


async def scan(gateway: Gateway, *words: str) -> int:
    where = ["--host", gateway.host, "--port", str(gateway.port), "--timeout", "10ms"]
    return await asyncio.to_thread(main, ["edge", "scan", "mbus", *where, *words])


async def test_each_meter_once_with_its_profiles(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert await scan(gateway, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "ok": True,
        "lines": [
            {
                "line": f"127.0.0.1:{gateway.port}",
                "found": [
                    {
                        "address": 3,
                        "secondary": "12345678-KAM-1B-04",
                        "medium": "heat (return)",
                        "profiles": ["kamstrup-multical", "mbus-heat"],
                        "remarks": [],
                    },
                    {
                        "address": 4,
                        "secondary": "92345681-XYZ-07-1B",
                        "medium": "room sensor",
                        "profiles": [],
                        "remarks": [],
                    },
                ],
            }
        ],
    }


async def test_for_a_person(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert await scan(gateway, "--by", "secondary", "--within", "1FFFFFFF") == 0
    out = capsys.readouterr().out
    assert "secondary 12345678-KAM-1B-04, heat (return)\n    kamstrup-multical or mbus-heat\n" in out
    assert "XYZ" not in out


async def test_nobody_answers(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.segment.silent = True
    assert await scan(gateway, "--by", "secondary") == 1
    assert "- other speeds: --baud 300" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--host", "h"], "give the gateway's port with --port"),
        (["--host", "h", "--port", "9", "--baud", "300"], "go with --serial"),
        (["--serial", "/dev/x", "--port", "9"], "--port goes with --host"),
        (["--serial", "/dev/no-such-port"], "is the adapter plugged in?"),
        (["--host", "h", "--port", "9", "--within", "12"], "write it like 12345678-KAM-1B-04"),
    ],
    ids=["no port", "baud of a gateway", "port of a port", "no device", "no address"],
)
def test_options_that_do_not_go_together(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edge", "scan", "mbus", *words]) == 1
    assert reason in capsys.readouterr().err
