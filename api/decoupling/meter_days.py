"""What meters counted in spans of local days, and how many of the days are usable."""

from __future__ import annotations

from dataclasses import dataclass

from api.indicators.parts import Attribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one meter counted in a span, in billionths; `usable` days are measured for more than half [METHODS §1].

    A meter of which nothing at all is known has no such thing, as that is not zero.
    """

    measured: int
    estimated: int
    covered_ms: int
    usable: int

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            measured=self.measured + other.measured,
            estimated=self.estimated + other.estimated,
            covered_ms=self.covered_ms + other.covered_ms,
            usable=self.usable + other.usable,
        )


def counted(attribution: Attribution) -> dict[str, Counted]:
    """What each meter counted, by key."""
    return {
        one.meter: Counted(
            measured=one.counted.measured,
            estimated=one.counted.estimated,
            covered_ms=one.covered_ms,
            usable=one.usable_days,
        )
        for one in attribution.metered
        if one.quarters
    }
