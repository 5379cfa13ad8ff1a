"""A figure of an intensity found again: what somebody took of something, by the good unit."""

from __future__ import annotations

from dataclasses import replace

from api.calendar.clock import Period
from api.database import Connection
from api.explain.answers import TermAnswer
from api.explain.asking import one_of
from api.explain.found import Found, Span, plain
from api.figures import Figure, FigureError, parse_figure
from api.indicators.outputs import Per
from api.indicators.pressures import Indicator
from api.indicators.takings import Owner, Whose
from api.intensity.answers import AskedIntensity, IntensityItem, intensity_answer
from api.problems import not_found
from api.site_store import SiteRow

MEASURES = ("fully_loaded", "marginal", "comprehensive")
_FORMULAS = {
    "fully_loaded": "(marginal + idle) / good",
    "marginal": "marginal / good",
    "comprehensive": "(marginal + idle + unattributed) / good",
}
_MARGINAL = "processing, changeover and shares of utilities"


async def find_intensity(connection: Connection, site: SiteRow, figure: Figure) -> Found:
    """The figure as it is now. Raises FigureError, and a 404 or 422 problem."""
    if figure.measure not in MEASURES:
        raise FigureError(f"an intensity has no {figure.measure!r}; it has {', '.join(MEASURES)}")
    whose, indicator = one_of(Whose, figure.by, "intensities are by"), one_of(Indicator, figure.resource, "there are")
    period = figure.period(site.zone)
    per = one_of(Per, figure.options.get("per", Per.UNIT), "intensities are per")
    asked = AskedIntensity(period=period, by=whose, per=per, indicators=[indicator])
    answer = await intensity_answer(connection, site, asked)
    named = str(replace(figure, measure="fully_loaded", version=None))
    for item in answer.items:
        now = parse_figure(item.figure)
        if str(replace(now, version=None)) == named:
            return _found(figure, item, period, whose, str(replace(now, measure=figure.measure)))
    raise not_found(
        f"nothing of {figure.resource} is known of {figure.by} {figure.of or site.key} in this period; "
        f"GET /v1/sites/{site.key}/intensity tells what there is"
    )


def _found(figure: Figure, item: IntensityItem, period: Period, whose: Whose, today: str) -> Found:
    parts = {"marginal": item.marginal, "idle": item.idle, "unattributed": item.unattributed}
    terms = [
        TermAnswer(
            name=name,
            value=amount.total,
            unit=item.quantity_unit,
            source=_MARGINAL if name == "marginal" else None,
            start=period.start,
            end=period.end,
        )
        for name, amount in parts.items()
        if amount is not None and name in _FORMULAS[figure.measure]
    ]
    numbers = " + ".join(f"{plain(term.value)} {term.unit}" for term in terms)
    value = {"fully_loaded": item.fully_loaded, "marginal": item.value, "comprehensive": item.comprehensive}[
        figure.measure
    ]
    terms.append(
        TermAnswer(
            name="good",
            value=item.good,
            unit=item.good_unit or "",
            source="production meters of good output",
            start=period.start,
            end=period.end,
        )
    )
    above = f"({numbers})" if len(terms) > 2 else numbers
    result = "unknown" if value is None else f"{plain(value)} {item.unit}"
    return Found(
        today=today,
        value=value,
        unit=item.unit,
        told=item.problem,
        formula=_FORMULAS[figure.measure],
        numbers=f"{above} / {plain(item.good)} {item.good_unit or ''} = {result}",
        terms=terms,
        indicator=item.indicator,
        quantity_unit=item.quantity_unit,
        spans=[
            Span(
                title="period",
                period=period,
                whose=whose,
                owner=Owner(line=item.line, run=item.run, order=item.order, family=item.family, product=item.product),
                is_loaded=figure.measure != "marginal",
            )
        ],
        coverage=item.coverage,
        estimated_share=item.estimated_share,
        factors=[(one.key, one.version) for one in item.factors],
    )
