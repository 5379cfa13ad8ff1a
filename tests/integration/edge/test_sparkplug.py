"""The Sparkplug driver at a real broker, beyond what the contract suite asks of every driver."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from structlog.testing import capture_logs

from edge.devices.sparkplug import SparkplugNode
from edge.drivers import DriverContext
from edge.drivers.contract.seen import Seen, reading
from edge.drivers.sparkplug.driver import SparkplugDriver
from edge.drivers.sparkplug.metrics import Metric, Payload
from edge.drivers.sparkplug.payload import encode
from edge.drivers.sparkplug.settings import SparkplugSettings
from edge.drivers.sparkplug.topics import Node
from schemas.errors import AfkoblingError
from tests.drivers.rigs.mosquitto import OwnBroker

PLACE = Node(group="hall", node="gateway")
STATE = "spBv1.0/STATE/plant-host"
METERS = {
    "oven-energy": {
        "node": "hall/gateway/oven",
        "metric": "Energy",
        "unit": "kWh",
        "resource": "energy",
        "kind": "counter",
    }
}


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[OwnBroker]:
    own = OwnBroker(tmp_path)
    try:
        await asyncio.to_thread(own.start)
    except (AfkoblingError, ImportError) as error:
        pytest.skip(f"a broker can't be had: {error}")
    yield own
    own.kill()


@pytest.fixture
async def node(broker: OwnBroker) -> AsyncIterator[SparkplugNode]:
    made = SparkplugNode(broker.url, PLACE, {"oven": {"Energy": 100.0}})
    await made.start()
    yield made
    await made.stop()


class States:
    """What the broker says of the host."""

    def __init__(self, broker: OwnBroker) -> None:
        self.heard: list[dict[str, Any]] = []
        self.client = Client(CallbackAPIVersion.VERSION2)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _c, _d, message: self.heard.append(json.loads(message.payload))
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.client.subscribe(STATE, qos=1)
        assert subscribed.wait(30)

    def online(self) -> list[bool]:
        """Each change. (The broker may tell a will although its client said goodbye, when that is gone at once.)"""
        return [is_online for is_online, _ in groupby(state["online"] for state in self.heard)]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def make(folder: Path, broker: OwnBroker, **more: Any) -> Seen:
    trial = more.pop("trial", False)
    entry = {
        "name": "gateway",
        "driver": "sparkplug",
        "broker": broker.url,
        "host_id": "plant-host",
        "rebirth_wait": "50ms",
        "longest_wait": "50ms",
        "meters": METERS,
    }

    def count() -> None:
        seen.failures += 1

    context = DriverContext(agent="a", folder=folder, count_failure=count, trial=trial)
    seen = Seen(driver=SparkplugDriver(SparkplugSettings.model_validate(entry | more), context))
    return seen


async def comes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.005)


async def test_the_host_says_that_it_is_there_and_that_it_leaves(tmp_path: Path, broker: OwnBroker) -> None:
    seen = make(tmp_path, broker)
    states = States(broker)
    try:
        async with reading(seen):
            await comes(lambda: states.online() == [True])
        await comes(lambda: states.online() == [True, False])
        assert len({state["timestamp"] for state in states.heard}) == 1
    finally:
        states.close()


async def test_the_broker_says_it_for_a_host_that_is_gone_and_the_host_denies_an_old_word(
    tmp_path: Path, broker: OwnBroker
) -> None:
    seen = make(tmp_path, broker)
    states = States(broker)
    try:
        async with reading(seen):
            await comes(lambda: states.online() == [True])
            driver: Any = seen.driver
            driver._connection._client.socket().shutdown(2)
            await comes(lambda: states.online() == [True, False, True])
            states.client.publish(STATE, json.dumps({"online": False, "timestamp": 1}), qos=1, retain=True)
            await comes(lambda: states.online() == [True, False, True, False, True])
    finally:
        states.close()


async def test_nonsense_as_the_hosts_state_ends_nothing(tmp_path: Path, broker: OwnBroker, node: SparkplugNode) -> None:
    """It is retained, so whoever ended by it would end at each start."""
    states = States(broker)
    states.client.on_message = None
    seen = make(tmp_path, broker)
    try:
        states.client.publish(STATE, b"[" * 100_000, qos=1, retain=True).wait_for_publish(30)
        async with reading(seen):
            await seen.until(lambda: seen.values() == {"oven-energy": 100.0}, "the value of its birth")
            states.client.publish(STATE, b"[" * 100_000, qos=1, retain=True).wait_for_publish(30)
            await node.say("oven", {"Energy": 101.0})
            await seen.until(lambda: seen.values() == {"oven-energy": 101.0}, "the next value")
    finally:
        states.close()


async def test_a_large_message_is_decoded_beside_the_event_loop(tmp_path: Path) -> None:
    driver: Any = make(tmp_path, OwnBroker(tmp_path)).driver
    threads: list[threading.Thread] = []
    decode = driver._decode

    def note(data: bytes) -> Payload:
        threads.append(threading.current_thread())
        found: Payload = decode(data)
        return found

    driver._decode = note
    metrics = [Metric(name=f"line/metric-{i}", alias=i, value=1.0) for i in range(3_000)]
    assert len((await driver._decoded(encode(Payload(seq=0, metrics=metrics)))).metrics) == 3_000
    assert threads[0] is not threading.main_thread()
    assert await driver._decoded(bytes(9_000_000)) is None
    assert len(threads) == 1


async def test_a_trial_says_nothing_of_the_host(tmp_path: Path, broker: OwnBroker, node: SparkplugNode) -> None:
    seen = make(tmp_path, broker, trial=True)
    async with reading(seen):
        await seen.until(lambda: seen.values() == {"oven-energy": 100.0}, "the value of its birth")
    states = States(broker)
    try:
        await node.say("oven", {"Energy": 1.0})
        assert states.heard == []
    finally:
        states.close()


async def test_a_host_that_comes_later_asks_for_births(tmp_path: Path, broker: OwnBroker, node: SparkplugNode) -> None:
    await node.say("oven", {"Energy": 101.0})
    seen = make(tmp_path, broker)
    async with reading(seen):
        await seen.until(lambda: seen.values() == {"oven-energy": 101.0}, "the value of its birth")
        asked = node.rebirths
        assert asked >= 1
        await node.say("oven", {"Energy": 102.0})
        await seen.until(lambda: seen.values() == {"oven-energy": 102.0}, "a value by its alias")
        node.skip()
        await node.say("oven", {"Energy": 103.0})
        await seen.until(lambda: seen.values() == {"oven-energy": 103.0}, "the value, told again after the gap")
        assert node.rebirths > asked
    assert seen.failures >= 1


async def test_what_is_historical_and_what_is_transient(tmp_path: Path, broker: OwnBroker, node: SparkplugNode) -> None:
    seen = make(tmp_path, broker)
    async with reading(seen):
        await seen.until(lambda: seen.values() == {"oven-energy": 100.0}, "the value of its birth")
        at_ms = seen.taken[0].readings[0].at_ms - 3_600_000
        await node.say("oven", {"Energy": Metric(alias=0, value=666.0, is_transient=True)})
        await node.say("oven", {"Energy": Metric(alias=0, value=99.5, at_ms=at_ms, is_historical=True)})
        await seen.until(lambda: seen.values() == {"oven-energy": 99.5}, "the historical value")
    last = seen.taken[-1].readings[0]
    assert (last.at_ms, seen.all_values()) == (at_ms, {("oven-energy", 100.0), ("oven-energy", 99.5)})


async def test_a_device_that_leaves_is_told_by_name(tmp_path: Path, broker: OwnBroker, node: SparkplugNode) -> None:
    seen = make(tmp_path, broker)
    with capture_logs() as logs:
        async with reading(seen):
            await seen.until(lambda: seen.values() == {"oven-energy": 100.0}, "the value of its birth")
            await node.lose_device("oven")
            await seen.until(lambda: seen.failures > 0, "a failure")
            await node.vanish()
            await seen.until(lambda: any("has left the broker" in line.get("reason", "") for line in logs), "its death")
    assert any("device oven is away" in line.get("reason", "") for line in logs)


async def test_a_broker_that_comes_back_is_found(tmp_path: Path, broker: OwnBroker, node: SparkplugNode) -> None:
    seen = make(tmp_path, broker)
    async with reading(seen):
        await seen.until(lambda: seen.values() == {"oven-energy": 100.0}, "the value of its birth")
        broker.kill()
        await seen.until(lambda: seen.failures > 0, "a failure")
        await asyncio.to_thread(broker.start)
        await node.start()
        await node.say("oven", {"Energy": 104.0})
        await seen.until(lambda: seen.values() == {"oven-energy": 104.0}, "the value at the new broker")
