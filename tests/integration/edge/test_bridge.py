"""The MQTT bridge at a real broker: what is acknowledged when, what lay about, and what is told of trouble."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import edge.drivers.mqtt_connection as connections
from edge.agent import run_agent
from edge.configuration import EdgeSettings, resolve
from edge.counters import Counters
from edge.devices.publishers import Publisher
from edge.drivers import DriverContext
from edge.drivers.bridge.driver import BridgeDriver, BridgeSettings
from edge.readings import Taken
from schemas.broker_url import parse_broker_url
from tests.drivers.rigs.certificates import make_certificate
from tests.drivers.rigs.mosquitto import OwnBroker

SHELLY = "shellyplus1pm-a8032abe54dc"
EVENTS, STATUS = f"{SHELLY}/events/rpc", f"{SHELLY}/status/switch:0"
DEADLINE_S = 60


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnBroker]:
    broker = OwnBroker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
async def device(broker: OwnBroker) -> AsyncIterator[Publisher]:
    broker.start()
    device = Publisher(broker.url)
    yield device
    await device.close()


def event(energy: float, *, ts: float | None = None) -> dict[str, Any]:
    return {"params": {"ts": time.time() if ts is None else ts, "switch:0": {"aenergy": {"total": energy}}}}


def status(energy: float) -> dict[str, Any]:
    return {"id": 0, "aenergy": {"total": energy}}


@dataclass
class Hearing:
    driver: BridgeDriver
    taken: list[Taken] = field(default_factory=list)
    failures: list[None] = field(default_factory=list)

    def values(self) -> list[float]:
        return [reading.value for taken in self.taken for reading in taken.readings]

    async def until(self, *values: float) -> None:
        await until(lambda: self.values() == list(values), f"{values}, not {self.values()}")

    async def until_failure(self) -> None:
        before = len(self.failures)
        await until(lambda: len(self.failures) > before, "a failure")

    def keep(self, nth: int) -> None:
        kept = self.taken[nth].kept
        assert kept is not None
        kept()


async def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"this did not come about: {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def hearing(
    broker: OwnBroker, *, url: str | None = None, trial: bool = False, **changes: Any
) -> AsyncIterator[Hearing]:
    """A driver that runs; of what it gave nothing is kept."""
    settings: dict[str, Any] = {
        "name": "bridge",
        "driver": "bridge",
        "broker": url or broker.url,
        "mapping": "shelly",
        "timeout": "5s",
        "longest_wait": "50ms",
        "meters": {"oven": {"device": SHELLY, "quantity": "switch-energy"}},
    }
    failures: list[None] = []
    context = DriverContext(agent="a", folder=broker.folder, count_failure=lambda: failures.append(None), trial=trial)
    driver = BridgeDriver(BridgeSettings.model_validate(settings | changes), context)
    heard = Hearing(driver=driver, failures=failures)

    await driver.start()

    async def read() -> None:
        async for taken in driver.readings():
            heard.taken.append(taken)

    reading = asyncio.create_task(read())
    try:
        yield heard
    finally:
        await driver.stop()
        await reading


async def test_nothing_is_acknowledged_before_it_is_kept_and_then_in_order(
    broker: OwnBroker, device: Publisher
) -> None:
    async with hearing(broker) as first:
        for energy in (1, 2, 3):
            await device.say_when_heard(EVENTS, event(energy, ts=1_795_298_400 + energy))
        await first.until(1, 2, 3)
        first.keep(1)
    async with hearing(broker) as second:
        await second.until(1, 2, 3)
        assert [taken.readings for taken in second.taken] == [taken.readings for taken in first.taken], (
            "the same instants"
        )
        second.keep(1)
        second.keep(0)
        first.keep(2)  # of a connection that is no more
        await device.say(EVENTS, event(4))
        await second.until(1, 2, 3, 4)
    async with hearing(broker) as third:
        await third.until(3, 4)
        third.keep(0)
        third.keep(1)
    async with hearing(broker) as fourth:
        await device.say_when_heard(EVENTS, event(5))
        await fourth.until(5)


async def test_what_brought_nothing_is_dealt_with_at_once(broker: OwnBroker, device: Publisher) -> None:
    async with hearing(broker) as first:
        await device.say_when_heard(EVENTS, {"method": "NotifyEvent", "params": {"ts": 1_795_298_400}})
        await device.say(EVENTS, b"nonsense")
        await device.say(EVENTS, event(1))
        await first.until(1)
        first.keep(0)
        assert len(first.failures) == 1
    async with hearing(broker) as second:
        await device.say_when_heard(EVENTS, event(2))
        await second.until(2)
        assert second.failures == []


async def test_what_came_while_we_were_away_keeps_its_instant_and_without_one_it_is_not_taken(
    broker: OwnBroker, device: Publisher
) -> None:
    async with hearing(broker) as first:
        await device.say_when_heard(EVENTS, event(1))
        await first.until(1)
        first.keep(0)
    await device.say(STATUS, status(2))
    await device.say(EVENTS, event(3, ts=1_795_298_400.5))
    async with hearing(broker) as second:
        await second.until(3)
        assert second.taken[0].readings[0].at_ms == 1_795_298_400_500
        await device.say_when_heard(STATUS, status(4))
        await second.until(3, 4)
        assert second.taken[1].kept is None, "of QoS 0 nobody waits to hear"


async def test_retained_messages(broker: OwnBroker, device: Publisher) -> None:
    """The broker kept them for nobody knows how long: only what says when it was measured is taken."""
    await device.say(STATUS, status(1), retain=True)
    await device.say(EVENTS, event(2, ts=1_795_298_400), retain=True)
    with capture_logs() as logs:
        async with hearing(broker) as heard:
            await heard.until(2)
            await until(lambda: [log["action"] for log in logs].count("bridge.undated") == 1, "a word on it")
            await device.say(STATUS, status(3), retain=True)
            await heard.until(2, 3)
    assert heard.failures == []


async def test_a_device_that_falls_silent_is_named(broker: OwnBroker, device: Publisher) -> None:
    meters = {
        "oven": {"device": SHELLY, "quantity": "switch-energy"},
        "oven-power": {"device": SHELLY, "quantity": "switch-power"},
        "fan": {"device": "shelly-of-nowhere", "quantity": "switch-energy"},
    }
    with capture_logs() as logs:
        async with hearing(broker, meters=meters, silent_after="200ms") as heard:

            async def publish() -> None:
                for energy in range(1000):
                    await device.say(EVENTS, event(energy))
                    await asyncio.sleep(0.02)

            publishing = asyncio.create_task(publish())
            await until(lambda: told(logs, "bridge.unheard"), "a word on the meter that never comes")
            assert not any(log["device"] == SHELLY for log in told(logs, "bridge.silent"))
            publishing.cancel()
            await asyncio.wait([publishing])
            await until(lambda: len(told(logs, "bridge.silent")) == 2, "a word on both")
            failures = len(heard.failures)
            await until(lambda: len(heard.failures) > failures + 4, "it goes on being counted")
            await device.say(EVENTS, event(5000))
            await until(lambda: told(logs, "bridge.heard"), "a word when it speaks again")
    (unheard,) = told(logs, "bridge.unheard")
    assert (unheard["device"], unheard["meters"]) == (SHELLY, ["oven-power"])
    silent = {log["device"]: log["meters"] for log in told(logs, "bridge.silent")}
    assert silent == {"shelly-of-nowhere": ["fan"], SHELLY: ["oven", "oven-power"]}


def told(logs: list[Any], action: str) -> list[Any]:
    return [log for log in logs if log["action"] == action]


async def test_an_older_version_of_mqtt(broker: OwnBroker, device: Publisher) -> None:
    async with hearing(broker, mqtt="3.1.1") as first:
        await device.say_when_heard(EVENTS, event(1))
        await first.until(1)
    async with hearing(broker, mqtt="3.1.1") as second:
        await second.until(1)


def hashed(password: str) -> str:
    """As mosquitto_passwd writes it."""
    salt = bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


async def test_user_and_password(broker: OwnBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    (broker.folder / "passwords").write_text(f"cabinet:{hashed('geheim')}\n")
    (broker.folder / "right.txt").write_text("geheim\nwhat follows is a note\n")
    broker.start(f"allow_anonymous false\npassword_file {broker.folder / 'passwords'}\n")
    monkeypatch.setenv("AFKOBLING_TEST_WRONG", "falsch")
    with capture_logs() as logs:
        async with hearing(broker, user="cabinet", password={"variable": "AFKOBLING_TEST_WRONG"}) as heard:
            await heard.until_failure()
    assert "check user and password" in told(logs, "driver.away")[0]["reason"]
    device = Publisher(broker.url.replace("//", "//cabinet:geheim@"))
    async with hearing(broker, user="cabinet", password={"file": "right.txt"}) as heard:
        await device.say_when_heard(EVENTS, event(1))
        await heard.until(1)
    assert heard.failures == []
    await device.close()


async def test_two_that_connect_as_the_same(broker: OwnBroker, device: Publisher) -> None:
    with capture_logs() as logs:
        async with hearing(broker) as first, hearing(broker):
            await first.until_failure()
    assert "give each driver its own `client_id`" in told(logs, "driver.away")[0]["reason"]
    async with hearing(broker, client_id="one") as one, hearing(broker, client_id="two") as two:
        # The session of those two is still there, and hears.
        while not (one.values() and two.values()):
            await device.say(EVENTS, event(1))
            await asyncio.sleep(0.02)
        assert one.failures == two.failures == []


async def test_an_encrypted_broker(broker: OwnBroker) -> None:
    pem, key = make_certificate(broker.folder, "broker")
    stranger, _ = make_certificate(broker.folder, "stranger")
    broker.start(f"cafile {pem}\ncertfile {pem}\nkeyfile {key}\n")
    url = broker.url.replace("mqtt:", "mqtts:")
    with capture_logs() as logs:
        async with hearing(broker, url=url, tls={"authority": str(stranger)}) as heard:
            await heard.until_failure()
    assert "CERTIFICATE_VERIFY_FAILED" in told(logs, "driver.away")[0]["reason"]
    with capture_logs() as logs:
        async with hearing(broker, url=url, tls={"authority": "broker.pem"}) as heard:
            await until(lambda: heard.driver._connection and heard.driver._connection._suback.done(), "a subscription")
    assert heard.failures == []


async def test_a_flood_while_the_outbox_takes_nothing(
    broker: OwnBroker, device: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With QoS 0 it can only be counted; what was published with QoS 1 comes again."""
    monkeypatch.setattr(connections, "_BUFFER", 3)
    failures: list[None] = []
    settings = {"name": "b", "driver": "bridge", "broker": broker.url, "mapping": "shelly", "longest_wait": "50ms"}
    meters = {"oven": {"device": SHELLY, "quantity": "switch-energy"}}
    context = DriverContext(agent="a", folder=broker.folder, count_failure=lambda: failures.append(None))
    driver = BridgeDriver(BridgeSettings.model_validate({**settings, "meters": meters}), context)
    await driver.start()
    readings = driver.readings()
    with capture_logs() as logs:
        saying = asyncio.create_task(device.say_when_heard(STATUS, status(0)))
        assert (await anext(readings)).readings[0].value == 0
        await saying
        for energy in range(1, 9):
            await device.say(STATUS, status(energy))
        connection = driver._connection
        assert connection is not None
        await until(lambda: connection.dropped == 5, "five that found no room")
        assert [(await anext(readings)).readings[0].value for _ in range(3)] == [1, 2, 3]
        for energy in range(10, 18):
            await device.say(EVENTS, event(energy))
        seen: list[float] = []
        while set(seen) != set(range(10, 18)):
            taken = await anext(readings)
            seen += [reading.value for reading in taken.readings]
            assert taken.kept is not None
            taken.kept()
        await driver.stop()
        assert [taken async for taken in readings] == []
    assert sum(log["messages"] for log in told(logs, "bridge.dropped")) == 5
    assert failures


async def test_a_look_leaves_nothing_behind_and_takes_nothing_away(broker: OwnBroker, device: Publisher) -> None:
    async with hearing(broker) as agent, hearing(broker, trial=True) as look:
        while not (agent.values() and look.values()):
            await device.say(EVENTS, event(1, ts=1_795_298_400))
            await asyncio.sleep(0.02)
        assert agent.failures == look.failures == []
    unkept = len(agent.taken)
    async with hearing(broker) as again:
        await until(lambda: len(again.taken) >= unkept, "what the agent had not kept")
    async with hearing(broker, trial=True, client_id="other"):
        pass
    async with hearing(broker, trial=True) as second_look:
        while not second_look.values():
            await device.say(EVENTS, event(2))
            await asyncio.sleep(0.02)
        assert set(second_look.values()) == {2}


async def test_through_the_agent(
    broker: OwnBroker, device: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the agent has it on disk, the broker of the devices forgets it."""
    monkeypatch.setattr("edge.stages.DRAIN_S", 0.2)
    entry = {
        "name": "bridge",
        "driver": "bridge",
        "broker": broker.url,
        "mapping": "shelly",
        "client_id": "agent",
        "meters": {"oven": {"device": SHELLY, "quantity": "switch-energy"}},
    }
    agent = EdgeSettings.model_validate(
        {"organisation": "o", "site": "s", "agent": "a", "broker": broker.url, "drivers": [entry]}
    )
    counters, stop = Counters(), asyncio.Event()
    running = asyncio.create_task(run_agent(resolve(agent, tmp_path / "edge.yaml", {}), stop=stop, counters=counters))
    await device.say_when_heard(EVENTS, event(7))
    await until(lambda: counters.registry.get_sample_value("afkobling_edge_messages_appended_total"), "it on disk")
    stop.set()
    assert await running == 0
    taken = counters.registry.get_sample_value("afkobling_edge_readings_taken_total", {"driver": "bridge"})
    assert taken == 1
    async with hearing(broker, client_id="agent") as heard:
        await device.say_when_heard(EVENTS, event(8))
        await heard.until(8)


def test_the_url_may_carry_user_and_password(tmp_path: Path) -> None:
    url = "mqtt://cabinet:geheim@127.0.0.1:1"
    settings = BridgeSettings.model_validate(
        {"name": "b", "driver": "bridge", "broker": url, "mapping": "plain", "meters": {"m": METER}}
    )
    target = BridgeDriver(settings, DriverContext(agent="a", folder=tmp_path))._target()
    assert (target.user, target.password, target.url) == ("cabinet", "geheim", parse_broker_url(url))


METER = {"device": "d", "quantity": "water-m3"}
