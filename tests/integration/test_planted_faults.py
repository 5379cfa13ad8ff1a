"""Every kind of fault, planted into a stretch of the workshop: the findings are what was planted, and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from api.calendar.clock import Period
from api.quality.finding import Finding
from api.quality_loader import SiteQuality, load_quality
from api.site_model import apply_site_model
from api.site_store import find_site
from collector.backfill import backfill
from collector.decode import Decoded, ReadingsMessage, ReportMessage
from collector.rollup_runner import roll_up_all
from collector.settings import RollupSettings
from deploy.demo.demo import record_exchanges
from deploy.demo.history import CADENCE_MS, History
from edge.simulation.faults import CLOCK_AHEAD_MS, DAY_MS, SKEWED_AGENT, UNKNOWN_METER, FaultyWorkshop, Planted
from edge.simulation.workshop import Workshop, build_workshop
from schemas.findings import FindingKind
from schemas.topics import AgentAddress
from schemas.wire import Meters, OutboxState, Status

pytestmark = pytest.mark.stack

_DAYS = 45
"""The faults need thirty, and the nights before them four weeks to know what is usual."""


@pytest.fixture(scope="module")
def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def workshop(now_ms: int) -> Workshop:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return build_workshop(seed=3, start=now - timedelta(days=_DAYS), end=now + timedelta(days=1))


def _reports(place: Workshop | FaultyWorkshop, now_ms: int) -> Iterator[Decoded]:
    """What the agents say of themselves now, one with a wrong clock."""
    model = place.site_model()
    for agent in model.agents:
        address = AgentAddress(organisation=model.organisation.id, site=model.site.id, agent=agent.id)
        at = now_ms + (CLOCK_AHEAD_MS if agent.id == SKEWED_AGENT else 0)
        status = Status(state="online", at=at, outbox=OutboxState(epoch="live"))
        yield ReportMessage(address=address, report=status, arrived_ms=now_ms)
        yield ReportMessage(address=address, report=Meters(at=at, meters=place.offers(agent.id)))


def _unknown_readings(place: FaultyWorkshop, now_ms: int) -> Iterator[Decoded]:
    model = place.site_model()
    for seq, ago in zip(count(1), (3, 2, 1), strict=False):
        at = now_ms - ago * CADENCE_MS
        ((meter, value, unit),) = place.read(SKEWED_AGENT, at)
        yield ReadingsMessage(
            address=AgentAddress(organisation=model.organisation.id, site=model.site.id, agent=SKEWED_AGENT),
            epoch="live",
            seq=seq,
            sent_at=at,
            meters=[meter],
            units=[unit],
            meter=np.zeros(1, np.int32),
            at=np.array([at], np.int64),
            value=np.array([value]),
            quality=np.zeros(1, np.int16),
        )


async def _judge(
    database_url: str, place: Workshop | FaultyWorkshop, now_ms: int, period: Period | None = None
) -> SiteQuality:
    """Load the place's past as the demo does, roll it up, and ask."""
    model = place.site_model()
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, model)
    messages: list[Decoded] = list(_reports(place, now_ms))
    if isinstance(place, FaultyWorkshop):
        record_exchanges(database_url, place.exchanges)
        messages += _unknown_readings(place, now_ms)
    history = History(
        workshop=place,
        model=model,
        epoch="history",
        from_ms=place.start_ms,
        to_ms=now_ms // CADENCE_MS * CADENCE_MS,
    )
    backfill(database_url, [*history.messages(), *messages])
    roll_up_all(RollupSettings(database_url=database_url))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        cursor = await connection.execute("SELECT site.organisation_id, o.key FROM site JOIN organisation o ON true")
        row = await cursor.fetchone()
        assert row is not None
        site = await find_site(
            connection, organisation_id=row["organisation_id"], organisation=row["key"], site=model.site.id
        )
        return await load_quality(connection, site, period)


def _is_of(finding: Finding, planted: Planted) -> bool:
    """Whether the finding is of the planted kind and place, and of no other time than that of the fault."""
    if (finding.kind, finding.meter, finding.agent) != (planted.kind, planted.meter, planted.agent):
        return False
    start = round(finding.start.timestamp() * 1000)
    end = None if finding.end is None else round(finding.end.timestamp() * 1000)
    # Found by the day, by the night, or between two readings.
    slack = DAY_MS if planted.kind in {FindingKind.NEGATIVE_REST, FindingKind.LEAK} else 2 * CADENCE_MS
    if planted.to_ms is None or end is None:
        return planted.to_ms is end and start >= planted.from_ms - slack
    return planted.from_ms - slack <= start and end <= planted.to_ms + slack


async def test_what_was_planted_is_found_and_nothing_else(database_url: str, workshop: Workshop, now_ms: int) -> None:
    faulty = FaultyWorkshop(workshop, at_ms=now_ms // CADENCE_MS * CADENCE_MS)
    found = await _judge(database_url, faulty, now_ms)
    told = _told(found.findings)
    assert told == _told(faulty.planted)
    for planted in faulty.planted:
        assert [f for f in found.findings if _is_of(f, planted)], (planted, told)
    for finding in found.findings:
        assert finding.seen
        assert finding.why
        assert finding.todo
    day_ago = found.now - timedelta(days=1)
    assert [m.meter for m in found.facts.meters if m.last_at and m.last_at < day_ago] == ["furnace-scrap-metal"]
    (unknown,) = [f for f in found.findings if f.meter == UNKNOWN_METER]
    assert unknown.count == 3


async def test_a_workshop_without_faults_has_no_findings(database_url: str, workshop: Workshop, now_ms: int) -> None:
    found = await _judge(database_url, workshop, now_ms)
    assert _told(found.findings) == []
    assert {meter.usable_days for meter in found.facts.meters} == {found.facts.days}


def _told(items: Sequence[Finding | Planted]) -> list[tuple[str, str, str]]:
    return sorted((item.kind, item.meter or "", item.agent or "") for item in items)
