"""Whether an organisation, a site, a line, a product family or a product decouples."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api import site_store
from api.auth import SignedIn
from api.calendar.buckets import Calendar
from api.database import Connection, Database
from api.decoupling.answers import DecouplingAnswer
from api.decoupling.organisation import organisation_report
from api.decoupling.places import Level
from api.decoupling.questions import (
    INDICATOR_NAMES,
    Question,
    parse_indicators,
    parse_periods,
    parse_rolling,
)
from api.decoupling.report import report
from api.decoupling.telling import answer
from api.exact_json import reply
from api.indicators.drivers import Driver
from api.periods import NAMED
from api.problems import bad_value
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute

router = APIRouter(tags=["indicators"], route_class=TableRoute)

_DAY = "a date, 2026-01-31"
_MOST_SITES = 1000


class Asked:
    """The parameters that both addresses take."""

    def __init__(  # noqa: PLR0917 - FastAPI reads them from the signature
        self,
        base: Annotated[str | None, Query(max_length=40, description=f"the base period: {NAMED}")] = None,
        base_from: Annotated[str | None, Query(max_length=40, description=f"or its first day: {_DAY}")] = None,
        base_to: Annotated[str | None, Query(max_length=40, description="and the first day after it")] = None,
        period: Annotated[str | None, Query(max_length=40, description=f"the period: {NAMED}")] = None,
        start: Annotated[
            str | None, Query(alias="from", max_length=40, description=f"or its first day: {_DAY}")
        ] = None,
        end: Annotated[str | None, Query(alias="to", max_length=40, description="and the first day after it")] = None,
        driver: Driver = Driver.REVENUE,
        indicator: Annotated[
            list[str] | None,
            Query(max_length=len(INDICATOR_NAMES), description=f"of {', '.join(INDICATOR_NAMES)}; none: all"),
        ] = None,
        price_index: Annotated[str | None, Query(max_length=100, description="what deflates money")] = None,
        rolling: Annotated[int | None, Query(description="also judge trailing windows of so many months")] = None,
        series: Annotated[bool | None, Query(description="indices by month; default: of a site only")] = None,
    ) -> None:
        self.base, self.base_span = base, (base_from, base_to)
        self.period, self.span = period, (start, end)
        self.driver = driver
        self.indicator = indicator
        self.price_index = price_index
        self.rolling = rolling
        self.series = series

    def question(self, calendar: Calendar, level: Level, keys: list[str] | None = None) -> Question:
        """As the report takes it. Raises a 422 problem."""
        base, period = parse_periods(
            calendar, base=self.base, base_span=self.base_span, period=self.period, span=self.span
        )
        return Question(
            base=base,
            period=period,
            driver=self.driver,
            indicators=parse_indicators(self.indicator),
            level=level,
            keys=keys,
            price_index=self.price_index,
            with_series=level is Level.SITE if self.series is None else self.series,
            windows=parse_rolling(self.rolling, period, today=datetime.now(UTC).date()),
        )


@router.get("/v1/sites/{site}/decoupling", response_model=DecouplingAnswer)
async def decoupling(
    site: OwnSite,
    connection: Database,
    asked: Annotated[Asked, Depends()],
    level: Level = Level.SITE,
    key: Annotated[
        list[str] | None, Query(max_length=100, description="which lines, families or products; none: all")
    ] = None,
) -> Response:
    """Whether the site, or its lines, product families or products, make more while using less, by indicator."""
    return reply(await decoupling_answer(connection, site, asked.question(site.calendar, level, key)))


@router.get("/v1/organisation/decoupling", response_model=DecouplingAnswer)
async def organisation_decoupling(
    caller: SignedIn, connection: Database, asked: Annotated[Asked, Depends()]
) -> Response:
    """Whether the organisation makes more while using less: the sum of its sites."""
    sites = await sites_of(connection, organisation_id=caller.organisation_id, organisation=caller.organisation)
    question = asked.question(calendar_of(sites, (asked.base, asked.period)), Level.ORGANISATION)
    return reply(await organisation_answer(connection, sites, question, organisation_id=caller.organisation_id))


async def decoupling_answer(connection: Connection, site: SiteRow, question: Question) -> DecouplingAnswer:
    """The answer about one site. Raises 404 and 422 problems."""
    if question.level is Level.ORGANISATION:
        raise bad_value("level", "an organisation is more than a site; ask /v1/organisation/decoupling")
    return answer(await report(connection, site, question))


async def organisation_answer(
    connection: Connection, sites: list[SiteRow], question: Question, *, organisation_id: int
) -> DecouplingAnswer:
    """The answer about all sites together. Raises 422 problems."""
    return answer(await organisation_report(connection, sites, question, organisation_id=organisation_id))


async def sites_of(connection: Connection, *, organisation_id: int, organisation: str) -> list[SiteRow]:
    """All sites of an organisation."""
    rows = await site_store.sites(connection, organisation_id=organisation_id, after="", limit=_MOST_SITES)
    return [
        await site_store.find_site(connection, row["id"], organisation_id=organisation_id, organisation=organisation)
        for row in rows
    ]


def calendar_of(sites: list[SiteRow], names: tuple[str | None, ...]) -> Calendar:
    """The calendar that names of periods are read by. Raises a 422 problem for a fiscal year that sites differ in."""
    starts = {site.calendar.fiscal_year_start for site in sites}
    if len(starts) > 1 and any(name is not None and "FY" in name.upper() for name in names):
        raise bad_value("period", "the sites' fiscal years begin on different days; give the days themselves")
    return Calendar(fiscal_year_start=next(iter(starts))) if len(starts) == 1 else Calendar()
