"""Asking over HTTP: each shipped mapping with answers of its devices, what is sent, and what is no answer."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from edge.devices.http_json import Answer, HttpDevice
from edge.drivers import DriverContext
from edge.drivers.documents.mapping import shipped_mappings
from edge.drivers.http_json.driver import HttpJsonDriver, HttpJsonSettings
from edge.drivers.http_json.mapping import load_http_mapping
from edge.errors import EdgePermanentError
from edge.readings import Taken
from tests.drivers.rigs.certificates import make_certificate

NOW_MS = 1_795_298_400_000
SHIPPED = sorted(shipped_mappings("edge.drivers.http_json.mappings"))
GEN2 = "/rpc/Shelly.GetStatus"


def settings(**changes: Any) -> dict[str, Any]:
    meters = {"oven": "switch-energy"}
    waits = {"every": "20ms", "timeout": "5s", "longest_wait": "20ms"}
    return {
        "name": "h",
        "driver": "http_json",
        "url": "http://127.0.0.1:1",
        "mapping": "shelly-gen2",
        "meters": meters,
        **waits,
        **changes,
    }


@dataclass
class Polling:
    driver: HttpJsonDriver
    readings: AsyncIterator[Taken]
    failures: list[None] = field(default_factory=list)

    async def values(self) -> dict[str, tuple[float, str]]:
        taken = await anext(self.readings)
        return {reading.meter: (reading.value, reading.unit) for reading in taken.readings}


def make(folder: Path, failures: list[None], **changes: Any) -> HttpJsonDriver:
    context = DriverContext(agent="a", folder=folder, now_ms=Clock(), count_failure=lambda: failures.append(None))
    return HttpJsonDriver(HttpJsonSettings.model_validate(settings(**changes)), context)


class Clock:
    """Each look at it is a minute later: a poll is always due."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        self.now_ms += 60_000
        return self.now_ms


@asynccontextmanager
async def polling(folder: Path, device: HttpDevice, **changes: Any) -> AsyncIterator[Polling]:
    await device.start()
    failures: list[None] = []
    driver = make(folder, failures, **{"url": device.url, **changes})
    await driver.start()
    readings = driver.readings()
    try:
        yield Polling(driver=driver, readings=readings, failures=failures)
    finally:
        await driver.stop()
        assert [taken async for taken in readings if not taken.readings] == []
        await device.vanish()


def answers(document: Any, path: str = GEN2, **answer: Any) -> HttpDevice:
    return HttpDevice({path: Answer(body=document, **answer)})


async def test_shelly_of_generation_two_and_later(tmp_path: Path) -> None:
    status = {
        "switch:0": {"id": 0, "apower": 61.5, "aenergy": {"total": 1520.25, "minute_ts": 1795298340}},
        "em1:1": {"id": 1, "act_power": -508.3, "aprt_power": 514.2},
        "em1data:1": {"id": 1, "total_act_energy": 6644.9, "total_act_ret_energy": 2595.26},
        "sys": {"unixtime": 1795298399, "time": "23:00"},
    }
    meters = {
        "oven": "switch-energy",
        "oven-power": {"quantity": "switch-power", "channel": 0},
        "sun": {"quantity": "em1-energy-returned", "channel": 1},
        "sun-power": {"quantity": "em1-power", "channel": 1},
    }
    async with polling(tmp_path, answers(status), meters=meters) as polled:
        assert await polled.values() == {
            "oven": (1520.25, "Wh"),
            "oven-power": (61.5, "W"),
            "sun": (2595.26, "Wh"),
            "sun-power": (-508.3, "W"),
        }
        taken = await anext(polled.readings)
        (at_ms,) = {reading.at_ms for reading in taken.readings}
        assert at_ms > NOW_MS, "of the moment that it came"
        assert taken.kept is None
    assert polled.failures == []


async def test_shelly_of_the_first_generation(tmp_path: Path) -> None:
    status = {
        "meters": [
            {"power": 60.0, "is_valid": True, "timestamp": 1795298399, "counters": [1.0, 1.0, 1.0], "total": 60000},
            {"power": 0.0, "is_valid": False, "total": 0},
        ],
        "emeters": [{"power": 10.66, "pf": 1.0, "is_valid": True, "total": 5.3, "total_returned": 0.4}],
        "unixtime": 1795298399,
    }
    meters = {
        "relay": "relay-energy",
        "second": {"quantity": "relay-energy", "channel": 1},
        "clamp": "clamp-energy",
        "back": "clamp-energy-returned",
        "power": "clamp-power",
    }
    async with polling(tmp_path, answers(status, "/status"), mapping="shelly-gen1", meters=meters) as polled:
        assert await polled.values() == {
            "relay": (3.6, "MJ"),
            "clamp": (5.3, "Wh"),
            "back": (0.4, "Wh"),
            "power": (10.66, "W"),
        }, "60,000 watt-minutes are 1 kWh; what is not valid is absent, not zero"
    assert polled.failures == []


async def test_tasmota(tmp_path: Path) -> None:
    energy = {"TotalStartTime": "2025-09-03T13:02:25", "Total": 167.743, "Power": [3, 4], "Voltage": 236}
    device = answers({"StatusSNS": {"Time": "2026-11-21T16:19:59", "ENERGY": energy}}, "/cm?cmnd=Status%208")
    meters = {"oven": "energy", "second-power": {"quantity": "power", "channel": 1}}
    async with polling(tmp_path, device, mapping="tasmota", meters=meters) as polled:
        assert await polled.values() == {"oven": (167.743, "kWh"), "second-power": (4.0, "W")}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_quantity_can_be_asked_for(name: str, tmp_path: Path) -> None:
    mapping = load_http_mapping(name, folder=Path())
    assert mapping.name == name
    for quantity in mapping.quantities:
        assert make(tmp_path, [], mapping=name, meters={"m": quantity}).offers()[0].meter == "m"


async def test_a_mapping_of_ones_own_with_the_documents_time(tmp_path: Path) -> None:
    own = {
        "name": "own",
        "description": "d",
        "source": "s",
        "decimal": ",",
        "at": {"path": "$.laest", "local": True},
        "quantities": {
            "water": {"path": "$.tal[?@.navn=='vand'].m3", "unit": "m3", "resource": "water", "kind": "counter"}
        },
    }
    (tmp_path / "own.yaml").write_text(json.dumps(own))
    document = {"laest": "2026-11-21T12:00:00", "tal": [{"navn": "gas", "m3": "1,5"}, {"navn": "vand", "m3": "880,25"}]}
    device = answers(document, "/api/tal?alle=1")
    await device.start()
    given: dict[str, Any] = {"url": f"{device.url}/api/tal?alle=1", "mapping": "own.yaml", "meters": {"tap": "water"}}
    with pytest.raises(EdgePermanentError, match="zone: Europe/Copenhagen"):
        make(tmp_path, [], **given)
    async with polling(tmp_path, device, **given, zone="Europe/Copenhagen") as polled:
        (reading,) = (await anext(polled.readings)).readings
        assert (reading.value, reading.unit, reading.at_ms) == (880.25, "m3", 1_795_258_800_000)
    async with polling(tmp_path, device, **given, clock="agent") as polled:
        assert (await anext(polled.readings)).readings[0].at_ms > NOW_MS


async def first_trouble(folder: Path, device: HttpDevice, **changes: Any) -> str:
    """What the log says of a poll that fails."""
    with capture_logs() as logs:
        async with polling(folder, device, **changes) as polled:
            reading = asyncio.ensure_future(anext(polled.readings))
            while not polled.failures:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.005)
            reading.cancel()
            await asyncio.wait([reading])
    said = [str(log["reason"]) for log in logs if log["action"] in {"driver.away", "document.refused"}]
    return said[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(status=301, body=b"", headers={"Location": "https://x/new"}), "sends us on to https://x/new"),
        (Answer(status=401, body=b""), "user and a password"),
        (Answer(status=404, body=b""), "no such page"),
        (Answer(status=418, body=b""), "status 418: that is not what was asked"),
        (Answer(status=503, body=b""), "a failure of its own"),
        (Answer(body=b"<html>Welcome</html>"), "no JSON: .*begins '<html>Welcome.*check `url`"),
        (Answer(body=b""), "no JSON"),
        (Answer(body=b" " * 2000), "more than 1000 bytes"),
        (Answer(body=b"{}", headers={"Content-Length": "50"}), "no whole answer within 0.2 s"),
        (Answer(body={"switch:1": {}}), "is not in the document"),
        (Answer(body={"switch:0": {"aenergy": {"total": True}}}), "says true, which is no number"),
    ],
    ids=lambda given: given.status if isinstance(given, Answer) else given[:20],
)
async def test_what_is_no_answer(tmp_path: Path, answer: Answer, words: str) -> None:
    device = HttpDevice({GEN2: answer})
    said = await first_trouble(tmp_path, device, max_size="1000B", timeout="200ms")
    assert re.search(words, said)


async def test_it_says_once_that_a_device_is_away_and_when_it_is_back(tmp_path: Path) -> None:
    device = answers({"switch:0": {"aenergy": {"total": 1}}})
    with capture_logs() as logs:
        async with polling(tmp_path, device) as polled:
            await polled.values()
            await device.vanish()
            reading = asyncio.ensure_future(anext(polled.readings))
            while len(polled.failures) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await device.start()
            assert (await reading).readings[0].value == 1
    assert [log["action"] for log in logs] == ["driver.away", "driver.back"]
    assert "check address, cable, power" in logs[0]["reason"]


async def test_an_empty_poll_is_no_failure(tmp_path: Path) -> None:
    device = answers({"switch:0": {"aenergy": {"total": None}}})
    async with polling(tmp_path, device) as polled:
        reading = asyncio.ensure_future(anext(polled.readings))
        while len(device.requests) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        device.answers[GEN2] = Answer(body={"switch:0": {"aenergy": {"total": 4}}})
        assert (await reading).readings[0].value == 4
    assert polled.failures == []


async def test_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFKOBLING_TEST_KEY", "k-123")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    (tmp_path / "password.txt").write_text("geheim\n")
    device = answers({"switch:0": {"aenergy": {"total": 1}}})
    secrets: dict[str, Any] = {
        "user": "admin",
        "password": {"file": "password.txt"},
        "headers": {"X-Api-Key": {"variable": "AFKOBLING_TEST_KEY"}, "X-Who": "cabinet 1"},
    }
    async with polling(tmp_path, device, **secrets) as polled:
        await polled.values()
        await polled.values()
    request = device.requests[1]
    assert request.path == GEN2
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"admin:geheim").decode()
    assert request.headers["x-api-key"] == "k-123"
    assert request.headers["x-who"] == "cabinet 1"
    assert request.headers["accept-encoding"] == "identity"


async def test_digest_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFKOBLING_TEST_PASSWORD", "geheim")
    challenge = {"WWW-Authenticate": 'Digest qop="auth", realm="shelly", nonce="65a1", algorithm=SHA-256'}
    device = answers(b"", status=401, headers=challenge)
    login = {"user": "admin", "password": {"variable": "AFKOBLING_TEST_PASSWORD"}, "login": "digest"}
    assert "user and a password" in await first_trouble(tmp_path, device, **login)
    sent = device.requests[1].headers["authorization"]
    assert sent.startswith('Digest username="admin", realm="shelly"')
    assert "geheim" not in sent


async def test_an_encrypted_device_and_whom_to_trust(tmp_path: Path) -> None:
    pem, key = make_certificate(tmp_path, "device")
    make_certificate(tmp_path, "stranger")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)
    document = Answer(body={"switch:0": {"aenergy": {"total": 1}}})
    async with polling(
        tmp_path, HttpDevice({GEN2: document}, context=context), tls={"authority": "device.pem"}
    ) as polled:
        assert await polled.values() == {"oven": (1.0, "Wh")}
    stranger = {"tls": {"authority": "stranger.pem"}}
    said = await first_trouble(tmp_path, HttpDevice({GEN2: document}, context=context), **stranger)
    assert "certificate verify failed" in said.lower().replace("_", " ")


def test_offers(tmp_path: Path) -> None:
    (offer,) = make(tmp_path, [], every="1min").offers()
    assert (offer.meter, offer.unit, offer.driver, offer.cadence_ms) == ("oven", "Wh", "h", 60_000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "192.168.1.30"}, "write it like http://192.168.1.30"),
        ({"url": "http://"}, "not an address"),
        ({"url": "http://x:99999"}, "not an address"),
        ({"url": "http://x/a b"}, "not an address"),
        ({"url": "http://admin:geheim@x"}, "does not stand in an address"),
        ({"password": "geheim"}, "does not stand in a configuration"),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, "pattern"),
        ({"headers": {"X A": "b"}}, "pattern"),
        ({"login": "ntlm"}, "'basic' or 'digest'"),
        ({"meters": {}}, "at least 1"),
        ({"every": 10}, "not a span of time"),
    ],
)
def test_what_a_configuration_may_not_say(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HttpJsonSettings.model_validate(settings(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mapping": "shelly"}, "no mapping 'shelly'; known: shelly-gen1, shelly-gen2, tasmota"),
        ({"meters": {"oven": "energy"}}, "driver h: meter oven: .* no quantity 'energy'"),
        ({"meters": {"oven": {"quantity": "energy", "channel": 1}}, "mapping": "own.yaml"}, "own.yaml cannot be read"),
        ({"user": "u", "password": {"file": "none.txt"}}, "none.txt cannot be read"),
        ({"headers": {"X-A": {"variable": "AFKOBLING_TEST_NOTHING"}}}, "has no AFKOBLING_TEST_NOTHING"),
        ({"url": "https://x", "tls": {"authority": "none.pem"}}, "none.pem"),
        ({"url": "HTTPS://x/status", "tls": {"authority": "none.pem"}}, "none.pem"),
    ],
)
def test_what_shows_before_it_starts(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EdgePermanentError, match=words):
        make(tmp_path, [], **changes)
