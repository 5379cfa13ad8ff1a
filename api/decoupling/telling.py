"""A report of decoupling as an answer."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from api.attribution.balances import amount_answer, share_answer
from api.decoupling.answers import (
    DecouplingAnswer,
    DriverAnswer,
    DriverPeriod,
    Growth,
    IndicatorAnswer,
    MonthAnswer,
    OutputAnswer,
    PressurePeriod,
    Remark,
    RollingAnswer,
)
from api.decoupling.judging import Judged
from api.decoupling.questions import Question
from api.decoupling.report import Item, Month, Report
from api.decoupling.using import Used
from api.exact_json import exact, ratio
from api.figures import figure_id
from api.indicators.comparison import State, growth
from api.indicators.drivers import Driver, Made
from api.indicators.figures import estimated_share
from api.indicators.flows import Amount
from api.indicators.sentences import tell_edge


def answer(report: Report) -> DecouplingAnswer:
    """The whole report."""
    items = [_item(report.question, item) for item in report.items]
    drivers = [item.driver for item in items]
    return DecouplingAnswer(
        driver=drivers[0] if drivers and all(driver == drivers[0] for driver in drivers) else None,
        items=items,
        notes=[note.en for note in report.notes],
        notes_da=[note.da for note in report.notes],
    )


def _item(question: Question, item: Item) -> IndicatorAnswer:
    judged = item.judged
    judgement = judged.judgement
    comparison = judgement.comparison if judgement else None
    uses = [use for use in (judged.base.use, judged.period.use) if use is not None]
    both = Amount(sum(use.measured for use in uses), sum(abs(use.estimated) for use in uses))
    return IndicatorAnswer(
        level=item.place.level,
        key=item.place.key,
        indicator=item.indicator,
        unit=judged.base.unit,
        meters=sorted({*judged.base.meters, *judged.period.meters}),
        driver=_driver(question.driver, judged),
        base=_used(judged.base),
        period=_used(judged.period),
        growth=_growth(judged),
        state=comparison.state if comparison else State.NOT_ASSESSABLE,
        reason=_reason(judged),
        reason_da=judged.reason.da if judged.reason else judged.sentence.da if _reason(judged) else None,
        possible_states=list(dict.fromkeys((*judgement.states, *judgement.daily_states))) if judgement else [],
        elasticity=ratio(comparison.elasticity) if comparison else None,
        elasticity_state=comparison.elasticity_state if comparison else None,
        oecd_factor=ratio(comparison.oecd_factor) if comparison else None,
        coverage=share_answer(min(judged.base.coverage, judged.period.coverage)),
        estimated_share=ratio(estimated_share(both)),
        factor_share=ratio(min(use.known_share for use in uses)) if item.indicator.is_carbon and uses else None,
        accuracy=ratio(judgement.accuracy) if judgement else None,
        verdict=judgement.verdict if judgement else None,
        interval_from=list(judgement.sources) if judgement else [],
        would_settle=[doubt.en for doubt in judged.doubts],
        would_settle_da=[doubt.da for doubt in judged.doubts],
        remarks=[
            Remark(case=edge, text=tell_edge(edge).en, text_da=tell_edge(edge).da)
            for edge in (judgement.edges if judgement else ())
        ],
        sentence=judged.sentence.en,
        sentence_da=judged.sentence.da,
        left_out=sorted({*judged.base.left_out, *judged.period.left_out}),
        output=_output(item.output) if item.output else None,
        series=[_month(month) for month in item.series],
        rolling=[_rolling(one) for one in item.rolling],
        figure=_figure(question, item),
    )


def _figure(question: Question, item: Item) -> str:
    judged = item.judged
    options = {"driver": question.driver.value}
    if question.price_index is not None:
        options["price_index"] = question.price_index
    rests_on: list[object] = [judged.sentence.en]
    for used in (judged.base, judged.period):
        rests_on += [used.use.measured, used.use.estimated, used.use.spread] if used.use else [None]
    for made in (judged.made_base, judged.made_period):
        rests_on += [made.value, made.nominal, made.unit, made.price_year]
    return figure_id(
        kind="decoupling",
        by=item.place.level,
        of=item.place.key,
        resource=item.indicator,
        measure="state",
        period=question.period,
        base=question.base,
        options=options,
        rests_on=rests_on,
    )


def _reason(judged: Judged) -> str | None:
    if judged.reason is not None:
        return judged.reason.en
    return judged.judgement.comparison.reason if judged.judgement else None


def _growth(judged: Judged) -> Growth:
    judgement = judged.judgement
    return Growth(
        pressure=ratio(judgement.comparison.pressure_growth) if judgement else None,
        driver=ratio(judgement.comparison.driver_growth) if judgement else None,
        low=ratio(judgement.growth_low) if judgement else None,
        high=ratio(judgement.growth_high) if judgement else None,
    )


def _used(used: Used) -> PressurePeriod:
    amount = Amount(used.use.measured, used.use.estimated) if used.use and not used.use.is_unknown else None
    return PressurePeriod(
        quantity=None if amount is None else amount_answer(amount),
        coverage=share_answer(used.coverage),
        usable_days=share_answer(used.usable),
        estimated_share=ratio(estimated_share(amount)) if amount else None,
    )


def _driver(name: Driver, judged: Judged) -> DriverAnswer:
    note = judged.made_base.note or judged.made_period.note
    return DriverAnswer(
        name=name,
        base=_made(judged.made_base),
        period=_made(judged.made_period),
        note=note.en if note else None,
    )


def _made(made: Made) -> DriverPeriod:
    return DriverPeriod(
        start=made.first,
        end=made.end,
        value=_money(made.value),
        unit=made.unit,
        price_year=made.price_year,
        nominal=_money(made.nominal),
        origin=made.origin,
        problem=made.problem.en if made.problem else None,
        problem_da=made.problem.da if made.problem else None,
    )


def _money(value: Fraction | None) -> Decimal | None:
    """Digit by digit, to nine places: deflated money may have no last digit."""
    return None if value is None else exact(round(value, 9))


def _output(output: Sequence[Made]) -> OutputAnswer:
    base, period = output
    values = (base.value, period.value) if base.unit == period.unit else (None, None)
    problem = base.problem or period.problem
    note = base.note or period.note
    return OutputAnswer(
        base=_money(base.value),
        period=_money(period.value),
        unit=base.unit if base.unit == period.unit else None,
        growth=None if values[0] is None or values[1] is None else ratio(growth(values[0], values[1])),
        origin=base.origin,
        note=note.en if note else None,
        problem=problem.en if problem else None,
    )


def _month(month: Month) -> MonthAnswer:
    return MonthAnswer(start=month.first, end=month.end, pressure=ratio(month.pressure), driver=ratio(month.driver))


def _rolling(judged: Judged) -> RollingAnswer:
    comparison = judged.judgement.comparison if judged.judgement else None
    return RollingAnswer(
        start=judged.period.days.first,
        end=judged.period.days.end,
        growth=_growth(judged),
        state=comparison.state if comparison else State.NOT_ASSESSABLE,
        reason=_reason(judged),
        elasticity=ratio(comparison.elasticity) if comparison else None,
        elasticity_state=comparison.elasticity_state if comparison else None,
        oecd_factor=ratio(comparison.oecd_factor) if comparison else None,
        verdict=judged.judgement.verdict if judged.judgement else None,
        sentence=judged.sentence.en,
        sentence_da=judged.sentence.da,
    )
