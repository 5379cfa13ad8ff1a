"""Play a case through the running system: each step's deeds, the roll-up, and what is then to be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from api.exact_json import instant
from schemas.quantities import QUARTER_MS
from schemas.topics import Kind
from tests.cases.case import AGENT, Amount, Case, ConsumptionOf, EventOf, StepOf, offset_text, rows_of
from tests.cases.system import System

_ANNA = {"author": "Anna", "reason": "a case"}
_LONG_BEFORE, _LONG_AFTER = timedelta(days=400), timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure of the table: what was expected and what was got, as people read it."""

    step: str
    figure: str
    expected: str
    got: str

    @property
    def is_ok(self) -> bool:
        return self.expected == self.got


def play(case: Case, system: System) -> Iterator[Line]:
    """Step after step; the lines come as they are known. Raises AssertionError when a deed is not done."""
    system.begin(case)
    player = _Player(case, system)
    for step in case.steps:
        player.do(step)
        system.roll_up(case.start_ms + step.until)
        for figure, expected, got in player.see(step):
            yield Line(step=step.what, figure=figure, expected=expected, got=got)


class _Player:
    def __init__(self, case: Case, system: System) -> None:
        self._case = case
        self._system = system

    def do(self, step: StepOf) -> None:
        """What happens in a step, in this order."""
        if step.runs:
            runs = [self._run(nth, run.model_dump()) for nth, run in enumerate(step.runs)]
            self._system.publish(Kind.RUNS, {"sent_at": self._case.start_ms, "runs": runs})
        for message in step.publish:
            self._publish(message)
        self._record(step)
        self._rule(step)
        if step.settings:
            self._change_settings(step.settings)

    def see(self, step: StepOf) -> Iterator[tuple[str, str, str]]:
        """Figures, what was expected, and what was got."""
        yield "events", self._told(step.events), self._told(self._events())
        for meter, expected in step.consumption.items():
            yield from self._consumption(meter, expected)
        waiting = self._system.ask("/v1/quarantine", agent=AGENT)
        found = {entry["reason"]: int(entry["readings"]) for entry in waiting}
        yield "quarantine", _counted(step.quarantine), _counted(found)
        yield "from scratch", "the same", self._system.computed_from_scratch()

    def _run(self, nth: int, run: dict[str, Any]) -> dict[str, Any]:
        start, end = (self._case.start_ms + run[edge] for edge in ("start", "end"))
        return {"run": f"run-{nth}", **run, "start": start, "end": end}

    def _publish(self, message: Mapping[str, Any]) -> None:
        rows = [(meter, *row) for meter, readings in message.items() for row in rows_of(readings)]
        meters = list(message)
        units = {meter.id: meter.unit for meter in self._case.meters}
        self._system.publish(
            Kind.READINGS,
            {
                "sent_at": self._case.start_ms,
                "meters": meters,
                "units": [units[meter] for meter in meters],
                "meter": [meters.index(meter) for meter, *_ in rows],
                "at": [self._case.start_ms + at for _, at, *_ in rows],
                "value": [value for _, _, value, _ in rows],
                "quality": [int(quality) for *_, quality in rows],
            },
        )

    def _record(self, step: StepOf) -> None:
        if step.exchange is not None:
            fact = step.exchange
            meter = self._case.meter(fact.meter)
            if fact.withdrawn:
                self._system.say(f"exchanges/{meter}:{self._case.start_ms + fact.at}/withdraw", _ANNA)
            else:
                registers = {"last_old": fact.last_old, "first_new": fact.first_new}
                self._system.say("exchanges", {"meter": meter, "at": self._instant(fact.at), **registers, **_ANNA})
        for dial in step.dial:
            meter = self._case.meter(dial.meter)
            if dial.value is None:
                self._system.say(f"manual-readings/{meter}:{self._case.start_ms + dial.at}/withdraw", _ANNA)
            else:
                item = {"meter": meter, "at": self._instant(dial.at), "value": dial.value}
                self._system.say("manual-readings", {"items": [{**item, **_ANNA}]})

    def _rule(self, step: StepOf) -> None:
        for act in ("confirm", "overrule", "reopen"):
            ruling = getattr(step, act)
            if ruling is not None:
                key = f"{self._case.meter(ruling.meter)}:{ruling.kind}:{self._case.start_ms + ruling.at}"
                self._system.say(f"events/{key}/{act}", {**_ANNA, "decision": ruling.decision})
        if step.set_aside is not None:
            aside = step.set_aside
            span = {"from": self._instant(aside.start), "to": self._instant(aside.end)}
            self._system.say("events", {"meter": self._case.meter(aside.meter), **span, **_ANNA})

    def _change_settings(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        model = self._system.model
        meters = [
            type(meter).model_validate({**meter.model_dump(), **settings.get(meter.id, {})}) for meter in model.meters
        ]
        self._system.apply(model.model_copy(update={"meters": meters}))

    def _events(self) -> list[EventOf]:
        return [
            EventOf.model_validate(
                {
                    **{name: item[name] for name in ("meter", "kind", "decision", "state", "quantity")},
                    **{place: offset_text(self._offset(item[edge])) for place, edge in (("at", "from"), ("to", "to"))},
                }
            )
            for item in self._system.ask("events")
        ]

    def _told(self, events: Sequence[EventOf]) -> str:
        ordered = sorted(events, key=lambda event: (event.at, self._case.meter(event.meter), event.kind))
        return "\n".join(self._sentence(event) for event in ordered) or "none"

    def _sentence(self, event: EventOf) -> str:
        of = f"{self._case.meter(event.meter)} " if len(self._case.meters) > 1 else ""
        until = "" if event.end in {None, event.at} else f"–{offset_text(event.end or 0)}"
        counts = "" if event.quantity is None else f", {event.quantity.normalize():f}"
        return f"{of}{event.kind} {offset_text(event.at)}{until}: {event.decision}, {event.state}{counts}"

    def _consumption(self, meter: str, expected: ConsumptionOf) -> Iterator[tuple[str, str, str]]:
        edges = {"start": self._case.start - _LONG_BEFORE, "to": self._case.start + _LONG_AFTER}
        span = {"meter": meter, **{name: instant(edge.astimezone(UTC)) for name, edge in edges.items()}}
        of = f"{meter}, " if len(self._case.meters) > 1 else ""
        if expected.total is not None or expected.estimated is not None:
            years = [item for item in self._system.ask("consumption", by="year", **span) if item["total"] is not None]
            for name in ("total", "estimated"):
                wanted = getattr(expected, name)
                if wanted is not None:
                    got = f"{sum(item[name] for item in years).normalize():f}" if years else "unknown"
                    yield f"{of}{name}", f"{wanted.normalize():f}", got
        if expected.quarters is not None:
            rows = self._system.ask("consumption", by="quarter", **span)
            found = {self._offset(item["from"]): _amount_of(item, QUARTER_MS) for item in rows}
            yield f"{of}quarters", _quarters(expected.quarters), _quarters(found)
        for day, amount in expected.days.items():
            (item,) = self._system.ask("consumption", by="day", meter=meter, start=day, to=day + timedelta(days=1))
            length = self._offset(item["to"]) - self._offset(item["from"])
            told = None if item["total"] is None else _amount_of(item, length)
            yield f"{of}{day}", _amount_text(amount, length), _amount_text(told, length)

    def _instant(self, offset: int) -> str:
        return instant((self._case.start + timedelta(milliseconds=offset)).astimezone(UTC))

    def _offset(self, text: str) -> int:
        return round(datetime.fromisoformat(text).timestamp() * 1000) - self._case.start_ms


def _amount_of(item: Mapping[str, Any], length_ms: int) -> Amount:
    covered = round(item["coverage"] * length_ms)
    whole = None if covered == length_ms else offset_text(covered)
    return Amount(measured=item["measured"], estimated=item["estimated"], covered=whole)


def _quarters(amounts: Mapping[int, Amount]) -> str:
    """Neighbours with the same amount in one line."""
    ordered = sorted(amounts.items())
    lines = []
    for _, group in groupby(enumerate(ordered), lambda one: (one[1][1], one[1][0] - one[0] * QUARTER_MS)):
        rows = [row for _, row in group]
        first, last = rows[0][0], rows[-1][0]
        span = offset_text(first) + (f" .. {offset_text(last)}" if last > first else "")
        lines.append(f"{span}: {_amount_text(rows[0][1], QUARTER_MS)}")
    return "\n".join(lines) or "unknown"


def _amount_text(amount: Amount | None, length_ms: int | None) -> str:
    if amount is None:
        return "unknown"
    covered = None if amount.covered == length_ms else amount.covered
    parts = [] if amount.estimated and not amount.measured else [f"{amount.measured.normalize():f}"]
    parts += [f"{amount.estimated.normalize():f} estimated"] if amount.estimated else []
    parts += [] if covered is None else [f"{offset_text(covered)} covered"]
    return ", ".join(parts)


def _counted(reasons: Mapping[Any, int]) -> str:
    return "\n".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "nothing"
