"""The best run of a product, and why: what sets it apart from the run in the middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import log

from api.indicators.intensity import Facts, Intensity, intensities
from api.indicators.lines import Phase
from api.indicators.outputs import Per
from api.indicators.parts import Attribution, Part
from api.indicators.pressures import Indicator
from api.indicators.sharing import Rule
from api.indicators.takings import Owner, Whose
from schemas.quantities import SCALE

ENOUGH = Fraction(1, 2)
"""A run counts when it made at least this share of what the median run made, unless another limit is given [O]."""
_HOUR_MS = 3_600_000


class Rank(StrEnum):
    """By which intensity runs are ranked."""

    MARGINAL = "marginal"
    FULLY_LOADED = "fully_loaded"


class Effect(StrEnum):
    """What may set two runs of one product apart, by the good unit.

    `draw`: what the line's own meters take an hour while it runs; `rate`: hours a piece; `scrap`: pieces a good one.
    """

    IDLE = "idle"
    CHANGEOVER = "changeover"
    SHARED = "shared"
    SCRAP = "scrap"
    RATE = "rate"
    DRAW = "draw"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigure:
    """One run. `parts` is its intensity taken apart: canonical units a good one, that sum to it."""

    intensity: Intensity
    value: Fraction
    hours: float
    pieces: int
    parts: Mapping[Effect, Fraction]

    @property
    def owner(self) -> Owner:
        return self.intensity.owner

    @property
    def good(self) -> int:
        return self.intensity.made.good.total

    @property
    def idle_share(self) -> Fraction:
        return self._share(Effect.IDLE)

    @property
    def changeover_share(self) -> Fraction:
        return self._share(Effect.CHANGEOVER)

    @property
    def shared_share(self) -> Fraction:
        return self._share(Effect.SHARED)

    @property
    def rate(self) -> float | None:
        """Pieces (or kg), good or not, in an hour of running; None of a run without running time."""
        return self.pieces / SCALE / self.hours if self.hours > 0 else None

    def _share(self, effect: Effect) -> Fraction:
        return self.parts[effect] / self.value if self.value > 0 else Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Runs from the best on. `effects` sum to the difference of the best run to the one in the middle."""

    runs: tuple[RunFigure, ...]
    passed_over: int
    least_good: Fraction
    median: RunFigure | None
    effects: Mapping[Effect, float]

    @property
    def best(self) -> RunFigure | None:
        return self.runs[0] if self.runs else None


def rank_runs(
    attribution: Attribution,
    facts: Facts,
    *,
    product: str,
    indicator: Indicator,
    rank: Rank = Rank.FULLY_LOADED,
    per: Per = Per.UNIT,
    least_good: Fraction | None = None,
) -> Ranking:
    """The runs of a product by what a good unit took in each, the least first.

    Runs that made less than `least_good` (canonical units) are passed over: where little is made chance decides.
    """
    found = [
        one
        for one in intensities(attribution, facts, whose=Whose.RUN, per=per, indicators=(indicator,))
        if one.owner.product == product and one.owner.run is not None and one.made.good.total > 0
    ]
    goods: list[int] = sorted(one.made.good.total for one in found)
    least = least_good
    if least is None:
        least = ENOUGH * Fraction(goods[len(goods) // 2], SCALE) if goods else Fraction(0)
    enough = [one for one in found if Fraction(one.made.good.total, SCALE) >= least]
    components = _components(attribution.parts, indicator)
    hours = _hours(attribution)
    runs = [
        _run_figure(one, components.get(_place(one.owner), {}), hours.get(_place(one.owner), 0) / _HOUR_MS, rank)
        for one in enough
    ]
    runs.sort(key=lambda run: (run.value, run.owner.sort_key))
    median = runs[len(runs) // 2] if runs else None
    return Ranking(
        runs=tuple(runs),
        passed_over=len(found) - len(enough),
        least_good=least,
        median=median,
        effects=explain(runs[0], median) if median is not None else {},
    )


def explain(run: RunFigure, other: RunFigure) -> dict[Effect, float]:
    """run − other by effect, in canonical units a good one. The effects sum to the difference of both.

    Idle, changeover and shares of utilities differ as they are. What the line's own meters took while it ran is draw ×
    hours a piece × pieces a good one; its difference is divided over the three by LMDI-I [METHODS §5].
    """
    effects = {
        effect: float(run.parts[effect] - other.parts[effect])
        for effect in (Effect.IDLE, Effect.CHANGEOVER, Effect.SHARED)
    }
    mine, its = run.parts[Effect.DRAW], other.parts[Effect.DRAW]
    difference = float(mine - its)
    effects |= dict.fromkeys((Effect.SCRAP, Effect.RATE, Effect.DRAW), 0.0)
    if min(mine, its) <= 0 or min(run.pieces, other.pieces) <= 0 or min(run.hours, other.hours) <= 0:
        # Without time, pieces or use there is nothing to take apart.
        return effects | {Effect.DRAW: difference}
    weight = float(its) if mine == its else difference / log(float(mine) / float(its))
    scrap = log(run.pieces / run.good) - log(other.pieces / other.good)
    rate = log(run.hours / run.pieces) - log(other.hours / other.pieces)
    effects |= {Effect.SCRAP: weight * scrap, Effect.RATE: weight * rate}
    return effects | {Effect.DRAW: difference - weight * (scrap + rate)}


def _run_figure(one: Intensity, components: Mapping[Effect, int], hours: float, rank: Rank) -> RunFigure:
    good, made = one.made.good.total, one.made
    # A main product has a part of what its runs took, where others came out beside it.
    whole = sum(components.values())
    share = Fraction(one.marginal.total, whole) if whole else Fraction(0)
    parts = {
        effect: Fraction(components.get(effect, 0)) * share / good
        for effect in (Effect.CHANGEOVER, Effect.SHARED, Effect.DRAW)
    }
    parts[Effect.IDLE] = Fraction(one.idle.total, good) if rank is Rank.FULLY_LOADED else Fraction(0)
    return RunFigure(
        intensity=one,
        value=sum(parts.values(), Fraction(0)),
        hours=hours,
        pieces=made.good.total + made.scrap.total + made.rework.total,
        parts=parts,
    )


def _components(parts: Sequence[Part], indicator: Indicator) -> dict[tuple[str | None, str | None], dict[Effect, int]]:
    """What each run (line, run) took: in changeovers, of utilities, and by its line's own meters while it ran."""
    found: dict[tuple[str | None, str | None], dict[Effect, int]] = {}
    for part in parts:
        if part.run is None or part.slot.product is None:
            continue
        if part.slot.phase is Phase.CHANGEOVER:
            effect = Effect.CHANGEOVER
        else:
            effect = Effect.DRAW if part.rule is Rule.LINE_METER else Effect.SHARED
        of = found.setdefault((part.line, part.run), {})
        of[effect] = of.get(effect, 0) + _quantity(part, indicator)
    return found


def _quantity(part: Part, indicator: Indicator) -> int:
    match indicator:
        case Indicator.CO2_LOCATION:
            return part.carbon.location
        case Indicator.CO2_MARKET:
            return part.carbon.market
        case _:
            return part.amount.total if part.resource == indicator.value else 0


def _hours(attribution: Attribution) -> dict[tuple[str | None, str | None], int]:
    found: dict[tuple[str | None, str | None], int] = {}
    for one in attribution.hours:
        if one.run is not None and one.slot.phase is Phase.PROCESSING:
            key = one.line, one.run
            found[key] = found.get(key, 0) + one.milliseconds
    return found


def _place(owner: Owner) -> tuple[str | None, str | None]:
    return owner.line, owner.run
