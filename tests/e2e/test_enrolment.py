"""A device's life: invited, enrolled, renewed while it reads, its code stolen, revoked, enrolled anew."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import edge.renewal
from deploy.chaos.processes import Processes, wait_for
from deploy.cli import main
from deploy.demo.parts import free_port
from edge.agent import run_agent
from edge.configuration import Configured, load_configuration
from edge.counters import Counters
from edge.drivers import DriverContext, DriverKind, DriverSettings, now_ms
from edge.enrolment.identity import IDENTITY, read_identity
from edge.readings import Reading, Taken
from schemas.resources import MeterKind, Resource
from schemas.wire import OfferedMeter
from tests.conftest import Servers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(200)]

SITE = """
organisation: {{id: {organisation}}}
site: {{id: hall, time_zone: Europe/Copenhagen}}
lines: [{{id: press}}]
agents: [{{id: cabinet}}]
meters:
  - {{id: power, agent: cabinet, line: press, resource: energy, carrier: electricity, unit: kWh, kind: counter}}
"""
EDGE = """\
# the technician's own words
window: 20   # stays
resend_after: 1s
batch: {readings: 1, age: 50ms}
drivers:
  - {name: power, driver: replay, path: power.csv, speed: max}
"""


class Meter:
    """A driver that gives what it is given."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[Taken | None] = asyncio.Queue()
        self._at_ms = now_ms() - 3_600_000
        self.count = 0

    def offers(self) -> list[OfferedMeter]:
        return [OfferedMeter(meter="power", resource=Resource.ENERGY, unit="kWh", kind=MeterKind.COUNTER, driver="d")]

    async def start(self) -> None: ...

    async def readings(self) -> AsyncIterator[Taken]:
        while (taken := await self._given.get()) is not None:
            yield taken

    async def stop(self) -> None:
        await self._given.put(None)

    def give(self, count: int) -> None:
        for _ in range(count):
            self.count += 1
            reading = Reading(meter="power", at_ms=self._at_ms + self.count * 1000, value=float(self.count), unit="kWh")
            self._given.put_nowait(Taken(readings=[reading]))


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def server(
    tmp_path: Path,
    database_url: str,
    stack: Servers,
    agent_broker_url: str,
    organisation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """API and collector, as processes. The API's address."""
    port = free_port()
    environment = {
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": stack.broker_url,
        "AFKOBLING_AGENT_BROKER_URL": agent_broker_url,
        "AFKOBLING_AUTHORITY_DIR": str(stack.authority_dir),
        "AFKOBLING_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "AFKOBLING_COLLECTOR_ID": organisation,
        "AFKOBLING_SHARE_GROUP": organisation,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "site.yaml").write_text(SITE.format(organisation=organisation), "utf-8")
    with Processes(folder, environment, tell=print) as processes:
        processes.run("site", "apply", "site.yaml")
        processes.start("api", "api", "run", "--port", str(port))
        processes.start("collector", "collector", "run")
        wait_for(lambda: is_up(f"http://127.0.0.1:{port}"), "the API")
        yield f"http://127.0.0.1:{port}"


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False


class Person:
    """Types commands."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def types(self, *words: str, status: int = 0) -> str:
        self._capsys.readouterr()
        assert await asyncio.to_thread(main, list(words)) == status
        said = self._capsys.readouterr()
        return said.out if status == 0 else said.err

    async def code(self) -> str:
        made = json.loads(await self.types("agent", "invite", "--agent", "cabinet", "--json"))
        return str(made["code"])


def stored(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM reading").fetchone()
    return int(row[0]) if row else 0


async def until(condition: Any, what: str) -> None:
    for _ in range(1200):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"this did not come about: {what}")


async def test_the_life_of_a_device(  # noqa: PLR0915 - one life
    server: str,
    tmp_path: Path,
    database_url: str,
    organisation: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge.renewal, "_LOOK_S", 0.1)
    person = Person(capsys)
    config = tmp_path / "edge.yaml"
    config.write_text(EDGE, "utf-8")
    (tmp_path / "power.csv").write_text("at,meter,value,unit,resource,kind,carrier\n", "utf-8")

    await _refusals_say_what_to_do(person, config)
    assert config.read_text("utf-8") == EDGE

    line = await person.types("agent", "invite", "--agent", "cabinet")
    assert f"At the device of {organisation}/hall/cabinet" in line
    code = line.split("'")[1]
    said = await person.types("edge", "enrol", code.lower(), "--config", str(config))
    assert f"This device is the agent {organisation}/hall/cabinet" in said
    text = config.read_text("utf-8")
    assert "# the technician's own words\nwindow: 20   # stays\n" in text
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600

    configuration = load_configuration(config, os.environ)
    meter, counters, stop = Meter(), Counters(), asyncio.Event()

    def create(_settings: DriverSettings, _context: DriverContext) -> Meter:
        return meter

    kind = DriverKind(settings=DriverSettings, create=create)
    drivers = (Configured(kind=kind, settings=DriverSettings(name="d", driver="given")),)
    configuration = configuration.model_copy(update={"drivers": drivers})

    def count(name: str) -> float:
        return counters.registry.get_sample_value(f"afkobling_edge_{name}") or 0.0

    async def all_stored() -> None:
        await until(lambda: count("messages_confirmed_total") == meter.count, f"{meter.count} confirmed")

    agent = asyncio.create_task(run_agent(configuration, stop=stop, counters=counters))
    meter.give(20)
    await all_stored()
    assert 89 < count("certificate_days") <= 90

    # Renewed in the middle of its work: in good order, and nothing waits for it.
    identity = read_identity(tmp_path)
    assert identity is not None
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE agent_certificate SET issued_at = issued_at - interval '120 days'")
    before = (tmp_path / "certificate.pem").read_text("utf-8")
    old = identity.model_copy(update={"issued_at": identity.issued_at - 200 * 86_400_000})
    (tmp_path / IDENTITY).write_text(old.model_dump_json(), "utf-8")
    for _ in range(200):
        meter.give(1)
        await asyncio.sleep(0.02)
        if (tmp_path / "certificate.pem").read_text("utf-8") != before:
            break
    meter.give(20)
    await until(lambda: count("broker_connections_total") >= 2, "another connection")
    await all_stored()
    assert (tmp_path / "certificate.pem").read_text("utf-8") != before
    assert count("renewal_failures_total") == 0

    # Somebody read the code over the technician's shoulder.
    thief = tmp_path / "thief" / "edge.yaml"
    refused = await person.types("edge", "enrol", code, "--config", str(thief), status=1)
    assert "was used on" in refused
    assert not (tmp_path / "thief" / "certificate.pem").exists()
    assert "somebody tried its code again" in await person.types("agent", "list")

    await person.types("agent", "revoke", "cabinet", "--because", "to see")
    await until(lambda: not count("broker_online"), "sent away")
    meter.give(10)
    await until(lambda: any("certificate is not accepted" in words for words in counters.problems()), "told why")
    assert count("outbox_messages") == 10
    assert "revoked on" in await person.types("agent", "list")

    assert json.loads(await person.types("agent", "reconcile", "--json")) == {"admitted": 0, "expelled": 0}
    said = await person.types("edge", "enrol", await person.code(), "--config", str(config))
    assert "those of before" in said
    await all_stored()
    assert counters.problems() == []
    stop.set()
    assert await agent == 0
    assert stored(database_url) == meter.count


async def _refusals_say_what_to_do(person: Person, config: Path) -> None:
    code = await person.code()
    secret = code.partition("#")[2]

    async def refused(text: str) -> str:
        return await person.types("edge", "enrol", text, "--config", str(config), status=1)

    assert "this is no enrolment code" in await refused("hello")
    assert "not all of it is right" in await refused(code[:-1] + ("0" if code[-1] != "0" else "1"))
    assert "cannot be reached" in await refused(f"http://127.0.0.1:{free_port()}#{secret}")
    assert "is worth nothing now" in await person.types("agent", "withdraw", "cabinet")
    assert "there was no open code" in await person.types("agent", "withdraw", "cabinet")
    assert "was withdrawn on" in await refused(code)
    assert not (config.parent / "certificate.pem").exists()
