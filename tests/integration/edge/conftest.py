"""A broker of our own, as these tests kill it, and a collector that is none."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.agent import run_agent
from edge.configuration import BatchSettings, Configured, EdgeConfiguration, OutboxSettings, TlsSettings
from edge.counters import Counters
from edge.drivers import DriverContext, DriverKind, DriverSettings
from edge.readings import Reading, Taken
from schemas.broker_url import parse_broker_url
from schemas.resources import MeterKind, Resource
from schemas.topics import AgentAddress, Kind, parse_topic
from schemas.wire import OfferedMeter, Readings, Status

DEADLINE_S = 60
ADDRESS = AgentAddress(organisation="acme", site="hall-1", agent="cabinet-1")


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition with a generous deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"this did not come about: {what}"
        await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Broker:
    """A Mosquitto that keeps nothing over a kill."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.settings = ""
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        conf = self.folder / "mosquitto.conf"
        lines = f"listener {self.port} 127.0.0.1\npersistence false\nuser {_account()}\n"
        if "allow_anonymous" not in self.settings:
            lines += "allow_anonymous true\n"
        conf.write_text(lines + self.settings)
        conf.chmod(0o644)
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", conf], stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        pytest.fail("the broker does not start:\n" + (self.folder / "mosquitto.log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _account() -> str:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return "nobody"


@pytest.fixture(scope="session")
def mosquitto() -> Path:
    from deploy.stack.errors import StackError
    from deploy.stack.runtime import ensure

    try:
        return ensure(report=print).mosquitto
    except StackError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(f"there is no Mosquitto: {error}")


@pytest.fixture
def stopped_broker(mosquitto: Path) -> Iterator[Broker]:
    folder = Path(tempfile.mkdtemp(prefix="afkobling-edge-", dir="/tmp"))
    folder.chmod(0o755)
    broker = Broker(mosquitto, folder)
    yield broker
    broker.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def broker(stopped_broker: Broker) -> Broker:
    stopped_broker.start()
    return stopped_broker


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    kind: Kind
    payload: bytes
    retained: bool
    content_type: str | None


@dataclass
class Collector:
    """Hears everything under our agent's topic. `confirms`: says *stored* for what has no gap."""

    broker: Broker
    confirms: bool = True
    arrivals: list[Arrival] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stored: dict[str, set[int]] = {}
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id="collector", protocol=MQTTProtocolVersion.MQTTv5
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda client, *_: client.subscribe(ADDRESS.topic(Kind.READINGS)[:-8] + "+", qos=1)
        client.on_message = self._hear

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", self.broker.port, clean_start=False, properties=properties)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say_stored(self, epoch: str, seq: int) -> None:
        payload = json.dumps({"v": 1, "epoch": epoch, "seq": seq})
        self._client.publish(ADDRESS.topic(Kind.STORED), payload, qos=1, retain=True)

    def _hear(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        _, kind = parse_topic(message.topic)
        arrival = Arrival(
            kind=kind,
            payload=bytes(message.payload),
            retained=message.retain,
            content_type=getattr(message.properties, "ContentType", None),
        )
        with self._lock:
            self.arrivals.append(arrival)
        if kind not in {Kind.READINGS, Kind.RUNS}:
            return
        said = json.loads(arrival.payload)
        stored = self._stored.setdefault(said["epoch"], set())
        stored.add(said["seq"])
        if self.confirms:
            self.say_stored(said["epoch"], watermark(stored))

    def of(self, kind: Kind) -> list[Arrival]:
        with self._lock:
            return [arrival for arrival in self.arrivals if arrival.kind is kind]

    def batches(self) -> list[Readings]:
        return [Readings.model_validate_json(arrival.payload) for arrival in self.of(Kind.READINGS)]

    def seqs(self) -> list[int]:
        return [batch.seq for batch in self.batches()]

    def values(self) -> list[float]:
        """Of each seq once, in order of seq."""
        return [value for _, batch in sorted({b.seq: b for b in self.batches()}.items()) for value in batch.value]

    def last_status(self) -> Status | None:
        found = self.of(Kind.STATUS)
        return Status.model_validate_json(found[-1].payload) if found else None


def watermark(seqs: set[int]) -> int:
    """The highest seq up to which there is no gap."""
    seq = 0
    while seq + 1 in seqs:
        seq += 1
    return seq


@pytest.fixture
def collector(broker: Broker) -> Iterator[Collector]:
    collector = Collector(broker)
    collector.start()
    yield collector
    collector.stop()


class GivenDriver:
    """Hands over what a test gives it; offers its meter, and as many more as asked for."""

    def __init__(self, offers: int = 1) -> None:
        self._offers = offers
        self.given: asyncio.Queue[Taken | None] = asyncio.Queue()
        self.stopped = False

    def offers(self) -> list[OfferedMeter]:
        return [
            OfferedMeter(
                meter="oven" if nth == 0 else f"oven-{nth}",
                resource=Resource.ENERGY,
                unit="kWh",
                kind=MeterKind.COUNTER,
                driver="d",
                cadence_ms=1_000,
            )
            for nth in range(self._offers)
        ]

    async def start(self) -> None: ...

    async def readings(self) -> AsyncIterator[Taken]:
        while (taken := await self.given.get()) is not None:
            yield taken

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            await self.given.put(None)

    def give(self, *values: float) -> None:
        """One `Taken` each; with a batch of one reading, one message each."""
        for value in values:
            reading = Reading(meter="oven", at_ms=1_795_298_400_000 + round(value), value=value, unit="kWh")
            self.given.put_nowait(Taken(readings=[reading]))


@dataclass
class Running:
    driver: GivenDriver
    counters: Counters
    stop: asyncio.Event
    task: asyncio.Task[int]

    def count(self, name: str, **labels: str) -> float:
        return self.counters.registry.get_sample_value(f"afkobling_edge_{name}", labels) or 0.0

    async def stopped(self) -> int:
        self.stop.set()
        async with asyncio.timeout(DEADLINE_S):
            return await self.task


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """`async with run(broker, **settings) as running:` an agent in this process, one reading a message."""

    @asynccontextmanager
    async def running(
        broker: Broker, *, url: str | None = None, until_stored: bool = False, offers: int = 1, **changes: Any
    ) -> AsyncIterator[Running]:
        driver = GivenDriver(offers)
        settings = DriverSettings(name="d", driver="given")

        def create(_settings: DriverSettings, _context: DriverContext) -> GivenDriver:
            return driver

        configuration = EdgeConfiguration(
            address=ADDRESS,
            broker=parse_broker_url(url or broker.url),
            tls=TlsSettings(),
            outbox=OutboxSettings(path=tmp_path / "outbox.sqlite"),
            batch=BatchSettings(readings=1, age="50ms"),
            window=20,
            resend_after=600_000,
            metrics_port=None,
            drivers=(Configured(kind=DriverKind(settings=DriverSettings, create=create), settings=settings),),
            folder=tmp_path,
        ).model_copy(update=changes)
        counters, stop = Counters(), asyncio.Event()
        task = asyncio.create_task(run_agent(configuration, stop=stop, until_stored=until_stored, counters=counters))
        running = Running(driver=driver, counters=counters, stop=stop, task=task)
        try:
            yield running
        finally:
            if not task.done():
                await running.stopped()

    return running
