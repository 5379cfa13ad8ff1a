"""Where material comes from and waste goes, as the API and the command line tell it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.attribution.balances import QuantityAnswer, amount_answer
from api.calendar.clock import Period
from api.database import Connection
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio
from api.figures import FigureKind, figure_id
from api.indicators.circularity import Circularity, Hazard, Route, Share, Source, WasteFlow, circularities
from api.indicators.figures import Figure
from api.indicators.intensity import Ends, ends_of
from api.indicators.takings import Whose
from api.intensity.loader import Every, SharedOut, share_out
from api.site_store import SiteRow


class ShareAnswer(Answer):
    """0 to 1. `value` is null where a part is unknown, or there is nothing; `low` and `high` bound it even so."""

    value: Ratio | None
    low: Ratio | None
    high: Ratio | None


class FlowFigure(Answer):
    """Material or waste in kg, and how far to believe it."""

    quantity: QuantityAnswer
    low: Number
    high: Number
    coverage: Ratio | None
    estimated_share: Ratio | None
    primary_data_share: Ratio | None
    meters: list[str]


class SourceAnswer(Answer):
    """Material that is virgin, recycled, reused, returned or unknown."""

    source: Source
    quantity: QuantityAnswer


class WasteAnswer(Answer):
    """The waste of one code and treatment; unknown is what a meter does not say."""

    waste_code: str | None
    hazard: Hazard
    treatment: str | None
    route: Route
    quantity: QuantityAnswer


class CircularityItem(Answer):
    """One product, line or the site. Quantities in kg, those of a product fully loaded; null is unknown, never zero.

    `recovered_waste` is by the directive, which counts R1 (burning for energy) as recovery; `recovered_waste_esrs` by
    ESRS E5-5, which counts it as disposal. `material_yield` is `in_product` ÷ material.
    """

    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    product: str | None
    line: str | None
    material: FlowFigure | None
    sources: list[SourceAnswer]
    virgin_input: ShareAnswer
    circular_input: Annotated[ShareAnswer, Field(description="recycled, reused and returned, of all material")]
    in_product: Annotated[Number | None, Field(description="mass of the good units")]
    material_yield: Ratio | None
    waste: FlowFigure | None
    flows: list[WasteAnswer]
    hazardous_waste: ShareAnswer
    recovered_waste: ShareAnswer
    recovered_waste_esrs: ShareAnswer
    problem: Annotated[str | None, Field(description="why there is no yield")]
    unit: str = "kg"
    figure: Annotated[str, Field(description="the name of `circular_input`, to ask what is behind it")]


class CircularityAnswer(Answer):
    items: list[CircularityItem]
    next: None = None


async def circularity_answer(
    connection: Connection, site: SiteRow, period: Period, *, by: Whose = Whose.PRODUCT, every: Every | None = None
) -> CircularityAnswer:
    """Every product, line or the site with material or waste, by bucket. Raises a 422 problem."""
    shared = whole = await share_out(connection, site, period)
    if every is not None:
        shared = await share_out(connection, site, period, every=every)
    ends = ends_of(whole[0].facts, whole[0].attribution)
    return CircularityAnswer(items=[item for one in shared for item in _items(one, by, ends)])


def _items(shared: SharedOut, by: Whose, ends: Ends) -> list[CircularityItem]:
    found = circularities(shared.attribution, shared.facts, whose=by, ends=ends)
    return [_item(one, shared.period, by) for one in found]


def _item(one: Circularity, period: Period, by: Whose) -> CircularityItem:
    made = one.in_product
    return CircularityItem(
        start=period.start,
        end=period.end,
        product=one.owner.product,
        line=one.owner.line,
        material=_figure(one.material),
        sources=[
            SourceAnswer(source=source, quantity=amount_answer(one.sources[source]))
            for source in Source
            if source in one.sources
        ],
        virgin_input=_share(one.virgin_input),
        circular_input=_share(one.circular_input),
        in_product=quantity(made.good.total) if made is not None and made.unit is not None else None,
        material_yield=ratio(one.material_yield),
        waste=_figure(one.waste),
        flows=[_flow(flow) for flow in one.flows],
        hazardous_waste=_share(one.hazardous_waste),
        recovered_waste=_share(one.recovered_waste),
        recovered_waste_esrs=_share(one.recovered_waste_esrs),
        problem=one.problem,
        figure=figure_id(
            kind=FigureKind.CIRCULARITY,
            by=by,
            of=one.owner.product if by is Whose.PRODUCT else one.owner.line,
            resource="material",
            measure="circular_input",
            period=period,
            rests_on=[
                part
                for source, amount in sorted(one.sources.items())
                for part in (source, amount.measured, amount.estimated)
            ],
        ),
    )


def _figure(found: Figure) -> FlowFigure | None:
    """None where no meter counts any."""
    if not found.meters:
        return None
    return FlowFigure(
        quantity=amount_answer(found.amount),
        low=quantity(found.low),
        high=quantity(found.high),
        coverage=ratio(found.coverage),
        estimated_share=ratio(found.estimated_share),
        primary_data_share=ratio(found.primary_share),
        meters=list(found.meters),
    )


def _share(share: Share) -> ShareAnswer:
    return ShareAnswer(value=ratio(share.value), low=ratio(share.low), high=ratio(share.high))


def _flow(flow: WasteFlow) -> WasteAnswer:
    return WasteAnswer(
        waste_code=flow.code,
        hazard=flow.hazard,
        treatment=flow.treatment,
        route=flow.route,
        quantity=amount_answer(flow.amount),
    )
