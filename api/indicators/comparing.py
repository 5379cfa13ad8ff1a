"""The intensities of two periods beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from api.indicators.figures import Figure
from api.indicators.intensity import Intensity, by_the_unit
from api.indicators.outputs import Made
from api.indicators.pressures import Indicator
from api.indicators.takings import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one period's ratio to another's, as a share of the first: 0.1 is ten percent more. None where undefined.

    `low` and `high` bound it. Accuracy classes are not in them: the same meter is off by the same share in both
    periods, which cancels out [our own choice]; estimates and attribution are.
    """

    before: Fraction | None
    change: Fraction | None
    low: Fraction | None
    high: Fraction | None

    @property
    def is_clear(self) -> bool | None:
        """Whether the direction of the change is beyond doubt; None where there is no change to speak of."""
        if self.change is None or self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an intensity was before."""

    marginal: Change
    fully_loaded: Change
    good_before: Made


def compare(before: Sequence[Intensity], after: Sequence[Intensity]) -> dict[tuple[Owner, Indicator], Changes]:
    """Each intensity of the later period against that of the earlier one; not those that only one of them has."""
    earlier: Mapping[tuple[Owner, Indicator], Intensity] = {(one.owner, one.indicator): one for one in before}
    found = {}
    for one in after:
        was = earlier.get((one.owner, one.indicator))
        if was is not None:
            found[one.owner, one.indicator] = Changes(
                marginal=_change((was.marginal, was.made), (one.marginal, one.made)),
                fully_loaded=_change((was.loaded, was.made), (one.loaded, one.made)),
                good_before=was.made,
            )
    return found


def _change(before: tuple[Figure, Made], after: tuple[Figure, Made]) -> Change:
    old, new = by_the_unit(*before), by_the_unit(*after)
    if old.value is None or new.value is None or before[1].unit != after[1].unit or old.value <= 0:
        return Change(before=old.value, change=None, low=None, high=None)
    (old_low, old_high), (new_low, new_high) = _doubt(*before), _doubt(*after)
    return Change(
        before=old.value,
        change=new.value / old.value - 1,
        low=new_low / old_high - 1 if old_high > 0 else None,
        high=new_high / old_low - 1 if old_low > 0 else None,
    )


def _doubt(figure: Figure, made: Made) -> tuple[Fraction, Fraction]:
    """The bounds of the ratio by what is estimated and shared out."""
    margin, good = figure.by_estimates + figure.by_sharing, made.good.total
    return Fraction(figure.total - margin, good), Fraction(figure.total + margin, good)
