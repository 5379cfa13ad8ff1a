"""Whether readings stand in the table, in the archive or in both: every route tells the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.rows import dict_row

from api import archived, open_readings, quality_store
from api.database import Connection
from collector.metering.tables import ReadingTable
from collector.rollup import roll_up_once
from schemas.locks import ARCHIVE_GATE
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask
from tests.integration.api.test_explain import FIGURE, worked
from tests.integration.archiving import archive, files_of, moving

__all__ = ["worked"]  # a fixture

pytestmark = pytest.mark.stack

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
END = START + timedelta(hours=8)
SITE = "/v1/sites/odense"
METERS = ("main", "power-1", "water", "air")


def _readings(seed: int) -> list[tuple[str, datetime, float]]:
    """Registers with resets, gaps, spikes and instants beside each other."""
    rng = random.Random(seed)
    found = []
    for meter, cadence in zip(METERS, (60, 97, 300, 1200), strict=True):
        at, value = START + timedelta(milliseconds=rng.randrange(60_000)), 1000.0
        while at < END:
            value = 5.0 if rng.random() < 0.02 else round(value + rng.random() * 3, 3)
            found.append((meter, at, value + (400 if rng.random() < 0.02 else 0)))
            at += timedelta(seconds=cadence * rng.choice([1, 1, 1, 1, 1, 1, 1, 1, 40]))
    return found


class Factory:
    """A site with readings, events and what people said, rolled up."""

    def __init__(self, connection: psycopg.Connection[Any], store: Any) -> None:
        self.connection = connection
        self.store = store

    def fill(self, readings: list[tuple[str, datetime, float]]) -> None:
        numbers = {meter: self.store.number(meter) for meter in METERS}
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO reading VALUES (%s, %s, %s, 0)",
                [(numbers[meter], at, value) for meter, at, value in readings],
            )

    def roll_up(self, to: datetime = END) -> None:
        roll_up_once(self.connection, due_ms=int(to.timestamp() * 1000))


@pytest.fixture
def factory(connection: psycopg.Connection[Any], store: Any) -> Factory:
    return Factory(connection, store)


async def _get(client: Any, path: str, **params: Any) -> Any:
    answer = await client.get(f"{SITE}{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _pages(client: Any, path: str, **params: Any) -> list[Any]:
    items: list[Any] = []
    cursor = None
    while True:
        page = await _get(client, path, **params, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


async def _everything(client: Any) -> dict[str, Any]:
    """Every answer that rests on raw readings."""
    period = {"from": START.isoformat(), "to": END.isoformat()}
    events = await _pages(client, "/events", **period)
    some = {"from": (START + timedelta(hours=2)).isoformat(), "to": (START + timedelta(hours=5)).isoformat()}
    return {
        "all": await _pages(client, "/readings", **period, limit=7 * 13),
        "one page": await _pages(client, "/readings", **period, limit=10_000),
        "one meter": await _pages(client, "/readings", **some, meter="power-1", limit=5),
        "two meters": await _pages(client, "/readings", **some, meter=["water", "power-1"], limit=11),
        "events": events,
        "evidence": [await _get(client, f"/events/{event['id']}") for event in events],
        "manual": await _pages(client, "/manual-readings"),
        "consumption": await _pages(client, "/consumption", **period, by="quarter"),
        "quality": {**await _get(client, "/quality", **period), "now": None},
    }


@pytest.mark.parametrize("seed", range(2))
async def test_every_route_tells_the_same_of_archived_readings(
    client: Any, factory: Factory, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(100 + seed)
    readings = _readings(seed)
    factory.fill(readings)
    corrected = next(at for meter, at, _ in readings if meter == "water" and at > START + timedelta(hours=1))
    said = {"author": "a", "reason": "r"}
    items = [
        {"meter": "water", "at": at.isoformat(), "value": 77.0, **said}
        for at in (corrected, corrected + timedelta(seconds=1))
    ]
    answer = await client.post(f"{SITE}/manual-readings", json={"items": items})
    assert answer.status_code == 200, answer.text
    factory.roll_up()
    _lose_some(factory.connection)
    before = await _everything(client)
    assert len(before["all"]) >= len(readings)
    assert before["all"] == before["one page"]
    assert {event["kind"] for event in before["events"]} & {"gap", "spike", "reset"}
    assert any(item["meter_said"] for item in before["all"])
    for step in range(4):
        # Any part of it, in pieces that may lie within one another in time; at last everything.
        first = START + rng.random() * (END - START)
        last = min(END, first + timedelta(hours=3)) if step < 3 else END
        archive(
            factory.connection,
            tmp_path,
            start=first if step < 3 else START,
            to=last,
            group_readings=rng.choice([3, 50, 1000]),
        )
        after = await _everything(client)
        for name, told in before.items():
            assert after[name] == told, f"{name}, step {step}"
    assert factory.connection.execute("SELECT count(*) FROM reading").fetchone() == (0,)


def _lose_some(connection: psycopg.Connection[Any]) -> None:
    """Events that people decided about and the roll-up no longer finds: their evidence is read anew."""
    connection.execute(
        """
        INSERT INTO event_decision (meter_id, kind, at, until, state, decision, author, reason)
        SELECT meter_id, kind, at, until, 'confirmed', decision, 'a', 'r' FROM meter_event WHERE kind <> 'gap'
        """
    )
    connection.execute("DELETE FROM meter_event WHERE kind <> 'gap'")


@pytest.fixture
async def plain(database_url: str) -> AsyncIterator[Connection]:
    """A connection as the API's own."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as opened:
        yield opened


async def test_what_is_told_of_now(client: Any, plain: Connection, factory: Factory, tmp_path: Path) -> None:
    """A retention of minutes: what the page shows of now is archived already."""
    now = datetime.now(UTC)
    begin = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    readings = [
        (meter, begin + timedelta(seconds=n * 30 + 0.25), 100.0 + n)
        for meter in ("main", "power-1")
        for n in range(int((now - begin).total_seconds()) // 30 - (0 if meter == "main" else 100))
    ]
    silent = [("water", begin - timedelta(days=3) + timedelta(minutes=n), float(n)) for n in range(40)]
    # Of one meter the roll-up knows nothing yet.
    new = [("air", now - timedelta(minutes=100 - n), float(n)) for n in range(30)]
    factory.fill(readings + silent + new)
    factory.roll_up(begin + timedelta(hours=1))
    numbers = [factory.store.number(meter) for meter in METERS]
    period = {"from": (begin - timedelta(days=4)).isoformat(), "to": (begin + timedelta(hours=5)).isoformat()}

    async def told() -> Any:
        latest = {item["meter"]: item for item in (await _get(client, "/meters/latest"))["items"]}
        return (
            [(meter, latest[meter]["at"], latest[meter]["value"]) for meter in METERS],
            await _pages(client, "/consumption", **period, by="quarter"),
            await quality_store.distances(plain, numbers),
            await open_readings.last_before(plain, numbers, int(now.timestamp() * 1000)),
        )

    before = await told()
    assert [value for _, _, value in before[0][2:]] == [39.0, 29.0]
    assert before[2].keys() == {*numbers[:2], numbers[3]}
    for to in (now - timedelta(minutes=70), now - timedelta(minutes=4), now + timedelta(minutes=4)):
        archive(factory.connection, tmp_path, to=to, group_readings=100)
        after = await told()
        assert after[:3] == before[:3]
        assert [column.tolist() for column in _columns(after[3])] == [column.tolist() for column in _columns(before[3])]


def _columns(table: ReadingTable) -> list[Any]:
    return [getattr(table, name) for name in ReadingTable.__dataclass_fields__]


async def test_a_figure_down_to_archived_readings(client: Any, factory: Factory, worked: None, tmp_path: Path) -> None:
    before = await ask(client, f"/v1/sites/worked/figures/{FIGURE}", depth="readings")
    assert len(before["walk"]["readings"]) > 5
    middle = datetime(2026, 1, 5, 0, 7, tzinfo=UTC)
    for to in (middle, END):
        archive(factory.connection, tmp_path, to=to, group_readings=2)
        assert await ask(client, f"/v1/sites/worked/figures/{FIGURE}", depth="readings") == before


async def test_setting_aside_what_is_archived(client: Any, factory: Factory, tmp_path: Path) -> None:
    factory.fill([("main", START + timedelta(minutes=n), 100.0 + n) for n in range(60)])
    archive(factory.connection, tmp_path, to=START + timedelta(minutes=30))
    body = {
        "meter": "main",
        "from": (START + timedelta(minutes=20, seconds=1)).isoformat(),
        "to": (START + timedelta(minutes=40, seconds=1)).isoformat(),
        "author": "a",
        "reason": "r",
    }
    answer = await client.post(f"{SITE}/events", json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["from"], answer.json()["to"]) == ("2026-03-01T22:21:00Z", "2026-03-01T22:40:00Z")


async def test_readings_are_seen_once_while_they_move(
    client: Any, database_url: str, factory: Factory, tmp_path: Path
) -> None:
    """The move ends between the statements of a request: whoever asks waits, and then finds them in the archive."""
    factory.fill([("main", START + timedelta(minutes=n), 100.0 + n) for n in range(60)])
    period = {"from": START.isoformat(), "to": END.isoformat()}
    with moving(factory.connection, tmp_path, to=START + timedelta(minutes=30)):
        asked = asyncio.create_task(_get(client, "/readings", **period))
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
            while (await (await other.execute(_WAITING, [ARCHIVE_GATE])).fetchone()) != (1,):
                assert not asked.done()
                await asyncio.sleep(0.02)
    assert [item["value"] for item in (await asked)["items"]] == [100.0 + n for n in range(60)]


_WAITING = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def test_an_archive_that_is_away_is_told(client: Any, factory: Factory, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    factory.fill([("main", START + timedelta(minutes=n), 100.0 + n) for n in range(60)])
    archive(factory.connection, folder, to=START + timedelta(minutes=30))
    folder.rename(tmp_path / "away")
    period = {"from": START.isoformat(), "to": END.isoformat()}
    answer = await client.get(f"{SITE}/readings", params=period)
    assert_problem(answer, 503, "is its disk mounted")
    assert answer.headers["retry-after"] == "30"
    # What lies beyond it is told as ever.
    hot = {**period, "from": (START + timedelta(minutes=30)).isoformat()}
    assert len((await _get(client, "/readings", **hot))["items"]) == 30
    (tmp_path / "away").rename(folder)
    archived.reader_of.cache_clear()
    assert len((await _get(client, "/readings", **period))["items"]) == 60


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone", "another"])
async def test_a_damaged_file_is_told_and_nothing_is_left_out(
    client: Any, factory: Factory, tmp_path: Path, harm: str
) -> None:
    factory.fill([("main", START + timedelta(minutes=n), 100.0 + n) for n in range(60)])
    archive(factory.connection, tmp_path, to=START + timedelta(minutes=30))
    [file] = files_of(tmp_path)
    content = bytearray(file.read_bytes())
    match harm:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "flipped":
            content[30:60] = bytes(byte ^ 0xFF for byte in content[30:60])
            file.write_bytes(content)
        case "gone":
            file.unlink()
        case "another":
            pq.write_table(pq.read_table(file, partitioning=None).slice(0, 29), file)
    answer = await client.get(f"{SITE}/readings", params={"from": START.isoformat(), "to": END.isoformat()})
    assert_problem(answer, 503, "afkobling archive verify")
    assert file.name in answer.json()["detail"]
