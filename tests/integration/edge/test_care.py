"""Configurations sent over the real broker with real signatures, and what an agent does with them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

import edge.drivers
import edge.publisher
from api.agents.authority import Authorities, Authority
from api.agents.telling import tell
from deploy.cli import main
from edge.agent import run_agent
from edge.care.care import Care
from edge.care.state import MOST_STARTS
from edge.counters import Counters
from edge.drivers import DriverContext, DriverKind, DriverSettings
from edge.drivers.pacing import sleep_unless
from edge.enrolment.keys import make_request
from edge.readings import Reading, Taken
from edge.status_socket import ask, socket_beside
from schemas.broker_url import parse_broker_url
from schemas.resources import MeterKind, Resource
from schemas.signed import configuration_bytes
from schemas.topics import AgentAddress, Kind
from schemas.wire import Configuration, ConfigurationState, OfferedMeter

from .conftest import ADDRESS, DEADLINE_S, Broker, Collector, until
from .test_process import Agent

pytestmark = pytest.mark.stack

NOW = datetime.now(UTC)
AWAY = {"driver": "modbus", "host": "127.0.0.1", "port": 1, "profile": "eastron-sdm630", "every": "1s"}
NEIGHBOUR = AgentAddress(organisation="acme", site="hall-1", agent="cabinet-2")


class BenchSettings(DriverSettings):
    """`reads`: whether its meters say anything. `falls`: whether it brings the agent down."""

    driver: Literal["bench"]
    meters: Annotated[list[str], Field(min_length=1)]
    reads: bool = True
    falls: bool = False


class BenchDriver:
    """Counts up, a value every 20 ms."""

    def __init__(self, settings: BenchSettings, context: DriverContext) -> None:
        self._settings = settings
        self._now_ms = context.now_ms
        self._stop = asyncio.Event()

    def offers(self) -> list[OfferedMeter]:
        return [
            OfferedMeter(
                meter=meter,
                resource=Resource.ENERGY,
                unit="kWh",
                kind=MeterKind.COUNTER,
                driver=self._settings.name,
                cadence_ms=20,
            )
            for meter in self._settings.meters
        ]

    async def start(self) -> None:
        self._stop.clear()

    async def readings(self) -> AsyncIterator[Taken]:
        while not await sleep_unless(self._stop, 0.02):
            at_ms = self._now_ms()
            found = [Reading(meter=m, at_ms=at_ms, value=1.0, unit="kWh") for m in self._settings.meters]
            if self._settings.reads:
                yield Taken(readings=found)

    async def stop(self) -> None:
        self._stop.set()


def make_bench(settings: BenchSettings, context: DriverContext) -> BenchDriver:
    if settings.falls:
        # Only where it is to run: it looks well when it is checked.
        running = asyncio._get_running_loop()
        if running is not None:
            raise RuntimeError("a defect of this driver")
    return BenchDriver(settings, context)


@dataclass
class Sender:
    """Signs and publishes as the server does."""

    broker: Broker
    authority: Authority
    sent: list[int] = field(default_factory=list)

    def message(self, version: int, body: str, *, by: Authority | None = None, to: AgentAddress = ADDRESS) -> bytes:
        sent_at = round(NOW.timestamp() * 1000) + version
        data = configuration_bytes(to, version=version, sent_at=sent_at, body=body)
        signature = (by or self.authority).sign(data)
        message = Configuration(version=version, sent_at=sent_at, body=body, signature=signature)
        return message.model_dump_json().encode()

    async def publish(self, payload: bytes) -> None:
        topic = ADDRESS.topic(Kind.CONFIGURATION)
        await asyncio.to_thread(tell, parse_broker_url(self.broker.url), None, topic, payload)

    async def send(self, version: int, body: str, **more: Any) -> None:
        await self.publish(self.message(version, body, **more))


@dataclass
class Device:
    """An agent in this process, enrolled, on files of its own."""

    folder: Path
    collector: Collector
    counters: Counters = field(default_factory=Counters)

    @property
    def config(self) -> Path:
        return self.folder / "edge.yaml"

    def told(self) -> ConfigurationState | None:
        status = self.collector.last_status()
        return status.configuration if status else None

    async def until_told(self, standing: str, latest: int | None = None) -> ConfigurationState:
        def has_come() -> bool:
            told = self.told()
            return told is not None and told.standing == standing and latest in {None, told.latest}

        await until(has_come, f"{standing} {latest} told")
        told = self.told()
        assert told is not None
        return told

    def drivers(self, *drivers: dict[str, Any], **more: Any) -> str:
        listed = [{"name": f"d{i}", "driver": "bench", **driver} for i, driver in enumerate(drivers)]
        return yaml.safe_dump({"drivers": listed, "trial": "1s", "batch": {"age": "50ms"}, **more}, sort_keys=False)


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities(tmp_path / "authorities", now=NOW)


@pytest.fixture
def sender(broker: Broker, authorities: Authorities) -> Sender:
    return Sender(broker, authorities.of("acme", now=NOW))


@pytest.fixture
def device(
    tmp_path: Path, broker: Broker, collector: Collector, authorities: Authorities, monkeypatch: pytest.MonkeyPatch
) -> Device:
    monkeypatch.setattr(edge.publisher, "_NEWS_S", 0.05)
    kind = DriverKind(settings=BenchSettings, create=make_bench)
    monkeypatch.setitem(edge.drivers._DRIVERS, "bench", lambda: kind)
    folder = tmp_path / "device"
    folder.mkdir()
    request = make_request()
    issued = authorities.of("acme", now=NOW).issue_agent(request.csr, ADDRESS, now=NOW, valid=timedelta(days=90))
    for name, text in (("certificate", issued.chain), ("authority", authorities.root.pem), ("key", request.key)):
        (folder / f"{name}.pem").write_text(text)
    device = Device(folder, collector)
    head = {"organisation": ADDRESS.organisation, "site": ADDRESS.site, "agent": ADDRESS.agent, "broker": broker.url}
    tls = {name: f"{name}.pem" for name in ("authority", "certificate", "key")}
    body = yaml.safe_load(device.drivers({"meters": ["oven", "press"]}))
    device.config.write_text(yaml.safe_dump({**head, "tls": tls, **body}, sort_keys=False))
    return device


@asynccontextmanager
async def running(device: Device) -> AsyncIterator[asyncio.Task[int]]:
    """The agent as `afkobling edge run` starts it."""
    stop = asyncio.Event()
    care = Care(device.config, {})
    device.counters = Counters()
    task = asyncio.create_task(run_agent(care.load(), stop=stop, counters=device.counters, care=care))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait([task])


def meters_read(device: Device) -> set[str]:
    return {meter for batch in device.collector.batches() for meter in batch.meters}


async def test_a_configuration_is_applied_and_nothing_is_lost(device: Device, sender: Sender) -> None:
    async with running(device):
        await device.until_told("local")
        before = device.config.read_text()
        await sender.send(1, device.drivers({"meters": ["oven", "press", "saw"]}))
        told = await device.until_told("applied", 1)
        assert told.running == 1
        await until(lambda: "saw" in meters_read(device), "the new meter")
        assert yaml.safe_load(device.config.read_text())["drivers"][0]["meters"] == ["oven", "press", "saw"]
        assert (device.folder / "edge.yaml.before").read_text() == before
        # The broker forgets it: what runs, runs.
        await sender.publish(b"")
        await sender.send(2, device.drivers({"meters": ["oven"]}))
        await device.until_told("applied", 2)
    seqs = sorted(set(device.collector.seqs()))
    assert seqs == list(range(1, seqs[-1] + 1))
    assert len({batch.epoch for batch in device.collector.batches()}) == 1
    # It is known at the next start, and the same message again changes nothing.
    async with running(device):
        await sender.send(2, device.drivers({"meters": ["oven"]}))
        told = await device.until_told("applied", 2)
        assert told.running == 2


async def test_meters_that_stop_reading_bring_the_one_before_back(device: Device, sender: Sender) -> None:
    async with running(device):
        before = device.config.read_text()
        await sender.send(1, device.drivers({"meters": ["oven"]}, {"meters": ["press"], "reads": False}))
        assert (await device.until_told("on_trial", 1)).running == 1
        told = await device.until_told("rolled_back", 1)
        assert told.running == 0
        assert (told.reason or "").endswith("gave nothing in time, and did before: press")
        assert device.config.read_text() == before
        count = len(device.collector.batches())
        await until(lambda: len(device.collector.batches()) > count + 3, "it reads again")
        # The broker still keeps it, and says it again at each connection: it is not taken again.
        await sender.send(1, device.drivers({"meters": ["oven"]}, {"meters": ["press"], "reads": False}))
        await sender.send(2, device.drivers({"meters": ["oven"]}, {"meters": ["new"], "reads": False}))
        # A meter that never read before is not missed, and one that is configured no more neither.
        assert (await device.until_told("applied", 2)).running == 2


async def test_a_configuration_that_brings_the_agent_down_is_taken_back(device: Device, sender: Sender) -> None:
    async with running(device) as task:
        await sender.send(1, device.drivers({"meters": ["oven", "press"], "falls": True}))
        told = await device.until_told("rolled_back", 1)
        assert "the agent came down with it: RuntimeError: a defect of this driver" in (told.reason or "")
        assert not task.done()
        count = len(device.collector.batches())
        await until(lambda: len(device.collector.batches()) > count, "it reads again")


REFUSED: list[tuple[str, Callable[[Device], str], str]] = [
    ("identity", lambda d: d.drivers({"meters": ["a"]}, agent="cabinet-2"), "agent: this agent is acme/hall-1"),
    ("broker", lambda d: d.drivers({"meters": ["a"]}, broker="mqtt://10.0.0.1:1883"), "the broker is not changed"),
    ("driver", lambda d: d.drivers({"meters": ["a"], "driver": "shell"}), "there is no driver 'shell'"),
    ("yaml", lambda d: "drivers: [", "not valid YAML"),
    ("file", lambda d: d.drivers({"driver": "replay", "path": "/etc/passwd"}), "is not below"),
]


async def test_what_is_refused_is_told_and_what_runs_goes_on(device: Device, sender: Sender) -> None:
    async with running(device):
        before = device.config.read_text()
        for version, (_, body, words) in enumerate(REFUSED, start=1):
            await sender.send(version, body(device))
            told = await device.until_told("refused", version)
            assert words in (told.reason or "")
            assert told.running == 0
        assert device.config.read_text() == before
        device.config.write_text(before + "# by hand\n")
        await sender.send(9, device.drivers({"meters": ["oven"]}))
        told = await device.until_told("refused", 9)
        assert "was changed on the spot" in (told.reason or "")
    async with running(device):
        await device.until_told("local", 9)


async def test_what_others_send_is_told_and_not_remembered(
    device: Device, sender: Sender, authorities: Authorities
) -> None:
    good = device.drivers({"meters": ["oven"]})
    async with running(device):
        await sender.send(5, good)
        await device.until_told("applied", 5)
        forged = json.loads(sender.message(7, good)) | {"body": good + "# more"}
        other = authorities.of("other", now=NOW)
        attempts = (
            (json.dumps(forged).encode(), "version 7 of the configuration is refused: it is not signed by"),
            (sender.message(7, good, by=other), "is not signed by the authority of this agent's organisation"),
            (sender.message(8, good, to=NEIGHBOUR), "meant for another agent"),
            (sender.message(4, good), "an older one is not taken again"),
            (sender.message(5, good + "# other"), "was sent before, as another text"),
            (b"{}", "cannot be read: version: this is missing"),
            (b"x" * 1_000_001, "is more than the 1000000 that are read"),
        )
        for payload, words in attempts:
            await sender.publish(payload)
            await until(lambda words=words: words in str((t := device.told()) and t.reason), words)  # type: ignore[misc]
            told = device.told()
            assert told is not None
            assert (told.running, told.latest, told.standing) == (5, 5, "refused")
        await sender.send(6, device.drivers({"meters": ["oven", "press"]}))
        assert (await device.until_told("applied", 6)).running == 6


async def test_without_enrolment_it_is_refused_with_words(device: Device, sender: Sender) -> None:
    settings = yaml.safe_load(device.config.read_text())
    del settings["tls"]
    device.config.write_text(yaml.safe_dump(settings))
    async with running(device):
        await sender.send(1, device.drivers({"meters": ["oven"]}))
        told = await device.until_told("refused")
        assert "was not enrolled" in (told.reason or "")
        assert (told.running, told.latest) == (0, 0)


async def test_the_socket_tells_how_it_is(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    outbox = device.folder / "outbox.sqlite"
    assert ask(outbox) is None
    async with running(device):
        await device.until_told("local")

        async def asked() -> Any:
            found = await asyncio.to_thread(ask, outbox)
            assert found is not None
            return found

        def is_read() -> bool:
            return device.counters.confirmed._value.get() > 0 and len(device.counters.last.all()) == 2

        await until(is_read, "readings of both meters, and a word that some are stored")
        found = await asked()
        assert found.outbox.stored_at is not None
        assert (found.agent, found.broker.connected, found.problems) == (str(ADDRESS), True, [])
        assert {(m.meter, m.state, m.value, m.unit) for m in found.meters} == {
            ("oven", "reading", 1.0, "kWh"),
            ("press", "reading", 1.0, "kWh"),
        }
        assert found.certificate_until is not None
        assert socket_beside(outbox).stat().st_mode & 0o777 == 0o660
        assert await asyncio.to_thread(main, ["edge", "status", "--config", str(device.config)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"{ADDRESS}: runs" in lines
        assert any(line.split()[:3] == ["oven", "1", "kWh"] and line.endswith("reading") for line in lines)
    assert not socket_beside(outbox).exists()
    status = device.collector.last_status()
    assert status is not None
    assert status.health is not None
    assert status.health.certificate_until == found.certificate_until
    assert status.health.disk_free_bytes


async def test_a_kill_during_a_trial_goes_on_with_it(
    device: Device, sender: Sender, broker: Broker, collector: Collector
) -> None:
    """As a process of its own, killed again and again: in the end it takes the configuration for the reason."""
    agent = Agent(device.folder, broker)

    def trial() -> Any:
        return json.loads((device.folder / "edge.yaml.state").read_text())["trial"]

    settings = yaml.safe_load(device.config.read_text())
    simulated = {"name": "workshop", "driver": "simulated", "every": "20ms", "runs": False}
    device.config.write_text(yaml.safe_dump({**settings, "drivers": [simulated]}))
    before = device.config.read_text()
    try:
        agent.start()
        await until(lambda: len(collector.batches()) > 3, "readings arrive")
        meters = dict.fromkeys(sorted(meters_read(device)), "energy-import")
        await sender.send(1, device.drivers({**AWAY, "meters": meters}, trial="1h"))
        await device.until_told("on_trial", 1)
        for starts in range(MOST_STARTS):
            await until(lambda starts=starts: trial()["starts"] == starts + 1, "it begins with what is on trial")  # type: ignore[misc]
            agent.send(signal.SIGKILL)
            await agent.ended()
            assert trial()["meters"]
            assert device.config.read_text() != before
            collector.arrivals.clear()
            agent.start()
        told = await device.until_told("rolled_back", 1)
        assert "ended again and again while it was on trial" in (told.reason or "")
        assert device.config.read_text() == before
        agent.send(signal.SIGTERM)
        assert await agent.ended() == 0
    finally:
        print(agent.log.read_text())
        if agent.process is not None and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()
