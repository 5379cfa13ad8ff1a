"""Intensities as the API and the command line tell them: figures with their intervals, evidence and comparison."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from api.attribution.balances import (
    BalanceAnswer,
    FindingAnswer,
    QuantityAnswer,
    amount_answer,
    balance_answers,
    finding_answers,
)
from api.calendar.clock import Period
from api.database import Connection
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio
from api.factors import store as factor_store
from api.figures import FigureKind, figure_id
from api.indicators.comparing import Changes, compare
from api.indicators.intensity import Ends, Intensity, ends_of, intensities
from api.indicators.outputs import Per
from api.indicators.pressures import Indicator
from api.indicators.sharing import Rule
from api.indicators.takings import Owner, Whose
from api.intensity.loader import Every, SharedOut, share_out
from api.intensity.parts import (
    AgainstAnswer,
    ByUnit,
    FactorUsed,
    MarginAnswer,
    SliceAnswer,
    against_answer,
    margin_answer,
    slice_answer,
)
from api.problems import bad_value
from api.site_store import SiteRow
from schemas.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedIntensity:
    """What intensities are asked for."""

    period: Period
    by: Whose = Whose.PRODUCT
    per: Per = Per.UNIT
    every: Every | None = None
    against: Period | None = None
    indicators: Collection[Indicator] = tuple(Indicator)


class IntensityItem(Answer):
    """What one product, family, run, order, line or site took of one indicator.

    `value` and `fully_loaded` are for one good unit, or kilogram. Of a line and the site `unattributed` and
    `comprehensive` (everything used, by good units) are told as well.
    """

    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    product: str | None
    family: str | None
    line: str | None
    run: str | None
    order: str | None
    indicator: Indicator
    resource: Annotated[Resource | None, Field(description="null for CO2e")]
    marginal: QuantityAnswer
    idle: Annotated[QuantityAnswer, Field(description="idle of its lines by occupied hours; fully loaded adds it")]
    unattributed: QuantityAnswer | None
    quantity_unit: str
    good: Number | None
    scrap: Number | None
    rework: Number | None
    good_error: Annotated[Number | None, Field(description="how far off the good ones may be, up or down")]
    good_unit: str | None
    value: ByUnit
    value_low: ByUnit
    value_high: ByUnit
    fully_loaded: ByUnit
    fully_loaded_low: ByUnit
    fully_loaded_high: ByUnit
    comprehensive: ByUnit
    unit: Annotated[str | None, Field(description="such as kWh/pcs")]
    margin: MarginAnswer
    idle_share: Annotated[
        Ratio | None, Field(description="of the fully loaded quantity; of all that a line or site used")
    ]
    scrap_ratio: Annotated[Ratio | None, Field(description="scrap / (good + scrap + rework) [ISO 22400-2]")]
    rework_ratio: Annotated[Ratio | None, Field(description="rework / (good + scrap + rework) [ISO 22400-2]")]
    coverage: Annotated[Ratio | None, Field(description="share of the time that its meters measured, 0 to 1")]
    estimated_share: Ratio | None
    primary_data_share: Annotated[
        Ratio | None,
        Field(description="measured, and brought here by a line's own meter or a measured key; of fully loaded"),
    ]
    factor_share: Annotated[Ratio | None, Field(description="of CO2e: share of the energy that had a factor")]
    hourly_share: Annotated[Ratio | None, Field(description="of CO2e: share that had a factor of its very hour")]
    factors: list[FactorUsed]
    rules: list[Rule]
    meters: list[str]
    problem: Annotated[str | None, Field(description="why nothing can be told by the good unit")]
    slices: list[SliceAnswer]
    against: AgainstAnswer | None
    figure: Annotated[str, Field(description="the name of `fully_loaded`, to ask what is behind it")]


class IntensityAnswer(Answer):
    """Items in order of time and owner; the balance and findings of the whole period."""

    items: list[IntensityItem]
    balance: list[BalanceAnswer]
    findings: list[FindingAnswer]
    next: None = None


async def intensity_answer(connection: Connection, site: SiteRow, asked: AskedIntensity) -> IntensityAnswer:
    """Everything that is asked for. Raises a 422 problem.

    A bucket's figures are those that its period alone would have, but where products are finished is judged over the
    whole period, so that pieces on their way between two lines at a month's end are not counted twice.
    """
    by_run = asked.by in {Whose.RUN, Whose.ORDER}
    (whole,) = await share_out(connection, site, asked.period, by_run=by_run)
    shared = [whole]
    if asked.every is not None:
        shared = await share_out(connection, site, asked.period, every=asked.every, by_run=by_run)
    ends = ends_of(whole.facts, whole.attribution)
    told = [_intensities(one, asked, ends=ends) for one in shared]
    others = await _others(connection, site, asked, len(shared), by_run=by_run)
    before = ends_of(whole.facts, *(other.attribution for other in others if other is not None))
    changes = [
        (other, compare(_intensities(other, asked, ends=before), items)) if other is not None else None
        for other, items in zip(others, told, strict=True)
    ]
    versions = await _versions(connection, {n for items in told for item in items for n in item.loaded.factors})
    return IntensityAnswer(
        items=[
            _item(item, one.period, asked, versions, change)
            for one, items, change in zip(shared, told, changes, strict=True)
            for item in items
        ],
        balance=balance_answers(whole.attribution),
        findings=finding_answers(whole.attribution),
    )


async def _others(
    connection: Connection, site: SiteRow, asked: AskedIntensity, count: int, *, by_run: bool
) -> Sequence[SharedOut | None]:
    """What each bucket is compared with: the one at the same place in the other period."""
    if asked.against is None:
        return [None] * count
    others = await share_out(connection, site, asked.against, every=asked.every, by_run=by_run)
    if len(others) != count:
        raise bad_value(
            "against",
            f"it has {len(others)} of the buckets and the period {count}, so they can't stand beside each other; "
            "choose periods with as many",
        )
    return others


def _intensities(shared: SharedOut, asked: AskedIntensity, *, ends: Ends) -> list[Intensity]:
    return intensities(
        shared.attribution, shared.facts, whose=asked.by, per=asked.per, indicators=asked.indicators, ends=ends
    )


async def _versions(connection: Connection, ids: Collection[int]) -> dict[int, FactorUsed]:
    rows = await factor_store.sources(connection, sorted(ids)) if ids else []
    return {row["id"]: FactorUsed(key=row["key"], version=row["version"]) for row in rows}


def _item(
    item: Intensity,
    period: Period,
    asked: AskedIntensity,
    versions: Mapping[int, FactorUsed],
    compared: tuple[SharedOut, Mapping[tuple[Owner, Indicator], Changes]] | None,
) -> IntensityItem:
    made, loaded = item.made, item.loaded
    change = compared[1].get((item.owner, item.indicator)) if compared else None
    known = made.unit is not None
    value, full = item.value, item.fully_loaded
    comprehensive = item.comprehensive
    return IntensityItem(
        start=period.start,
        end=period.end,
        product=item.owner.product,
        family=item.owner.family,
        line=item.owner.line,
        run=item.owner.run,
        order=item.owner.order,
        indicator=item.indicator,
        resource=None if item.indicator.is_carbon else Resource(item.indicator.value),
        marginal=amount_answer(item.marginal.amount),
        idle=amount_answer(item.idle.amount),
        unattributed=None if item.unattributed is None else amount_answer(item.unattributed.amount),
        quantity_unit=item.unit,
        good=quantity(made.good.total) if known else None,
        scrap=quantity(made.scrap.total) if known else None,
        rework=quantity(made.rework.total) if known else None,
        good_error=quantity(made.error) if known else None,
        good_unit=made.unit,
        value=ratio(value.value),
        value_low=ratio(value.low),
        value_high=ratio(value.high),
        fully_loaded=ratio(full.value),
        fully_loaded_low=ratio(full.low),
        fully_loaded_high=ratio(full.high),
        comprehensive=ratio(comprehensive.value) if comprehensive else None,
        unit=f"{item.unit}/{made.unit}" if known else None,
        margin=margin_answer(loaded),
        idle_share=ratio(item.idle_share),
        scrap_ratio=ratio(made.scrap_ratio),
        rework_ratio=ratio(made.rework_ratio),
        coverage=ratio(loaded.coverage if item.whole is None else item.whole.coverage),
        estimated_share=ratio(loaded.estimated_share),
        primary_data_share=ratio(loaded.primary_share),
        factor_share=ratio(loaded.known),
        hourly_share=ratio(loaded.hourly),
        factors=[versions[number] for number in loaded.factors if number in versions],
        rules=list(loaded.rules),
        meters=list(loaded.meters),
        problem=made.problem,
        slices=[slice_answer(one, made) for one in item.slices],
        against=against_answer(change, compared[0].period) if change and compared else None,
        figure=_figure_name(item, period, asked),
    )


def _figure_name(item: Intensity, period: Period, asked: AskedIntensity) -> str:
    owner = item.owner
    of = {
        Whose.PRODUCT: owner.product,
        Whose.FAMILY: owner.family,
        Whose.RUN: f"{owner.line}/{owner.run}",
        Whose.ORDER: owner.order,
        Whose.LINE: owner.line,
        Whose.SITE: None,
    }[asked.by]
    options = {"per": "kg"} if asked.per is Per.KG else {}
    if asked.by in {Whose.RUN, Whose.ORDER} and owner.product is not None:
        options["product"] = owner.product
    return figure_id(
        kind=FigureKind.INTENSITY,
        by=asked.by,
        of=of or ("none" if asked.by is not Whose.SITE else None),
        resource=item.indicator,
        measure="fully_loaded",
        period=period,
        options=options,
        rests_on=rests_on(item),
    )


def rests_on(item: Intensity) -> Sequence[object]:
    """What makes the fully loaded figure what it is, for its name."""
    loaded, made = item.loaded, item.made
    return (
        loaded.amount.measured,
        loaded.amount.estimated,
        made.good.measured,
        made.good.estimated,
        list(loaded.rules),
        list(loaded.factors),
    )
