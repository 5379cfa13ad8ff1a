"""An explanation as the API and the command line tell it, from the figure at the top to single readings."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from api.attribution.answers import PartAnswer
from api.attribution.balances import QuantityAnswer
from api.event_answers import EventAnswer
from api.exact_json import Answer, Instant, Number, Ratio
from api.figures import FigureKind
from api.indicators.contributions import Role


class Depth(StrEnum):
    """How far down an explanation goes; each takes all before it along."""

    FIGURE = "figure"
    PARTS = "parts"
    DAYS = "days"
    QUARTERS = "quarters"
    READINGS = "readings"

    def reaches(self, other: Depth) -> bool:
        """Whether it goes as far down as that."""
        order = list(Depth)
        return order.index(self) >= order.index(other)


class TermAnswer(Answer):
    """One number of a formula, and where it comes from."""

    name: str
    value: Number | None
    unit: str
    source: Annotated[str | None, Field(description="meters, or who stated it")]
    start: Annotated[Instant | date | None, Field(alias="from")] = None
    end: Annotated[Instant | date | None, Field(alias="to")] = None


class FactorSource(Answer):
    """A version of a factor of CO2e that the figure was computed with."""

    key: str
    version: int
    source: str | None


class FigurePart(PartAnswer):
    """A part of the figure, in the figure's unit.

    `role` idle: a share of what the line used while it made nothing. `of_place` is all that the place got of it by this
    rule, of which the part is what this figure carries.
    """

    part: Annotated[int, Field(description="its number, the largest being 1")]
    role: Role
    period: Annotated[str, Field(description="of a comparison: base or period")]
    of_place: Number


class DayAnswer(Answer):
    """What the chosen part's place got of the meter on one local day, before any sharing of idle."""

    day: date
    quantity: QuantityAnswer


class QuarterAnswer(Answer):
    """A quarter of an hour: what the meter counted, and what of it went to the chosen part's place by its rule."""

    at: Instant
    counted: QuantityAnswer | None
    coverage: Annotated[Ratio, Field(description="share of the quarter that measured readings stand behind, 0 to 1")]
    quantity: QuantityAnswer


class TakenOff(Answer):
    """A meter whose consumption is taken off the chosen one's, as it is shared out by itself."""

    meter: str
    counted: QuantityAnswer | None


class ReadingAnswer(Answer):
    """What the meter said, in its own unit, or a person of it."""

    at: Instant
    value: float
    quality: str
    author: str | None


class WalkAnswer(Answer):
    """One part followed down: its days, the quarters of one day, the readings around one quarter."""

    part: int
    meter: str
    meter_unit: str
    kind: str
    days: list[DayAnswer]
    day: date | None
    quarters: list[QuarterAnswer]
    quarter: Instant | None
    taken_off: list[TakenOff]
    readings: Annotated[list[ReadingAnswer], Field(description="from the last before the quarter to the first after")]
    readings_left_out: Annotated[int, Field(description="in the middle of the quarter, where there are very many")]
    events: Annotated[list[EventAnswer], Field(description="what was found in these readings, or said of them")]
    note: str | None


class Explanation(Answer):
    """A figure, its formula with the numbers put in, its parts, and one of them followed down to readings."""

    figure: Annotated[str, Field(description="as it was asked for")]
    today: Annotated[str, Field(description="the same figure by what is known now")]
    has_changed: Annotated[bool | None, Field(description="null: it was asked for without its last part, v=")]
    kind: FigureKind
    subject: str
    resource: str
    measure: str
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    value: Number | None
    unit: str | None
    told: Annotated[str | None, Field(description="what is told in place of, or beside, a number")]
    formula: str
    numbers: Annotated[str, Field(description="the formula with its numbers")]
    terms: list[TermAnswer]
    coverage: Ratio | None
    estimated_share: Ratio | None
    factors: list[FactorSource]
    parts: list[FigurePart]
    walk: WalkAnswer | None
