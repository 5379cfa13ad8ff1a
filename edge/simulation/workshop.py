"""The workshop as others see it: what its meters show, what its lines do, what it earned, and what really happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edge.simulation.calendar import ONE_DAY, Day, days_between, midnight_ms
from edge.simulation.development import development_on
from edge.simulation.emissions import HourlyFactor, by_quarter, grid_factors, hourly
from edge.simulation.factory import LINES, ZONE
from edge.simulation.flows import SiteFlows, simulate
from edge.simulation.meters import STEPS_PER_UNIT, VENTILATION, quantities, site_model
from edge.simulation.plan import LinePlan, Span, plan_line, spans_of
from edge.simulation.truth import Truth, measure_truth
from schemas.quantities import QUARTER_MS
from schemas.resources import MeterKind, RunState
from schemas.site import Meter, SiteModel
from schemas.wire import OfferedMeter, RunSpan

CADENCE_MS = 1000
DRIVER = "simulation"
LARGEST_FIRST_REGISTER = 40_000

Instants = NDArray[np.int64]
"""Unix milliseconds, UTC."""
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverValue:
    """The economic side of whole local days; `to_date` is the first day after. DKK in prices of `price_year`."""

    driver: str
    from_date: date
    to_date: date
    value: float
    unit: str
    price_year: int


def build_workshop(*, seed: int, start: datetime, end: datetime) -> Workshop:
    """The workshop from the local midnight at or before `start` to the one at or after `end`; both aware.

    The calendar year of `start` is the base year of the development. With the same seed and start a later end
    changes nothing of what was before. Raises ValueError.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end of the workshop need a time zone")
    if seed < 0 or end <= start:
        raise ValueError(f"seed {seed} must not be negative, and end {end} must be after start {start}")
    zone = ZoneInfo(ZONE)
    first = start.astimezone(zone).date()
    last = end.astimezone(zone).date()
    if midnight_ms(last, zone) == round(end.timestamp() * 1000):
        last -= ONE_DAY
    days = tuple(days_between(first, last, zone))
    plans = [plan_line(design, days, seed=seed) for design in LINES]
    developments = [development_on(day.date, first.year) for day in days]
    return Workshop(seed=seed, days=days, plans=plans, flows=simulate(plans, days, developments, seed=seed))


class Workshop:
    """Everything is known from `start_ms` up to and including `end_ms`; beyond that, ValueError.

    Within a quarter flow is uniform, so registers rise linearly; the ventilation's power is linear between
    quarters. Registers count on in whole steps and never step back.
    """

    def __init__(self, *, seed: int, days: Sequence[Day], plans: Sequence[LinePlan], flows: SiteFlows) -> None:
        self.seed = seed
        self.start_ms = days[0].start_ms
        self.end_ms = days[-1].start_ms + days[-1].quarters * QUARTER_MS
        self.first_day = days[0].date
        self.base_year = self.first_day.year
        self._days = days
        self._flows = flows
        self._model = site_model()
        self._meters = {meter.id: meter for meter in self._model.meters}
        self._spans = {plan.design.line: spans_of(plan) for plan in plans}
        by_meter = quantities(flows)
        self._consumption = {
            key: by_meter[key] * (1.0 if meter.kind is MeterKind.RATE else meter.to_canonical)
            for key, meter in self._meters.items()
        }
        self._grid_factors = grid_factors(days, seed=seed)
        self._edges = {key: self._register_edges(key, by_meter[key]) for key in self._meters}

    def _register_edges(self, meter: str, quantity: Values) -> Values:
        """The register at every quarter's edge, not rounded; for the rate its power there."""
        if meter == VENTILATION:
            return self._flows.ventilation_kw
        first = np.random.default_rng([self.seed, *meter.encode()]).integers(LARGEST_FIRST_REGISTER)
        return np.cumsum(np.concatenate(([float(first)], quantity)))

    def site_model(self) -> SiteModel:
        """Organisation, site, lines, products, agents and meters."""
        return self._model

    def offers(self, agent: str) -> list[OfferedMeter]:
        """What that agent says of its meters. Raises ValueError for an agent that is not there."""
        return [
            OfferedMeter(
                meter=meter.id,
                resource=meter.resource,
                unit=meter.unit,
                kind=meter.kind,
                carrier=meter.carrier,
                driver=DRIVER,
                cadence_ms=meter.interval or CADENCE_MS,
                interval_ms=meter.interval,
            )
            for meter in self._meters_of(agent)
        ]

    def read(self, agent: str, at_ms: int) -> list[tuple[str, float, str]]:
        """(meter, value, unit) of everything that agent can read at this instant.

        An interval meter answers only at the end of an interval: the first millisecond of a quarter.
        """
        at = np.array([at_ms], np.int64)
        return [
            (meter.id, float(self.registers(meter.id, at)[0]), meter.unit)
            for meter in self._meters_of(agent)
            if meter.kind is not MeterKind.INTERVAL or (at_ms % QUARTER_MS == 0 and at_ms > self.start_ms)
        ]

    def registers(self, meter: str, at_ms: Instants) -> Values:
        """What the meter shows at these instants, in its unit and steps. Raises ValueError beyond what is known.

        For an interval meter the instants are ends of intervals, and each value is what the interval brought.
        """
        found = self._meter(meter)
        at_ms = np.asarray(at_ms, np.int64)
        if at_ms.size and not self.start_ms <= int(at_ms.min()) <= int(at_ms.max()) <= self.end_ms:
            raise ValueError(f"{meter}: an instant lies outside {self._known()}; build the workshop for longer")
        steps = STEPS_PER_UNIT[found.unit]
        edges = self._edges[meter]
        quarter, into_ms = np.divmod(at_ms - self.start_ms, QUARTER_MS)
        if found.kind is MeterKind.INTERVAL:
            if np.any(into_ms != 0) or np.any(quarter == 0):
                raise ValueError(f"{meter}: a value is there only at the end of an interval; ask reading_times")
            # Differences of whole steps, so the values add up to the true quantity and never drift from it.
            return np.asarray((np.floor(edges[quarter] * steps) - np.floor(edges[quarter - 1] * steps)) / steps)
        before, after = edges[quarter], edges[np.minimum(quarter + 1, edges.size - 1)]
        value = before + (after - before) * (into_ms / QUARTER_MS)
        if found.kind is MeterKind.RATE:
            return np.asarray(np.rint(value * steps) / steps)
        # Interpolation may round past the quarter's end, which would step back there.
        return np.asarray(np.floor(np.minimum(value, after) * steps) / steps)

    def reading_times(self, meter: str, from_ms: int, to_ms: int, every_ms: int) -> Instants:
        """When this meter has readings in [from, to): at whole multiples of `every_ms` since 1970.

        An interval meter has its own cadence, whatever `every_ms` says. For the rate `every_ms` should divide a
        quarter: its power bends at quarters, and the trapezoid is exact only if it sees them. Nothing is told of
        instants before `start_ms` or after `end_ms`.
        """
        found = self._meter(meter)
        interval = found.kind is MeterKind.INTERVAL
        step = QUARTER_MS if interval else every_ms
        first = max(from_ms, self.start_ms + QUARTER_MS if interval else self.start_ms)
        return np.arange(-(-first // step) * step, min(to_ms, self.end_ms + 1), step, dtype=np.int64)

    def runs_between(self, from_ms: int, to_ms: int) -> list[RunSpan]:
        """Spans that start or end in [from, to), in order of start. What ends at `to` or later has no end yet."""
        if to_ms > self.end_ms:
            raise ValueError(f"runs to {_iso(to_ms)} lie outside {self._known()}; build the workshop for longer")
        found = [
            self._run(line, span, to_ms)
            for line, spans in self._spans.items()
            for span in spans
            if from_ms <= self._at(span.first) < to_ms or from_ms <= self._at(span.after) < to_ms
        ]
        return sorted(found, key=lambda run: (run.start, run.line))

    def _run(self, line: str, span: Span, to_ms: int) -> RunSpan:
        start, end = self._at(span.first), self._at(span.after)
        # Nobody works in the night when clocks go back, so local time makes unique and readable names.
        local = datetime.fromtimestamp(start / 1000, ZoneInfo(ZONE))
        works = span.state in {RunState.RUNNING, RunState.CHANGEOVER}
        return RunSpan(
            run=f"{line}-{local:%Y%m%d-%H%M}",
            line=line,
            state=span.state,
            start=start,
            end=end if end < to_ms else None,
            product=span.product,
            order=f"{local:%G-W%V}-{span.product}" if works else None,
        )

    def driver_values(self) -> list[DriverValue]:
        """Revenue of every whole local month, in constant prices of the base year, in whole DKK."""
        revenue = sum((used.revenue_dkk for used in self._flows.lines.values()), np.zeros(self._quarters))
        known_to = self._days[-1].date + ONE_DAY
        starts = [day for day in self._days if day.date.day == 1]
        values = []
        for day in starts:
            to_date = date(day.date.year + day.date.month // 12, day.date.month % 12 + 1, 1)
            if to_date > known_to:
                break
            first, after = self._quarter(day.start_ms), self._quarter(midnight_ms(to_date, ZoneInfo(ZONE)))
            values.append(
                DriverValue(
                    driver="revenue",
                    from_date=day.date,
                    to_date=to_date,
                    value=float(np.rint(revenue[first:after].sum())),
                    unit="DKK",
                    price_year=self.base_year,
                )
            )
        return values

    def grid_factors(self) -> list[HourlyFactor]:
        """What a kilowatt-hour of the grid emitted in every hour: simulated, of the area DK1."""
        return hourly(self._days, self._grid_factors)

    def truth(self, from_ms: int, to_ms: int) -> Truth:
        """What happened in [from, to), which must be edges of quarters. Raises ValueError."""
        if from_ms % QUARTER_MS or to_ms % QUARTER_MS or not self.start_ms <= from_ms < to_ms <= self.end_ms:
            raise ValueError(f"truth is of whole quarters within {self._known()}, not {_iso(from_ms)} to {_iso(to_ms)}")
        return measure_truth(
            self._flows,
            self._consumption,
            by_quarter(self._grid_factors),
            first=self._quarter(from_ms),
            after=self._quarter(to_ms),
            from_ms=from_ms,
            to_ms=to_ms,
        )

    @property
    def _quarters(self) -> int:
        return (self.end_ms - self.start_ms) // QUARTER_MS

    def _quarter(self, at_ms: int) -> int:
        return (at_ms - self.start_ms) // QUARTER_MS

    def _at(self, quarter: int) -> int:
        return self.start_ms + quarter * QUARTER_MS

    def _known(self) -> str:
        return f"{_iso(self.start_ms)} to {_iso(self.end_ms)}"

    def _meter(self, meter: str) -> Meter:
        try:
            return self._meters[meter]
        except KeyError:
            raise ValueError(f"there is no meter {meter!r}; known: {', '.join(self._meters)}") from None

    def _meters_of(self, agent: str) -> list[Meter]:
        meters = [meter for meter in self._model.meters if meter.agent == agent]
        if not meters:
            raise ValueError(f"there is no agent {agent!r}; known: {', '.join(a.id for a in self._model.agents)}")
        return meters


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
