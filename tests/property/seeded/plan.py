"""What the lines of a seeded factory make when: days of runs, changeovers and stops at any second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.resources import RunState

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
FIRST_MS = 20_100 * DAY_MS
"""A midnight. The factory knows no time zone: its days are those of UTC."""
NOBODY = -1
"""The product of a line that is idle or down."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A line in one state, in Unix milliseconds. `product` is its number."""

    line: str
    state: RunState
    product: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`spans` by line touch and cover all days. `edges` cut time into segments, in which all powers are constant."""

    days: int
    products: tuple[str, ...]
    mass_kg: tuple[float, ...]
    spans: dict[str, list[Span]]
    edges: Ints

    @property
    def end_ms(self) -> int:
        return FIRST_MS + self.days * DAY_MS

    @property
    def hours(self) -> Floats:
        """How long each segment is."""
        return np.asarray(np.diff(self.edges) / HOUR_MS)


def draw_plan(rng: np.random.Generator) -> Plan:
    """Two to four lines and two to six products, over ten to eighteen days."""
    days, lines, products = (int(rng.integers(*span)) for span in ((10, 19), (2, 5), (2, 7)))
    spans = {f"line-{i}": _spans(f"line-{i}", days, products, rng) for i in range(lines)}
    end_ms = FIRST_MS + days * DAY_MS
    cycles = FIRST_MS + np.cumsum(rng.integers(3 * MINUTE_MS, 12 * MINUTE_MS, days * 200))
    starts = [span.start_ms for of_line in spans.values() for span in of_line]
    hours = np.arange(FIRST_MS, end_ms + 1, HOUR_MS)
    return Plan(
        days=days,
        products=tuple(f"product-{i}" for i in range(products)),
        mass_kg=tuple(rng.uniform(0.2, 4.0, products).tolist()),
        spans=spans,
        edges=np.unique(np.concatenate((cycles[cycles < end_ms], starts, hours))).astype(np.int64),
    )


def _spans(line: str, days: int, products: int, rng: np.random.Generator) -> list[Span]:
    made = rng.permutation(products)[: max(2, products // 2 + 1)]
    typical_ms = rng.uniform(0.8, 5.0) * HOUR_MS
    spans: list[Span] = []

    def at() -> int:
        return spans[-1].end_ms if spans else FIRST_MS

    def add(state: RunState, product: int, until_ms: float) -> None:
        end_ms = min(int(until_ms) // 1000 * 1000, FIRST_MS + days * DAY_MS)
        if end_ms > at():
            spans.append(Span(line=line, state=state, product=product, start_ms=at(), end_ms=end_ms))

    for day in range(days):
        opens = FIRST_MS + day * DAY_MS + rng.uniform(5.0, 8.0) * HOUR_MS
        closes = opens + (rng.uniform(8.0, 15.5) * HOUR_MS if day % 7 < 5 else 0.0)
        add(RunState.IDLE, NOBODY, opens)
        while at() < closes:
            product = int(rng.choice(made))
            if spans[-1].product != product:
                add(RunState.CHANGEOVER, product, at() + rng.uniform(3, 50) * MINUTE_MS)
            # Most runs last for hours, some for less than a quarter.
            add(RunState.RUNNING, product, at() + max(4 * MINUTE_MS, typical_ms * rng.lognormal(0.0, 0.7)))
            if rng.random() < 0.35:
                stop = RunState.IDLE if rng.random() < 0.6 else RunState.DOWN
                add(stop, NOBODY, at() + rng.uniform(2, 40) * MINUTE_MS)
    add(RunState.IDLE, NOBODY, FIRST_MS + days * DAY_MS)
    return spans


def segments_of(spans: Sequence[Span], edges: Ints) -> Ints:
    """The number of the span that each segment lies in."""
    starts = [span.start_ms for span in spans]
    return np.asarray(np.searchsorted(starts, edges[:-1], side="right") - 1, np.int64)
