"""What was seen of a device in a short while, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas.resources import MeterKind, Resource, find_unit


class Verdict(StrEnum):
    """Whether a value may be right. UNSURE: it may, and there is something to look at."""

    PLAUSIBLE = "plausible"
    UNSURE = "unsure"
    IMPLAUSIBLE = "implausible"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One value, seen some times a little apart: (Unix milliseconds, value in `unit`), oldest first.

    A check has no `kind` and no `resource`. `step` is the smallest change that the value can show, where that is known.
    `meter` is the key under which an agent's configuration has it. `missing` says why nothing was seen.
    """

    name: str
    unit: str
    values: tuple[tuple[int, float], ...] = ()
    kind: MeterKind | None = None
    resource: Resource | None = None
    carrier: str | None = None
    plausible: tuple[float, float] | None = None
    step: float = 0.0
    register_width: float | None = None
    rated_maximum: float | None = None
    meter: str | None = None
    missing: str | None = None

    @property
    def last(self) -> float:
        """The newest value. Raises IndexError when nothing was seen."""
        return self.values[-1][1]

    @property
    def rise(self) -> float:
        """From the first value to the last, in `unit`."""
        return self.values[-1][1] - self.values[0][1]

    @property
    def seconds(self) -> float:
        """Between the first value and the last."""
        return (self.values[-1][0] - self.values[0][0]) / 1000

    @property
    def canonical(self) -> float | None:
        """How many canonical units (a rate: an hour) one `unit` is; None for a check, or where it depends on a fuel."""
        return None if self.resource is None else find_unit(self.resource, self.unit).to_canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What is said of one value."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A value with its remark."""

    observed: Observed
    remark: Remark


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Of a whole device: each value, and what to try, the likeliest first."""

    values: Sequence[Judged]
    advice: Sequence[str]

    @property
    def ok(self) -> bool:
        """All that was asked for came, and nothing of it is implausible."""
        wrong = {Verdict.IMPLAUSIBLE, Verdict.MISSING}
        return bool(self.values) and not any(judged.remark.verdict in wrong for judged in self.values)
