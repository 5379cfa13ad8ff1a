"""Whether what a meter says can be true: by itself, against what else it says, and against its own rise.

The bounds are wide on purpose. They are for wiring, addresses and byte orders that are wrong by orders of magnitude,
not for accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.commissioning.observed import Judged, Observed, Remark, Verdict
from schemas.resources import MeterKind, Resource

_MOST_AN_HOUR: Mapping[Resource, float] = {
    Resource.ENERGY: 50_000,
    Resource.WATER: 20_000,
    Resource.MATERIAL: 1_000_000,
    Resource.WASTE: 1_000_000,
    Resource.PRODUCTION: 1_000_000,
}
"""In canonical units an hour: no single meter of a factory measures more."""
_LEAST = 1e-6
"""In canonical units: smaller, and not zero, is a number that was put together wrongly."""
_YEARS_H = 30 * 8766
_MAINS_TO_PHASE = (320.0, 480.0)
_TRANSFORMED = (50.0, 130.0)
_TEMPERATURE = (-60.0, 300.0)
_POWER_UNITS = {"W", "kW", "MW"}
_PER_HOUR_S = 3600.0


def judge(observed: Sequence[Observed]) -> list[Judged]:
    """A remark on each value, in the order given."""
    remarks = {one.name: _alone(one) for one in observed}
    together = _phases(observed) | _counters_and_power(observed) | _ratings(observed) | _temperatures(observed)
    for name, remark in together.items():
        if remarks[name].verdict in {Verdict.PLAUSIBLE, Verdict.UNSURE}:
            remarks[name] = remark
    return [Judged(observed=one, remark=remarks[one.name]) for one in observed]


def is_possible(one: Observed) -> bool:
    """Whether the value could be true at all, by itself."""
    return _alone(one).verdict in {Verdict.PLAUSIBLE, Verdict.UNSURE}


def speaks_for_itself(one: Observed) -> bool:
    """Whether the value could hardly come about by mistake: a check that lies in its range, and not at zero."""
    inside = one.plausible is not None and bool(one.values) and one.last != 0
    return inside and _alone(one).verdict is Verdict.PLAUSIBLE


def _alone(one: Observed) -> Remark:
    if not one.values:
        if one.missing is None:
            return _look("the meter has no value here: it may lack this function")
        # A variant of the meter may lack a check; of a quantity, somebody waits for readings.
        return _look(one.missing) if one.kind is None else Remark(verdict=Verdict.MISSING, text=one.missing)
    if one.unit == "V":
        return _voltage(one)
    if one.plausible is not None:
        return _within(one, one.plausible)
    if one.unit == "°C":
        return _within(one, _TEMPERATURE)
    if one.kind is MeterKind.COUNTER:
        return _counter(one)
    return _amount(one)


def _voltage(one: Observed) -> Remark:
    low, high = one.plausible or (184.0, 276.0)
    value = abs(one.last)
    if low <= value <= high:
        return _fine()
    if value < 10:
        return _wrong("there is no voltage: is this phase connected, and its fuse in?")
    if _MAINS_TO_PHASE[0] <= value <= _MAINS_TO_PHASE[1]:
        return _look("that is between two phases: right where the meter has no neutral, else check its N")
    if _TRANSFORMED[0] <= value <= _TRANSFORMED[1]:
        return _look("that is the secondary side of a voltage transformer: is its ratio set in the meter?")
    return _wrong(f"a mains voltage is {low:g} to {high:g} V")


def _within(one: Observed, between: tuple[float, float]) -> Remark:
    low, high = between
    if low <= one.last <= high:
        return _fine()
    return _wrong(f"that should be {low:g} to {high:g} {one.unit}")


def _counter(one: Observed) -> Remark:
    if one.last < 0:
        return _wrong("a counter is never below zero: check the type (signed?) and the word order")
    if one.rise < 0:
        return _wrong(f"it fell by {-one.rise:g} {one.unit} while we looked; a counter only rises")
    if one.register_width is not None and one.last >= one.register_width:
        return _wrong(f"its register begins again at {one.register_width:g} {one.unit}")
    remark = _amount(one)
    if remark.verdict is Verdict.PLAUSIBLE and one.last == 0 and not _is_outward(one):
        return _look("it stands at zero: a new meter, or one that nothing flows through")
    return remark


def _amount(one: Observed) -> Remark:
    """A quantity or rate whose size says whether it can be."""
    canonical, value = one.canonical or 1.0, abs(one.last)
    if 0 < value * canonical < _LEAST:
        return _wrong("that is next to nothing, as a number is that was put together wrongly")
    if one.resource is None:
        return _fine()
    most = _MOST_AN_HOUR[one.resource]
    if one.kind is MeterKind.COUNTER:
        most *= _YEARS_H
    if value * canonical > most:
        return _wrong(f"that is more than such a meter can measure ({most / canonical:,.0f} {one.unit})")
    return _fine()


def _phases(observed: Sequence[Observed]) -> dict[str, Remark]:
    """Powers of single phases (checks in W or kW): one of another sign is a transformer the wrong way round."""
    phases = [one for one in observed if one.kind is None and one.unit in _POWER_UNITS and one.values]
    most = max((abs(one.last) for one in phases), default=0.0)
    loaded = [one for one in phases if abs(one.last) > 0.02 * most]
    against = [one for one in loaded if one.last < 0]
    if not against or len(against) == len(loaded):
        return {}
    if len(against) * 2 > len(loaded):
        against = [one for one in loaded if one.last > 0]
    text = (
        "its sign is not that of the other phases: the current transformer of this phase is the wrong way round "
        "(swap S1 and S2), or sits on another phase than the voltage"
    )
    return {one.name: _wrong(text) for one in against}


def _counters_and_power(observed: Sequence[Observed]) -> dict[str, Remark]:
    """How far the counters rose, against what the power says. One power and one way in are needed for that."""
    seen = [one for one in observed if len(one.values) > 1 and one.canonical is not None and one.seconds > 0]
    powers = [one for one in seen if one.kind is MeterKind.RATE]
    counters = [one for one in seen if one.kind is MeterKind.COUNTER]
    outward = [one for one in counters if _is_outward(one)]
    inward = [one for one in counters if one not in outward]
    if len(powers) != 1 or len(inward) != 1 or len(outward) > 1 or inward[0].resource is not powers[0].resource:
        return _negative(powers)
    power, into = powers[0], inward[0]
    rise = into.rise * (into.canonical or 0) - sum(one.rise * (one.canonical or 0) for one in outward)
    step = max(one.step * (one.canonical or 0) for one in counters)
    hours = into.seconds / _PER_HOUR_S
    mean = sum(value for _, value in power.values) / len(power.values)
    expected = mean * (power.canonical or 0) * hours
    if mean < 0 and into.rise > 0 and not any(one.rise > 0 for one in outward):
        return {
            power.name: _wrong(
                f"it is negative while {into.name} rises: all current transformers are the wrong way round (swap S1 "
                "and S2 of each), or the meter is connected for feeding in"
            )
        }
    if abs(expected) < 5 * step or abs(expected) < _LEAST:
        return _negative(powers) | _too_short(into, expected, step)
    found = {} if rise == 0 else _compare(into, rise / expected, 2 * step / abs(expected))
    if rise == 0:
        found = {into.name: _wrong(f"it stands still, but {power.name} says {mean:,.5g} {power.unit}")}
    return _negative(powers) | found


def _is_outward(one: Observed) -> bool:
    """Whether it counts what is fed in, which may well stay at zero."""
    return "export" in one.name


def _negative(powers: Sequence[Observed]) -> dict[str, Remark]:
    text = (
        "it is negative: right where energy is fed in just now (solar, for one), else the current transformers are the "
        "wrong way round"
    )
    return {one.name: _look(text) for one in powers if one.last < 0 and one.resource is Resource.ENERGY}


def _too_short(counter: Observed, expected: float, step: float) -> dict[str, Remark]:
    if not expected or counter.last == 0:
        return {}
    text = "too little flows to see it rise in this time; look longer with --seconds"
    return {counter.name: Remark(verdict=Verdict.PLAUSIBLE, text=text)} if step else {}


def _compare(counter: Observed, ratio: float, tolerance: float) -> dict[str, Remark]:
    """What the ratio of the counter's rise to that by the power says."""
    if abs(ratio - 1) <= 0.3 + tolerance:
        return {counter.name: Remark(verdict=Verdict.PLAUSIBLE, text="rises as the power says")}
    if ratio < 0:
        return {counter.name: _wrong("it rises the other way than the power says: are import and export exchanged?")}
    for factor in (10, 100, 1000):
        if abs(ratio / factor - 1) <= 0.3 + tolerance or abs(ratio * factor - 1) <= 0.3 + tolerance:
            way = "more" if ratio > 1 else "less"
            return {
                counter.name: _wrong(
                    f"it rises {factor} times {way} than the power says: check unit and scale of both in the profile"
                )
            }
    return {
        counter.name: _look(
            f"it rises {ratio:.3g} times as much as the power says: did the load change, or does the ratio of the "
            "current transformers hold for only one of them?"
        )
    }


def _ratings(observed: Sequence[Observed]) -> dict[str, Remark]:
    """A power against what the counter of the same device can count at most."""
    found = {}
    for counter in observed:
        if counter.kind is not MeterKind.COUNTER or counter.rated_maximum is None or counter.canonical is None:
            continue
        most = 1.2 * counter.rated_maximum * counter.canonical
        text = f"that is more than the meter is rated for ({counter.rated_maximum:g} {counter.unit} an hour)"
        for rate in observed:
            is_its_own = rate.kind is MeterKind.RATE and rate.resource is counter.resource and rate.values
            if is_its_own and abs(rate.last) * (rate.canonical or 0) > most:
                found[rate.name] = _wrong(text)
    return found


def _temperatures(observed: Sequence[Observed]) -> dict[str, Remark]:
    """A heat meter's flow is warmer than its return."""
    there = [one for one in observed if one.unit == "°C" and one.values]
    flow = next((one for one in there if "flow" in one.name), None)
    back = next((one for one in there if "return" in one.name), None)
    if flow is None or back is None or flow.last >= back.last - 0.5:
        return {}
    return {flow.name: _look("it is colder than the return: right for cooling, else the two sensors are exchanged")}


def _fine() -> Remark:
    return Remark(verdict=Verdict.PLAUSIBLE, text="")


def _look(text: str) -> Remark:
    return Remark(verdict=Verdict.UNSURE, text=text)


def _wrong(text: str) -> Remark:
    return Remark(verdict=Verdict.IMPLAUSIBLE, text=text)
