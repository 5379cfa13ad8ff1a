"""Faults planted into the workshop's meters, each known exactly, so that what finds them can be tried.

Everything is planted within the four weeks before `at_ms`, and is the same for the same workshop and instant, wherever
it is built. What a fault does to a register lasts: an exchanged meter goes on from its new register.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.simulation.workshop import DRIVER, Instants, Values, Workshop
from schemas.findings import FindingKind
from schemas.resources import MeterKind, Resource, RunState
from schemas.site import Agent, Meter, SiteModel
from schemas.wire import OfferedMeter, RunSpan

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_STEP_MS = 300_000
"""Faults begin and end at whole multiples of this, as the readings of the history do."""

SKEWED_AGENT = "cabinet-3"
"""The agent whose clock is wrong, and whose only meter the site model has not."""
CLOCK_AHEAD_MS = 4 * 60_000
UNKNOWN_METER = "paint-booth-electricity"
_UNKNOWN_KW = 12.0
REGISTER_WIDTH = 100_000.0
FIRST_NEW_REGISTER = 12.5
FROZEN_AFTER_MS = 2 * HOUR_MS
_FROZEN_FOR_MS = 3 * HOUR_MS
_SPIKE = 40_000.0
_EXTRA_KW = 900.0
_EXPORT_KW = -6.0
_LEAK_M3_PER_HOUR = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One fault: what it is, whose it is, and when (Unix milliseconds). `to_ms` None: it goes on."""

    kind: FindingKind
    from_ms: int
    to_ms: int | None
    meter: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A meter's exchange, as a technician records it. Registers in the meter's unit."""

    meter: str
    at_ms: int
    last_old: float
    first_new: float


Change = Callable[[Instants, Values], Values]
Keep = Callable[[Instants], "np.typing.NDArray[np.bool_]"]


class FaultyWorkshop:
    """The workshop with every fault planted. It has all that a workshop has, and `planted` is its truth."""

    def __init__(self, workshop: Workshop, *, at_ms: int) -> None:
        """Raises ValueError when the workshop is not known for thirty days before `at_ms`."""
        self._workshop = workshop
        self._at_ms = at_ms // _STEP_MS * _STEP_MS
        if self._at_ms - 30 * DAY_MS < workshop.start_ms or self._at_ms > workshop.end_ms:
            raise ValueError("faults need a workshop that is known for thirty days before them; build it for longer")
        self.start_ms, self.end_ms = workshop.start_ms, workshop.end_ms
        self.planted: list[Planted] = []
        self.exchanges: list[Exchange] = []
        self._changes: dict[str, list[Change]] = {}
        self._kept: dict[str, list[Keep]] = {}
        self._plant()
        self._model = _with_limits(workshop.site_model())

    def site_model(self) -> SiteModel:
        """The workshop's model with what the faults need: a register's width, `frozen_after`, the agent more."""
        return self._model

    def offers(self, agent: str) -> list[OfferedMeter]:
        """As `Workshop.offers`; the agent with the wrong clock offers a meter that the model has not."""
        if agent != SKEWED_AGENT:
            return self._workshop.offers(agent)
        return [
            OfferedMeter(
                meter=UNKNOWN_METER,
                resource=Resource.ENERGY,
                unit="kWh",
                kind=MeterKind.COUNTER,
                carrier="electricity",
                driver=DRIVER,
            )
        ]

    def read(self, agent: str, at_ms: int) -> list[tuple[str, float, str]]:
        """As `Workshop.read`, without the meters that are silent then."""
        if agent == SKEWED_AGENT:
            return [(UNKNOWN_METER, round((at_ms - self.start_ms) / HOUR_MS * _UNKNOWN_KW, 2), "kWh")]
        at = np.array([at_ms], np.int64)
        return [
            (meter, float(self._changed(meter, at, np.array([value]))[0]), unit)
            for meter, value, unit in self._workshop.read(agent, at_ms)
            if self._is_kept(meter, at)[0]
        ]

    def registers(self, meter: str, at_ms: Instants) -> Values:
        """As `Workshop.registers`, with what the faults make of them."""
        at_ms = np.asarray(at_ms, np.int64)
        return self._changed(meter, at_ms, self._workshop.registers(meter, at_ms))

    def reading_times(self, meter: str, from_ms: int, to_ms: int, every_ms: int) -> Instants:
        """As `Workshop.reading_times`, without those at which the meter says nothing."""
        at = self._workshop.reading_times(meter, from_ms, to_ms, every_ms)
        return at[self._is_kept(meter, at)]

    def runs_between(self, from_ms: int, to_ms: int) -> list[RunSpan]:
        """As `Workshop.runs_between`: the lines know nothing of the faults."""
        return self._workshop.runs_between(from_ms, to_ms)

    def _changed(self, meter: str, at: Instants, value: Values) -> Values:
        for change in self._changes.get(meter, ()):
            value = change(at, value)
        return value

    def _is_kept(self, meter: str, at: Instants) -> np.typing.NDArray[np.bool_]:
        kept = np.ones(len(at), dtype=np.bool_)
        for keep in self._kept.get(meter, ()):
            kept &= keep(at)
        return kept

    def _plant(self) -> None:
        def ago(days: float) -> int:
            return self._at_ms - int(days * DAY_MS) // _STEP_MS * _STEP_MS

        self._roll_over("furnace-gas", ago(9))
        self._within(FindingKind.DIP, "press-electricity", ago(8), 2 * _STEP_MS, lambda value: value * 0)
        self._within(FindingKind.SPIKE, "furnace-electricity", ago(7), _STEP_MS, lambda value: value + _SPIKE)
        self._restart(FindingKind.RESET, "press-air", ago(6), 0.0)
        self._restart(FindingKind.EXCHANGE, "furnace-water", ago(5), FIRST_NEW_REGISTER)
        self._freeze("press-steel", self._running_at("press", ago(26), ago(1)))
        self._say_nothing(FindingKind.GAP, "press-scrap-metal", ago(4), ago(4) + 5 * HOUR_MS)
        self._say_nothing(FindingKind.SILENT, "furnace-scrap-metal", ago(1.1), None)
        extra = 3 * DAY_MS
        self._within(
            FindingKind.NEGATIVE_REST,
            "ventilation-power",
            ago(14),
            extra,
            lambda kw: kw + _EXTRA_KW,
            of="main-electricity",
        )
        self._within(FindingKind.EXPORT, "ventilation-power", ago(3), 2 * HOUR_MS, lambda kw: kw * 0 + _EXPORT_KW)
        self._leak("press-water", ago(3.5), through=("main-water",))
        for kind, meter in ((FindingKind.CLOCK_SKEW, None), (FindingKind.UNKNOWN_METER, UNKNOWN_METER)):
            self.planted.append(Planted(kind=kind, meter=meter, agent=SKEWED_AGENT, from_ms=self._at_ms, to_ms=None))

    def _note(self, kind: FindingKind, meter: str, from_ms: int, to_ms: int | None) -> None:
        self.planted.append(Planted(kind=kind, meter=meter, from_ms=from_ms, to_ms=to_ms))

    def _change(self, meter: str, change: Change) -> None:
        self._changes.setdefault(meter, []).append(change)

    def _register_at(self, meter: str, at_ms: int) -> float:
        return float(self._workshop.registers(meter, np.array([at_ms], np.int64))[0])

    def _roll_over(self, meter: str, at_ms: int) -> None:
        """The register reaches its width at that instant."""
        shift = REGISTER_WIDTH - self._register_at(meter, at_ms)
        self._change(meter, lambda _, value: np.asarray(np.mod(np.round(value + shift, 6), REGISTER_WIDTH)))
        self._note(FindingKind.ROLLOVER, meter, at_ms, at_ms)

    def _within(
        self,
        kind: FindingKind,
        meter: str,
        from_ms: int,
        length_ms: int,
        become: Callable[[Values], Values],
        *,
        of: str | None = None,
    ) -> None:
        """For a while the meter shows something else; `of`: the meter to which that is a fault."""
        to_ms = from_ms + length_ms

        def change(at: Instants, value: Values) -> Values:
            return np.where((at >= from_ms) & (at < to_ms), become(value), value)

        self._change(meter, change)
        self._note(kind, of or meter, from_ms, to_ms - _STEP_MS)

    def _restart(self, kind: FindingKind, meter: str, at_ms: int, first: float) -> None:
        """From that instant on the register counts from `first`."""
        old = self._register_at(meter, at_ms)

        def change(at: Instants, value: Values) -> Values:
            return np.where(at >= at_ms, np.round(value - old + first, 6), value)

        self._change(meter, change)
        self._note(kind, meter, at_ms, at_ms)
        if kind is FindingKind.EXCHANGE:
            self.exchanges.append(Exchange(meter=meter, at_ms=at_ms, last_old=old, first_new=first))

    def _freeze(self, meter: str, from_ms: int) -> None:
        """The register stands still for a while, and goes on from there."""
        to_ms = from_ms + _FROZEN_FOR_MS
        stood_at = self._register_at(meter, from_ms)
        missed = self._register_at(meter, to_ms) - stood_at

        def change(at: Instants, value: Values) -> Values:
            stands = (at >= from_ms) & (at < to_ms)
            return np.where(stands, stood_at, np.where(at >= to_ms, np.round(value - missed, 6), value))

        self._change(meter, change)
        self._note(FindingKind.FROZEN, meter, from_ms, to_ms)

    def _say_nothing(self, kind: FindingKind, meter: str, from_ms: int, to_ms: int | None) -> None:
        after = np.iinfo(np.int64).max if to_ms is None else to_ms
        self._kept.setdefault(meter, []).append(lambda at: (at < from_ms) | (at >= after))
        self._note(kind, meter, from_ms, to_ms)

    def _leak(self, meter: str, from_ms: int, *, through: Sequence[str]) -> None:
        """Water runs without end; what the meter counts more passes the meters before it as well."""
        for one in (meter, *through):
            self._change(
                one,
                lambda at, value: np.round(value + np.maximum(at - from_ms, 0) / HOUR_MS * _LEAK_M3_PER_HOUR, 3),
            )
        self._note(FindingKind.LEAK, meter, from_ms, None)

    def _running_at(self, line: str, from_ms: int, to_ms: int) -> int:
        """When the line last began to run for longer than a meter has to stand still."""
        long_enough = [
            run.start
            for run in self._workshop.runs_between(from_ms, to_ms)
            if (run.line, run.state) == (line, RunState.RUNNING)
            and run.end is not None
            and run.end - run.start > _FROZEN_FOR_MS + HOUR_MS
        ]
        if not long_enough:
            raise ValueError(f"line {line} did not run in the weeks before the faults; plant them at another time")
        return long_enough[-1] + HOUR_MS // 2


def _with_limits(model: SiteModel) -> SiteModel:
    """The model with a known register width and a bound on standing still, and the agent that has no known meter."""

    def limited(meter: Meter) -> Meter:
        match meter.id:
            case "furnace-gas":
                return meter.model_copy(update={"register_width": REGISTER_WIDTH})
            case "press-steel":
                return meter.model_copy(update={"frozen_after": FROZEN_AFTER_MS})
            case _:
                return meter

    agents = [*model.agents, Agent(id=SKEWED_AGENT, name="Paint booth")]
    return model.model_copy(update={"agents": agents, "meters": [limited(meter) for meter in model.meters]})
