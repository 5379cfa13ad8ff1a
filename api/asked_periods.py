"""The period that somebody asks for: by its name, or by its two ends."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from api.calendar.clock import Period
from api.periods import NAMED, parse_named, parse_period
from api.problems import bad_value
from api.site_store import OwnSite, SiteRow

_EDGE = "an instant with its offset, or a date: the site's midnight"


def period_asked(site: SiteRow, *, named: str | None, start: str | None, end: str | None) -> Period:
    """`period=2025`, or `from` and `to`; one of both ways. Raises a 422 problem."""
    if named is not None:
        if start is not None or end is not None:
            raise bad_value("period", "give either `period`, or `from` and `to`")
        return parse_named(named, site.calendar).within(site.zone)
    for place, given in (("from", start), ("to", end)):
        if given is None:
            raise bad_value(place, f"this is missing; add it, or give a `period`: {NAMED}")
    return parse_period(start or "", end or "", site.zone)


async def _asked(
    site: OwnSite,
    period: Annotated[str | None, Query(max_length=40, description=NAMED)] = None,
    start: Annotated[str | None, Query(alias="from", max_length=40, description=f"first instant: {_EDGE}")] = None,
    end: Annotated[str | None, Query(alias="to", max_length=40, description=f"first instant after: {_EDGE}")] = None,
) -> Period:
    return period_asked(site, named=period, start=start, end=end)


NamedPeriod = Annotated[Period, Depends(_asked)]
"""A route's parameter of this kind is its `period`, or what is between its `from` and `to`."""
