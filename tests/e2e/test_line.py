"""From two files of measurements to a verdict, through the real processes, with a truth in closed form.

Two ordinary years of 8,760 hours, local time. In the second the line draws a tenth less power, takes a twentieth more
water, makes a tenth more brackets, and earns a tenth more: energy is decoupled absolutely, water relatively.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest

from api.broker_client import new_client
from deploy.chaos.processes import DEADLINE_S, Processes, wait_for
from schemas.broker_url import parse_broker_url
from schemas.topics import AgentAddress, Kind

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

ZONE = ZoneInfo("Europe/Copenhagen")
BASE, PERIOD = 2022, 2023
HOURS = 6
"""Between readings. Midnight in summer falls between two of them, so the roll-up has to cut their spans."""
RATES: dict[str, tuple[Decimal, Decimal]] = {
    "power": (Decimal(10), Decimal(9)),
    "water": (Decimal(2), Decimal("2.1")),
    "brackets": (Decimal(100), Decimal(110)),
}
"""Canonical units an hour, in the first year and in the second."""
FIRST = {"power": Decimal("123456.7"), "water": Decimal("0.25"), "brackets": Decimal(1_000_000)}
"""What each register says when the first year begins."""
UNITS = {"power": "kWh", "water": "m3", "brackets": "pcs"}

SITE = """
organisation: {{id: {organisation}, name: Line A/S}}
site: {{id: hall, time_zone: Europe/Copenhagen}}
lines: [{{id: press}}]
products: [{{id: bracket}}]
agents: [{{id: cabinet}}, {{id: counter}}, {{id: planner}}]
meters:
  - {{id: power, agent: cabinet, line: press, resource: energy, carrier: electricity, unit: kWh, kind: counter,
     max_gap: 12h}}
  - {{id: water, agent: cabinet, line: press, resource: water, unit: m3, kind: counter, max_gap: 12h}}
  - {{id: brackets, agent: counter, line: press, resource: production, carrier: good, unit: pcs, kind: counter,
     max_gap: 12h}}
"""
EDGE = """
organisation: {organisation}
site: hall
agent: {agent}
outbox: {{path: {agent}.sqlite}}
batch: {{readings: 200, age: 100ms}}
drivers:
  - {{name: {agent}, driver: replay, path: {agent}.csv, speed: max}}
"""
ROWS = {"power": "energy,counter,electricity", "water": "water,counter,", "brackets": "production,counter,good"}


def midnight(day: date) -> datetime:
    """When a local day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)


START, TURN, END = (midnight(date(year, 1, 1)) for year in (BASE, PERIOD, PERIOD + 1))


def used(meter: str, start: datetime, end: datetime) -> Decimal:
    """The closed form: hours at each rate."""
    before, after = RATES[meter]
    split = min(max(TURN, start), end)
    hours = [Decimal((b - a) // timedelta(minutes=15)) / 4 for a, b in ((start, split), (split, end))]
    return before * hours[0] + after * hours[1]


def readings_of(meter: str) -> list[tuple[datetime, Decimal]]:
    """Instants and registers, from the first moment to the last."""
    count = (END - START) // timedelta(hours=HOURS)
    instants = [START + timedelta(hours=HOURS * i) for i in range(count + 1)]
    return [(at, FIRST[meter] + used(meter, START, at)) for at in instants]


def write_file(path: Path, *meters: str) -> None:
    lines = ["at,meter,value,unit,resource,kind,carrier"]
    for meter in meters:
        lines += [f"{at.isoformat()},{meter},{value},{UNITS[meter]},{ROWS[meter]}" for at, value in readings_of(meter)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


class Api:
    """One site of the API, over HTTP. Numbers come as exact decimals."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    def is_ready(self) -> bool:
        try:
            return self._http.get("/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: Any) -> Any:
        response = self._http.get(path, params=query)
        assert response.status_code == httpx.codes.OK, response.text
        return response.json(parse_float=Decimal)

    def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """The items of all pages."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, **query, **cursor)
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = {"cursor": page["next"]}

    def put(self, path: str, body: object) -> Any:
        response = self._http.put(path, json=body)
        assert response.status_code == httpx.codes.OK, response.text
        return response.json()

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def processes(tmp_path: Path, database_url: str, broker_url: str, organisation: str) -> Iterator[Processes]:
    environment = {
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": broker_url,
        "AFKOBLING_COLLECTOR_ID": organisation,
        "AFKOBLING_SHARE_GROUP": organisation,
    }
    with Processes(tmp_path, environment, tell=print) as processes:
        yield processes


@pytest.fixture
def api(line: None, processes: Processes, organisation: str) -> Iterator[Api]:
    """The API on a free port, with a token that the command made, asked once everything is rolled up."""
    made = processes.run(
        "token", "create", "--organisation", organisation, "--name", "e2e", "--scope", "read", "--scope", "write",
        "--json",
    )  # fmt: skip
    token = json.loads(made)
    assert token["scopes"] == ["read", "write"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    processes.start("api", "api", "run", "--port", str(port))
    client = Api(f"http://127.0.0.1:{port}", token["token"])
    try:
        wait_for(lambda: client.is_ready() or processes.ended("api") is not None, "the API")
        yield client
    finally:
        client.close()
    # uvicorn ends in good order, and then by the signal that it was sent.
    assert processes.stop("api") == 0


@pytest.fixture
def line(tmp_path: Path, processes: Processes, broker_url: str, organisation: str, database_url: str) -> None:
    """Everything left of the API: model applied, files read and stored, runs said, all rolled up."""
    (tmp_path / "site.yaml").write_text(SITE.format(organisation=organisation), "utf-8")
    assert "3 meters" in processes.run("site", "apply", "site.yaml")
    write_file(tmp_path / "cabinet.csv", "power", "water")
    write_file(tmp_path / "counter.csv", "brackets")
    for agent, meters in (("cabinet", 2), ("counter", 1)):
        config = f"{agent}.yaml"
        (tmp_path / config).write_text(EDGE.format(organisation=organisation, agent=agent), "utf-8")
        check = json.loads(processes.run("edge", "check", "--config", config, "--json"))
        assert check["ok"]
        assert len(check["meters"]) == meters
    # No order is needed: agents keep trying until somebody listens.
    for agent in ("cabinet", "counter"):
        processes.start(agent, "edge", "run", "--config", f"{agent}.yaml", "--until-stored")
    processes.start("collector", "collector", "run")
    publish_runs(broker_url, AgentAddress(organisation=organisation, site="hall", agent="planner"), database_url)
    for agent in ("cabinet", "counter"):
        statuses: list[int] = []

        def has_ended(agent: str = agent, statuses: list[int] = statuses) -> bool:
            processes.check("collector")
            if (status := processes.ended(agent)) is not None:
                statuses.append(status)
            return bool(statuses)

        wait_for(has_ended, f"{agent} to have everything stored")
        assert statuses == [0]
    # Started before the readings come, the roll-up would take them all for late ones, a meter and a day at a time.
    processes.start("rollup", "rollup", "run")
    wait_for(lambda: is_rolled_up(database_url), "the roll-up")
    assert processes.stop("rollup") == 0
    assert processes.stop("collector") == 0


def publish_runs(broker_url: str, address: AgentAddress, database_url: str) -> None:
    """One run a year, said until the collector has stored it, as an agent would."""
    parts = urlsplit(broker_url)
    runs = [
        {"run": f"y{year}", "line": "press", "state": "running", "product": "bracket", "start": ms(a), "end": ms(b)}
        for year, a, b in ((BASE, START, TURN), (PERIOD, TURN, END))
    ]
    message = {"v": 1, "epoch": "plan", "seq": 1, "sent_at": ms(END), "runs": runs}
    client = new_client(parse_broker_url(broker_url))
    client.connect(str(parts.hostname), parts.port or 1883)
    client.loop_start()
    try:

        def is_stored() -> bool:
            client.publish(address.topic(Kind.RUNS), json.dumps(message), qos=1).wait_for_publish(DEADLINE_S)
            return query(database_url, "SELECT count(*) FROM run") == [(2,)]

        wait_for(is_stored, "both runs")
    finally:
        client.disconnect()
        client.loop_stop()


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def is_rolled_up(database_url: str) -> bool:
    """All that was stored is in the consumption."""
    return query(
        database_url,
        "SELECT NOT EXISTS (SELECT FROM pending) AND computed_to > %s "
        "AND computed_to >= date_bin('15 minutes', closed_to - interval '15 seconds', '2000-01-01Z') "
        "FROM rollup_progress",
        END,
    ) == [(True,)]


def query(database_url: str, statement: LiteralString, *arguments: Any) -> list[Any]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement, arguments).fetchall()


def months() -> list[tuple[date, date]]:
    firsts = [date(year, month, 1) for year in (BASE, PERIOD) for month in range(1, 13)]
    return list(zip(firsts, [*firsts[1:], date(PERIOD + 1, 1, 1)], strict=True))


def test_a_line_from_its_files_to_the_verdict(api: Api, organisation: str) -> None:
    values = [
        {"driver": "revenue", "from": f"{year}-01-01", "to": f"{year + 1}-01-01", "value": value, "unit": "DKK",
         "price_year": BASE, "source": "the books"}
        for year, value in ((BASE, 10_000_000), (PERIOD, 11_000_000))
    ]  # fmt: skip
    assert api.put("/v1/sites/hall/driver-values", {"items": values}) == {"saved": 2}
    whole = {"from": f"{BASE}-01-01", "to": f"{PERIOD + 1}-01-01"}

    _check_ledger(api)
    _check_consumption(api, whole)
    _check_decoupling(api)
    _check_intensity(api)
    _check_readings(api, whole)


def _check_ledger(api: Api) -> None:
    entries = {entry["agent"]: entry for entry in api.pages("/v1/ledger")}
    assert set(entries) == {"cabinet", "counter", "planner"}
    for agent, meters in (("cabinet", ("power", "water")), ("counter", ("brackets",))):
        entry, sent = entries[agent], sum(len(readings_of(meter)) for meter in meters)
        assert entry["sent_says"] == "agent"
        assert entry["sent"] == entry["readings"] == entry["stored"] == sent
        assert (entry["repeated"], entry["quarantined"], entry["dropped"], entry["waiting"]) == (0, 0, 0, 0)
        assert entry["stored_seq"] == entry["highest_seq"] == entry["last_seq"] == entry["messages"]
        assert (entry["complete"], entry["missing"], entry["state"]) == (True, [], "offline")
    assert entries["planner"]["complete"]
    assert api.pages("/v1/quarantine") == []


def _check_consumption(api: Api, whole: dict[str, str]) -> None:
    """Every month, with its 743 or 745 hours where the clock is turned, and every year: exact."""
    years = [(date(year, 1, 1), date(year + 1, 1, 1)) for year in (BASE, PERIOD)]
    for by, buckets in (("month", months()), ("year", years)):
        items = {(i["meter"], i["from"]): i for i in api.pages("/v1/sites/hall/consumption", by=by, limit=7, **whole)}
        assert len(items) == len(RATES) * len(buckets)
        for meter in RATES:
            for first, end in buckets:
                item = items[(meter, midnight(first).isoformat().replace("+00:00", "Z"))]
                true = used(meter, midnight(first), midnight(end))
                assert (item["total"], item["measured"], item["estimated"]) == (true, true, 0), (meter, first)
                assert (item["coverage"], item["unit"]) == (1, UNITS[meter])
    [october] = api.pages(
        "/v1/sites/hall/consumption", by="day", meter="power", **{"from": "2022-10-30", "to": "2022-10-31"}
    )
    assert october["total"] == 25 * RATES["power"][0]


def _check_decoupling(api: Api) -> None:
    answer = api.get(
        "/v1/sites/hall/decoupling",
        base_from=f"{BASE}-01-01",
        base_to=f"{PERIOD}-01-01",
        **{"from": f"{PERIOD}-01-01", "to": f"{PERIOD + 1}-01-01"},
    )
    indicators = {item["indicator"]: item for item in answer["items"]}
    assert set(indicators) == {"energy", "water", "co2_location", "co2_market"}
    energy, water = indicators["energy"], indicators["water"]
    assert (energy["state"], energy["verdict"], energy["elasticity_state"]) == (
        "absolute",
        "firm",
        "strong decoupling",
    )
    assert energy["growth"] == {
        "pressure": Decimal("-0.1"), "driver": Decimal("0.1"), "low": Decimal("-0.1"), "high": Decimal("-0.1"),
    }  # fmt: skip
    assert energy["elasticity"] == -1
    assert energy["oecd_factor"] == _twelve_digits(1 - Fraction(9, 11))
    assert energy["base"]["quantity"]["total"] == 87_600
    assert energy["period"]["quantity"]["total"] == 78_840
    assert (energy["coverage"], energy["estimated_share"], energy["period"]["usable_days"]) == (1, 0, 1)
    assert (water["state"], water["verdict"], water["elasticity"]) == ("relative", "firm", Decimal("0.5"))


def _check_intensity(api: Api) -> None:
    for year, energy in ((BASE, Fraction(10, 100)), (PERIOD, Fraction(9, 110))):
        answer = api.get("/v1/sites/hall/intensity", **{"from": f"{year}-01-01", "to": f"{year + 1}-01-01"})
        found = {item["resource"]: item for item in answer["items"] if item["product"] == "bracket"}
        assert found["energy"]["value"] == _twelve_digits(energy)
        assert found["energy"]["good"] == used("brackets", midnight(date(year, 1, 1)), midnight(date(year + 1, 1, 1)))
        assert all(balance["difference"] == 0 for balance in answer["balance"])
        assert answer["findings"] == []


def _check_readings(api: Api, whole: dict[str, str]) -> None:
    """Page after page, the file itself comes back."""
    whole = {**whole, "to": (END + timedelta(seconds=1)).isoformat()}
    for meter in RATES:
        items = api.pages("/v1/sites/hall/readings", meter=meter, limit=999, **whole)
        assert [(item["at"], Decimal(str(item["value"]))) for item in items] == [
            (at.isoformat().replace("+00:00", "Z"), value) for at, value in readings_of(meter)
        ]
        assert {(item["meter"], item["quality"]) for item in items} == {(meter, "good")}


def _twelve_digits(value: Fraction) -> Decimal:
    return Context(prec=12).divide(Decimal(value.numerator), Decimal(value.denominator))
