"""A rate of circularity found again: how much of the material was used before."""

from __future__ import annotations

from dataclasses import replace

from api.database import Connection
from api.explain.answers import TermAnswer
from api.explain.asking import one_of, owner_of
from api.explain.found import Found, Span, plain
from api.figures import Figure, FigureError, parse_figure
from api.indicators.pressures import Indicator
from api.indicators.takings import Whose
from api.intensity.circularity import CircularityItem, circularity_answer
from api.problems import not_found
from api.site_store import SiteRow

_MEASURE = "circular_input"


async def find_circularity(connection: Connection, site: SiteRow, figure: Figure) -> Found:
    """The rate as it is now. Raises FigureError, and a 404 or 422 problem."""
    if figure.measure != _MEASURE:
        raise FigureError(f"circularity has no {figure.measure!r}; it has {_MEASURE}")
    period = figure.period(site.zone)
    by = one_of(Whose, figure.by, "circularity is told by")
    if by not in {Whose.PRODUCT, Whose.LINE, Whose.SITE}:
        raise FigureError(f"circularity is not told by {by}; it is by product, line or site")
    named = str(replace(figure, version=None))
    for item in (await circularity_answer(connection, site, period, by=by)).items:
        if str(replace(parse_figure(item.figure), version=None)) == named:
            break
    else:
        raise not_found(f"no material of {figure.by} {figure.of or site.key} is known in this period")
    whose, owner = owner_of(by, figure.of)
    rate = item.circular_input
    told = None if rate.value is not None else f"between {plain(rate.low)} and {plain(rate.high)}: not all is known"
    return Found(
        today=item.figure,
        value=rate.value,
        unit=None,
        told=told,
        formula="(recycled + reused + returned) / material",
        numbers=_numbers(item),
        terms=[
            TermAnswer(
                name=one.source,
                value=one.quantity.total,
                unit=item.unit,
                source=None,
                start=period.start,
                end=period.end,
            )
            for one in item.sources
        ],
        indicator=Indicator.MATERIAL,
        quantity_unit=item.unit,
        spans=[Span(title="period", period=period, whose=whose, owner=owner)],
        coverage=item.material.coverage if item.material else None,
        estimated_share=item.material.estimated_share if item.material else None,
    )


def _numbers(item: CircularityItem) -> str:
    used = " + ".join(
        f"{plain(one.quantity.total)} kg" for one in item.sources if one.source in {"recycled", "reused", "returned"}
    )
    whole = plain(item.material.quantity.total) if item.material else "unknown"
    return f"({used or '0 kg'}) / {whole} kg = {plain(item.circular_input.value)}"
