"""What belongs to an intensity in an answer: its margins, its slices, and what it is compared with."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field

from api.attribution.balances import QuantityAnswer, amount_answer
from api.calendar.clock import Period
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio
from api.indicators.comparing import Change, Changes
from api.indicators.facets import Facet, Slice
from api.indicators.figures import Figure
from api.indicators.outputs import Made

_BY_UNIT: dict[str, Any] = {"unit_column": "unit"}
ByUnit = Annotated[Ratio | None, Field(json_schema_extra=_BY_UNIT)]
"""Canonical units of a resource by the good unit; null where nothing good is known to be made."""


class MarginAnswer(Answer):
    """How far off the fully loaded quantity may be, up or down, by what: added up it is the interval's half."""

    estimates: Number
    accuracy: Number
    sharing: Number


class SliceAnswer(Answer):
    """What one carrier, origin, waste code, treatment or scope is of an item; those of one facet sum to it."""

    facet: Facet
    name: Annotated[str | None, Field(description="null where the site model does not say")]
    marginal: QuantityAnswer
    idle: QuantityAnswer
    value: ByUnit
    fully_loaded: ByUnit


class FactorUsed(Answer):
    """A version of a factor of CO2e that a figure rests on."""

    key: str
    version: int


class ChangeAnswer(Answer):
    """From the other period to this one; `change` 0.1 is ten percent more. `clear`: its direction is beyond doubt."""

    before: ByUnit
    change: Ratio | None
    low: Ratio | None
    high: Ratio | None
    clear: bool | None


class AgainstAnswer(Answer):
    """The same item in the other period. Accuracy classes are not in the bounds: a meter is off alike in both."""

    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    good: Number | None
    value: ChangeAnswer
    fully_loaded: ChangeAnswer


def margin_answer(figure: Figure) -> MarginAnswer:
    """What the interval is made of."""
    return MarginAnswer(
        estimates=quantity(figure.by_estimates),
        accuracy=quantity(figure.by_accuracy),
        sharing=quantity(figure.by_sharing),
    )


def slice_answer(one: Slice, made: Made) -> SliceAnswer:
    """One value of a facet."""
    good = made.good.total if made.unit is not None else 0
    return SliceAnswer(
        facet=one.facet,
        name=one.name,
        marginal=amount_answer(one.marginal),
        idle=amount_answer(one.idle),
        value=ratio(Fraction(one.marginal.total, good)) if good > 0 else None,
        fully_loaded=ratio(Fraction((one.marginal + one.idle).total, good)) if good > 0 else None,
    )


def against_answer(changes: Changes, period: Period) -> AgainstAnswer:
    """What stands beside an item."""
    made = changes.good_before
    return AgainstAnswer(
        start=period.start,
        end=period.end,
        good=quantity(made.good.total) if made.unit is not None else None,
        value=_change(changes.marginal),
        fully_loaded=_change(changes.fully_loaded),
    )


def _change(change: Change) -> ChangeAnswer:
    return ChangeAnswer(
        before=ratio(change.before),
        change=ratio(change.change),
        low=ratio(change.low),
        high=ratio(change.high),
        clear=change.is_clear,
    )
