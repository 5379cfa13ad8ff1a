"""E = a + b·Q: what is used whether anything is made or not, and what each good unit adds.

Beside a ratio, because that falls as Q grows wherever there is a base load a [METHODS §2; form of ISO 50006].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import numpy as np

LEAST_DAYS = 10
"""Fewer days say nothing about a line with two parameters [our own choice]."""
LEAST_R2 = 0.75
"""Below this share of the variance explained, a model is not fit for use [a usual threshold; our own choice]."""


class Unfit(StrEnum):
    """Why a line should not be relied on."""

    FEW_DAYS = "few_days"
    SAME_OUTPUT = "same_output"
    LOW_R2 = "low_r2"
    NEGATIVE_BASE = "negative_base"
    NEGATIVE_SLOPE = "negative_slope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """A fitted line, a in E's unit a day and b in E's unit by the good unit; None where there is none to fit.

    `se_base`, `se_slope`: standard errors; `r2`: share of the variance explained; `unfit`: empty where it may be used.
    """

    n: int
    base: float | None = None
    slope: float | None = None
    se_base: float | None = None
    se_slope: float | None = None
    r2: float | None = None
    base_share: float | None = None
    unfit: tuple[Unfit, ...] = ()


def regress(points: Sequence[tuple[float, float]]) -> Regression:
    """Ordinary least squares over days (good units, quantity used)."""
    n = len(points)
    if n < 3:
        return Regression(n=n, unfit=(Unfit.FEW_DAYS,))
    made, used = np.array(points, np.float64).T
    spread = float(((made - made.mean()) ** 2).sum())
    # As made: float rounding must not make a slope out of days that all made the same.
    if spread <= 1e-12 * float((made**2).sum()):
        return Regression(n=n, unfit=(Unfit.SAME_OUTPUT,))
    slope = float(((made - made.mean()) * (used - used.mean())).sum()) / spread
    base = float(used.mean()) - slope * float(made.mean())
    left = float(((used - base - slope * made) ** 2).sum())
    total = float(((used - used.mean()) ** 2).sum())
    variance = left / (n - 2)
    r2 = max(1 - left / total, 0.0) if total > 0 else None
    whole = float(used.sum())
    return Regression(
        n=n,
        base=base,
        slope=slope,
        se_base=sqrt(variance * (1 / n + float(made.mean()) ** 2 / spread)),
        se_slope=sqrt(variance / spread),
        r2=r2,
        base_share=base * n / whole if whole > 0 else None,
        unfit=tuple(_unfit(n, base=base, slope=slope, r2=r2)),
    )


def _unfit(n: int, *, base: float, slope: float, r2: float | None) -> list[Unfit]:
    found = []
    if n < LEAST_DAYS:
        found.append(Unfit.FEW_DAYS)
    if r2 is None or r2 < LEAST_R2:
        found.append(Unfit.LOW_R2)
    if base < 0:
        found.append(Unfit.NEGATIVE_BASE)
    if slope < 0:
        found.append(Unfit.NEGATIVE_SLOPE)
    return found
