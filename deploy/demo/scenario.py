"""What a demo shows: a site, its agents' drivers, its past, and which periods to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from deploy.demo.history import CADENCE_MS, History
from edge.measurement_files import read_measurements
from edge.simulation.faults import CLOCK_AHEAD_MS, SKEWED_AGENT, Exchange, FaultyWorkshop, Planted
from edge.simulation.truth import Truth, true_co2_state, true_states
from edge.simulation.workshop import DriverValue, Workshop, build_workshop
from schemas.mapping import load_mapping
from schemas.site import Agent, Meter, Organisation, Site, SiteModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Whole local days; `end` is the first day after."""

    start: date
    end: date

    def instants_ms(self, zone: ZoneInfo) -> tuple[int, int]:
        """The same span in Unix milliseconds."""
        edges = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (self.start, self.end))
        start, end = (int(edge.timestamp() * 1000) for edge in edges)
        return start, end


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One demo. `drivers` are the entries of each agent's edge.yaml; finite ones come to an end by themselves.

    `span` is what consumption is summed over; `base` and `period` are compared. `true_states` is what their verdicts
    should be, by indicator.
    """

    model: SiteModel
    drivers: dict[str, list[dict[str, Any]]]
    is_finite: bool
    span: Days
    base: Days
    period: Days
    notes: Sequence[str] = ()
    history: History | None = None
    driver_values: Sequence[DriverValue] = field(default_factory=tuple)
    truth: Truth | None = None
    true_states: Mapping[str, str] = field(default_factory=dict)
    workshop: Workshop | None = None
    planted: Sequence[Planted] = ()
    exchanges: Sequence[Exchange] = ()
    clocks_ahead_ms: Mapping[str, int] = field(default_factory=dict)


def simulated(*, seed: int, now: datetime, with_faults: bool = False) -> Scenario:
    """The workshop: the last two whole calendar years are compared, and the running one leads up to now.

    `with_faults` plants every kind of fault into its last weeks; `planted` says which.
    """
    zone = ZoneInfo("Europe/Copenhagen")
    year = now.astimezone(zone).year
    begin = date(year - 2, 1, 1)
    workshop: Workshop = build_workshop(
        seed=seed, start=datetime(year - 2, 1, 1, tzinfo=zone), end=datetime(year + 1, 1, 1, tzinfo=zone)
    )
    base, period = Days(start=begin, end=date(year - 1, 1, 1)), Days(start=date(year - 1, 1, 1), end=date(year, 1, 1))
    truths = tuple(workshop.truth(*days.instants_ms(zone)) for days in (base, period))
    now_ms = int(now.timestamp() * 1000)
    to_ms = now_ms // CADENCE_MS * CADENCE_MS
    faulty = FaultyWorkshop(workshop, at_ms=to_ms) if with_faults else None
    model = (faulty or workshop).site_model()
    return Scenario(
        model=model,
        drivers={
            agent.id: [
                {
                    "name": "workshop",
                    "driver": "simulated",
                    "seed": seed,
                    "start": begin.isoformat(),
                    "every": "1s",
                    # The lines are seen from either cabinet; one of them tells.
                    "runs": agent == model.agents[0],
                    **({"faults": to_ms} if faulty else {}),
                }
            ]
            for agent in model.agents
        },
        is_finite=False,
        span=period,
        base=base,
        period=period,
        history=History(
            workshop=faulty or workshop,
            model=model,
            epoch=f"history-{now_ms}",
            from_ms=workshop.start_ms,
            to_ms=to_ms,
        ),
        driver_values=[v for v in workshop.driver_values() if v.to_date <= now.astimezone(zone).date()],
        truth=truths[1],
        true_states=_true_states(*truths),
        workshop=workshop,
        planted=faulty.planted if faulty else (),
        exchanges=faulty.exchanges if faulty else (),
        clocks_ahead_ms={SKEWED_AGENT: CLOCK_AHEAD_MS} if faulty else {},
    )


def _true_states(base: Truth, period: Truth) -> dict[str, str]:
    """By indicator, against revenue."""
    found: dict[str, str] = {resource.value: state for resource, state in true_states(base, period, "revenue").items()}
    for basis in base.co2:
        found[f"co2_{basis}"] = true_co2_state(base, period, "revenue", basis)
    return found


def replay(path: Path, *, mapping: str | None) -> Scenario:
    """Real measurements of a file, through an agent as fast as they go. Raises MappingError."""
    path = path.resolve()
    found = read_measurements(path, load_mapping(mapping, folder=Path.cwd()) if mapping else None)
    zone = found.mapping.time.zone or "UTC"
    first, last = (
        datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).year
        for at_ms in (found.readings[0].at_ms, found.readings[-1].at_ms - 1)
    )
    entry = {"name": "replay", "driver": "replay", "path": str(path), "speed": "max"}
    return Scenario(
        model=SiteModel(
            organisation=Organisation(id="replay"),
            site=Site(id="site", name=path.name, time_zone=zone),
            agents=[Agent(id="replay")],
            meters=[
                Meter(
                    id=meter.meter,
                    agent="replay",
                    resource=meter.resource,
                    carrier=meter.carrier,
                    unit=meter.unit,
                    kind=meter.kind,
                    interval=meter.interval,
                )
                for meter in found.meters
            ],
        ),
        drivers={"replay": [entry | ({"mapping": str(Path(mapping).resolve())} if mapping else {})]},
        is_finite=True,
        span=Days(start=date(first, 1, 1), end=date(last + 1, 1, 1)),
        # The file's first year against its last; a single one against the year before, of which nothing is known.
        base=_year(first if first < last else first - 1),
        period=_year(last),
        notes=found.report.sentences(),
    )


def _year(year: int) -> Days:
    return Days(start=date(year, 1, 1), end=date(year + 1, 1, 1))
