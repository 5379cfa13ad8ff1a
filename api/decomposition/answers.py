"""Decompositions as the API and the command line tell them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from api.attribution.balances import QuantityAnswer, amount_answer
from api.database import Connection
from api.decomposition.loader import AskedDecomposition, Chain, Window, Windows, load_windows, obstacle
from api.exact_json import Answer, Number, Ratio, exact, quantity, ratio
from api.factors import store as factor_store
from api.figures import FigureKind, figure_id
from api.indicators.activity import Beside, Effect, explain
from api.indicators.change_sentences import cannot_explain, names_of, of_indicator, tell_change, tell_gaps
from api.indicators.decomposition import Decomposition, NegativeValueError, NoMultiplier, Term, chain
from api.indicators.drivers import Driver
from api.indicators.figures import estimated_share
from api.indicators.pressures import Indicator
from api.indicators.takings import Whose
from api.indicators.tallies import UNITS
from api.indicators.wording import Text
from api.intensity.parts import FactorUsed
from api.site_store import SiteRow
from schemas.quantities import SCALE

TOTAL = "total"
"""The row, and the figure, of the whole change."""
_QUANTUM = Fraction(1)


class WindowAnswer(Answer):
    """One of the two periods. `known_share` is that of the energy with a CO2 factor; null for other indicators."""

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    quantity: QuantityAnswer
    activity: Annotated[Number | None, Field(description="all that was made, in `activity_unit`")]
    coverage: Ratio | None
    estimated_share: Ratio | None
    known_share: Ratio | None
    factors: list[FactorUsed]


class EffectAnswer(Answer):
    """What one effect gave to the change; `total` is all of it, to which the others sum and multiply.

    `share_of_base` is the quantity by the base period's, `multiplier` the multiplicative effect.
    """

    effect: str
    quantity: Number
    unit: str
    share_of_base: Ratio | None
    multiplier: Ratio | None
    figure: str


class CategoryAnswer(Answer):
    """What each effect gave to the change of one category; they sum to its change.

    Of what nobody carries, `beside` says why, and the change is all unattributed.
    """

    category: str | None
    carrier: str | None
    beside: Beside | None
    base: Number
    period: Number
    change: Number
    activity: Number
    mix: Number
    intensity: Number
    factor: Number | None
    unattributed: Number
    unit: str


class StepAnswer(Answer):
    """One effect of one step of a chain: from the window of days before to this one."""

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    effect: str
    quantity: Number
    unit: str
    multiplier: Ratio | None


class DecompositionAnswer(Answer):
    """A change taken apart. Where that can't be done `items` is empty, and `sentence` says why.

    `residual` is what rounding had left of the change before it was given to the largest effects.
    """

    indicator: Indicator
    by: Whose
    chain: Chain
    unit: str
    activity_unit: str | None
    activity_note: str | None
    base: WindowAnswer
    period: WindowAnswer
    change: Number
    growth: Ratio | None
    residual: Ratio | None
    multiplier_residual: Ratio | None
    no_multiplier: NoMultiplier | None
    sentence: str
    sentence_da: str
    items: list[EffectAnswer]
    categories: list[CategoryAnswer]
    steps: list[StepAnswer]
    next: None = None


async def answer_decomposition(connection: Connection, site: SiteRow, asked: AskedDecomposition) -> DecompositionAnswer:
    """What drove the change of one indicator from the base period to the period. Raises a 422 problem."""
    windows = await load_windows(connection, site, asked)
    steps: list[Decomposition] = []
    reason = obstacle(windows, asked)
    if reason is None:
        is_carbon = asked.indicator.is_carbon
        try:
            steps = [
                explain(before.accounts, after.accounts, with_factor=is_carbon, quantum=_QUANTUM)
                for before, after in pairwise(windows.windows)
            ]
        except NegativeValueError as error:
            reason = Text(str(error), str(error))
    found = chain(steps) if steps else None
    before, after = windows.windows[0], windows.windows[-1]
    told = _tell(found, reason, asked, (before, after))
    versions = await _versions(connection, {*before.carried.factors, *after.carried.factors})
    used = before.carried.used.total, after.carried.used.total
    change = used[1] - used[0]
    return DecompositionAnswer(
        indicator=asked.indicator,
        by=asked.by,
        chain=asked.chain,
        unit=UNITS[asked.indicator],
        activity_unit=windows.unit,
        activity_note=windows.note.en if windows.note else None,
        base=_window(before, windows.unit, versions),
        period=_window(after, windows.unit, versions),
        change=quantity(change),
        growth=ratio(Fraction(change, used[0])) if used[0] > 0 else None,
        residual=ratio(found.residual / SCALE) if found else None,
        multiplier_residual=ratio(found.multiplier_residual) if found else None,
        no_multiplier=found.no_multiplier if found else None,
        sentence=told.en,
        sentence_da=told.da,
        items=list(_effects(found, asked, windows)) if found else [],
        categories=[_category(term, asked.indicator) for term in found.terms] if found else [],
        steps=list(_steps(steps, windows, asked)) if steps and asked.chain is not Chain.NONE else [],
    )


def _tell(
    found: Decomposition | None, reason: Text | None, asked: AskedDecomposition, ends: tuple[Window, Window]
) -> Text:
    if found is None:
        return cannot_explain(asked.indicator, reason or Text("unknown", "ukendt"))
    told = tell_change(
        found,
        of_indicator(asked.indicator),
        names_of(asked.indicator, asked.by),
        unit=UNITS[asked.indicator],
        scale=SCALE,
    )
    base, period = (
        (
            window.carried.coverage or Fraction(0),
            Fraction(1) if window.carried.known is None else window.carried.known,
        )
        for window in ends
    )
    return told + tell_gaps(base=base, period=period)


async def _versions(connection: Connection, ids: Collection[int]) -> dict[int, FactorUsed]:
    rows = await factor_store.sources(connection, sorted(ids)) if ids else []
    return {row["id"]: FactorUsed(key=row["key"], version=row["version"]) for row in rows}


def _window(window: Window, unit: str | None, versions: Mapping[int, FactorUsed]) -> WindowAnswer:
    carried = window.carried
    return WindowAnswer(
        start=window.days.first,
        end=window.days.end,
        quantity=amount_answer(carried.used),
        activity=exact(window.accounts.activity) if unit is not None else None,
        coverage=ratio(carried.coverage),
        estimated_share=ratio(estimated_share(carried.used)),
        known_share=ratio(carried.known),
        factors=[versions[number] for number in carried.factors if number in versions],
    )


def _effects(found: Decomposition, asked: AskedDecomposition, windows: Windows) -> Iterator[EffectAnswer]:
    rests_on = [_digested(window) for window in windows.windows]
    options = {"by": asked.by.value, "chain": asked.chain.value}
    if asked.activity is not Driver.PRODUCTION_VOLUME:
        options["activity"] = asked.activity.value
    if asked.price_index is not None:
        options["price_index"] = asked.price_index
    multipliers = found.multipliers or {}
    whole = math.prod(multipliers.values(), start=Fraction(1)) if multipliers else None
    rows = [(str(name), effect, multipliers.get(name)) for name, effect in found.effects.items()]
    for name, effect, multiplier in (*rows, (TOTAL, found.change, whole)):
        yield EffectAnswer(
            effect=name,
            quantity=_quantity(effect),
            unit=UNITS[asked.indicator],
            share_of_base=ratio(effect / found.before) if found.before > 0 else None,
            multiplier=ratio(multiplier),
            figure=figure_id(
                kind=FigureKind.DECOMPOSITION,
                by="site",
                resource=asked.indicator,
                measure=name,
                period=asked.period,
                base=asked.base,
                options=options,
                rests_on=[windows.unit, *rests_on],
            ),
        )


def _digested(window: Window) -> list[object]:
    """All that a window's part of the decomposition rests on, in a stable order."""
    return [
        window.carried.used.measured,
        window.carried.used.estimated,
        list(window.carried.factors),
        [
            [category, account.made, [[carrier, list(used)] for carrier, used in sorted(account.used.items())]]
            for category, account in sorted(window.accounts.by_category.items())
        ],
        [[str(name), amount] for name, amount in sorted(window.accounts.beside.items())],
    ]


def _category(term: Term, indicator: Indicator) -> CategoryAnswer:
    told = {name: _quantity(term.effects.get(name, Fraction(0))) for name in Effect}
    return CategoryAnswer(
        category=None if term.is_beside else term.category[0],
        carrier=term.category[1] if len(term.category) > 1 else None,
        beside=Beside(term.category[0]) if term.is_beside else None,
        base=_quantity(term.before),
        period=_quantity(term.after),
        change=_quantity(term.after - term.before),
        activity=told[Effect.ACTIVITY],
        mix=told[Effect.MIX],
        intensity=told[Effect.INTENSITY],
        factor=told[Effect.FACTOR] if indicator.is_carbon else None,
        unattributed=told[Effect.UNATTRIBUTED],
        unit=UNITS[indicator],
    )


def _steps(steps: Sequence[Decomposition], windows: Windows, asked: AskedDecomposition) -> Iterator[StepAnswer]:
    for step, window in zip(steps, windows.windows[1:], strict=True):
        for name, effect in step.effects.items():
            yield StepAnswer(
                start=window.days.first,
                end=window.days.end,
                effect=str(name),
                quantity=_quantity(effect),
                unit=UNITS[asked.indicator],
                multiplier=ratio(step.multipliers[name]) if step.multipliers else None,
            )


def _quantity(billionths: Fraction) -> Decimal:
    """Every value here is a whole number of billionths."""
    return quantity(int(billionths))
