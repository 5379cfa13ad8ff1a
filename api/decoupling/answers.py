"""What the API answers about decoupling."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from api.attribution.balances import QuantityAnswer
from api.decoupling.places import Level
from api.exact_json import Answer, Number, Ratio
from api.indicators.comparison import EdgeCase, ElasticityState, State
from api.indicators.decoupling import Source, Verdict
from api.indicators.drivers import Driver, Origin
from api.indicators.pressures import Indicator


class DriverPeriod(Answer):
    """One driver over one period; `value` is null when `problem` says why.

    Money is at the prices of `price_year`; `nominal` is what was given, where it had to be deflated.
    """

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    value: Number | None
    unit: str | None
    price_year: int | None
    nominal: Number | None
    origin: Origin
    problem: str | None
    problem_da: str | None


class DriverAnswer(Answer):
    """`note` says how measured production was added up."""

    name: Driver
    base: DriverPeriod
    period: DriverPeriod
    note: str | None


class PressurePeriod(Answer):
    """What was used in one period. `usable_days`: share of days more than half measured, of the worst meter."""

    quantity: QuantityAnswer | None
    coverage: Ratio
    usable_days: Ratio
    estimated_share: Ratio | None


class MonthAnswer(Answer):
    """A whole month. Indices: quantity a day, the base period's being 100; null where there is no value."""

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    pressure: Ratio | None
    driver: Ratio | None


class Growth(Answer):
    """Of the whole, 0.05 being 5 %. `low` and `high` are what estimates, accuracy and sharing allow, in the worst
    combination; null where there is no bound.
    """

    pressure: Ratio | None
    driver: Ratio | None
    low: Ratio | None
    high: Ratio | None


class Remark(Answer):
    """An edge that the numbers lie on, and what it means."""

    case: EdgeCase
    text: str
    text_da: str


class OutputAnswer(Answer):
    """What was physically made, beside a driver of money."""

    base: Number | None
    period: Number | None
    unit: str | None
    growth: Ratio | None
    origin: Origin
    note: str | None
    problem: str | None


class RollingAnswer(Answer):
    """A trailing window against the base period."""

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    growth: Growth
    state: State
    reason: str | None
    elasticity: Ratio | None
    elasticity_state: ElasticityState | None
    oecd_factor: Ratio | None
    verdict: Verdict | None
    sentence: str
    sentence_da: str


class IndicatorAnswer(Answer):
    """One indicator of one place, judged. What can't be told is null, and `reason` or `sentence` says why."""

    level: Level
    key: Annotated[str | None, Field(description="of the line, family or product")]
    indicator: Indicator
    unit: str
    meters: list[str]
    driver: DriverAnswer
    base: PressurePeriod
    period: PressurePeriod
    growth: Growth
    state: State
    reason: str | None
    reason_da: str | None
    possible_states: list[State]
    elasticity: Ratio | None
    elasticity_state: ElasticityState | None
    oecd_factor: Ratio | None
    coverage: Annotated[Ratio, Field(description="that of the worse period")]
    estimated_share: Ratio | None
    factor_share: Annotated[Ratio | None, Field(description="of CO2: share of the energy with a factor, worse period")]
    accuracy: Annotated[Ratio | None, Field(description="growth that the meters' accuracy may add or take")]
    verdict: Verdict | None
    interval_from: Annotated[list[Source], Field(description="what brings more than one state into the interval")]
    would_settle: list[str]
    would_settle_da: list[str]
    remarks: list[Remark]
    sentence: str
    sentence_da: str
    left_out: Annotated[list[str], Field(description="sites of which nothing is known")]
    output: OutputAnswer | None
    series: list[MonthAnswer]
    rolling: list[RollingAnswer]
    figure: str


class DecouplingAnswer(Answer):
    """`driver` is told here where it is the same for all items, else with each of them."""

    driver: DriverAnswer | None
    items: list[IndicatorAnswer]
    notes: list[str]
    notes_da: list[str]
    next: None = None
