"""What is said of values, by themselves and together."""

from __future__ import annotations

from typing import Any

import pytest

from edge.commissioning.observed import Findings, Observed, Verdict
from edge.commissioning.plausibility import judge
from schemas.resources import MeterKind, Resource

ENERGY: dict[str, Any] = {"resource": Resource.ENERGY, "carrier": "electricity"}


def check(name: str, value: float, unit: str, plausible: tuple[float, float] | None = None) -> Observed:
    return Observed(name=name, unit=unit, values=((0, value),), plausible=plausible)


def voltage(value: float) -> Observed:
    return check("voltage-l1", value, "V", (184, 276))


def power(*values: float, unit: str = "W") -> Observed:
    return Observed(name="power", unit=unit, values=_over_time(values), kind=MeterKind.RATE, **ENERGY)


def counter(*values: float, name: str = "energy-import", unit: str = "kWh", **more: Any) -> Observed:
    given = ENERGY | {"step": 0.001} | more
    return Observed(name=name, unit=unit, values=_over_time(values), kind=MeterKind.COUNTER, **given)


def _over_time(values: tuple[float, ...]) -> tuple[tuple[int, float], ...]:
    """An hour from first to last."""
    return tuple((i * 3_600_000 // max(1, len(values) - 1), value) for i, value in enumerate(values))


def said(*observed: Observed) -> dict[str, tuple[Verdict, str]]:
    return {judged.observed.name: (judged.remark.verdict, judged.remark.text) for judged in judge(observed)}


GOOD, UNSURE, WRONG, MISSING = Verdict.PLAUSIBLE, Verdict.UNSURE, Verdict.IMPLAUSIBLE, Verdict.MISSING


@pytest.mark.parametrize(
    ("one", "verdict", "text"),
    [
        (voltage(231), GOOD, ""),
        (voltage(400), UNSURE, "between two phases"),
        (voltage(58), UNSURE, "voltage transformer"),
        (voltage(0.4), WRONG, "is this phase connected"),
        (voltage(1.1e14), WRONG, "a mains voltage is 184 to 276 V"),
        (check("frequency", 50.02, "Hz", (45, 65)), GOOD, ""),
        (check("frequency", 5.2, "Hz", (45, 65)), WRONG, "that should be 45 to 65 Hz"),
        (check("flow-temperature", 71.5, "°C"), GOOD, ""),
        (check("flow-temperature", 7150, "°C"), WRONG, "that should be -60 to 300 °C"),
        (power(12_000), GOOD, ""),
        (power(3e12), WRONG, "more than such a meter can measure (50,000,000 W)"),
        (power(2e-38), WRONG, "next to nothing"),
        (power(0), GOOD, ""),
        (counter(10_234.5), GOOD, ""),
        (counter(-3), WRONG, "a counter is never below zero"),
        (counter(10, 9.5), WRONG, "it fell by 0.5 kWh"),
        (counter(0), UNSURE, "it stands at zero"),
        (counter(0, name="energy-export"), GOOD, ""),
        (counter(1e13), WRONG, "more than such a meter can measure"),
        (counter(150_000, register_width=100_000), WRONG, "begins again at 100000 kWh"),
        (Observed(name="x", unit="W", missing="refused"), UNSURE, "refused"),
        (Observed(name="x", unit="W", missing="refused", kind=MeterKind.RATE), MISSING, "refused"),
        (Observed(name="x", unit="W"), UNSURE, "has no value here"),
    ],
    ids=str,
)
def test_one_value_by_itself(one: Observed, verdict: Verdict, text: str) -> None:
    found, words = said(one)[one.name]
    assert found is verdict, words
    assert text in words


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ((4000, 4100, 3900), set()),
        ((4000, -4100, 3900), {"power-l2"}),
        ((-4000, -4100, 3900), {"power-l3"}),
        ((-4000, -4100, -3900), set()),
        ((4000, -5, 3900), set()),
        ((0, 0, 0), set()),
    ],
)
def test_a_phase_of_another_sign_has_its_transformer_the_wrong_way_round(
    values: tuple[float, ...], wrong: set[str]
) -> None:
    told = said(*(check(f"power-l{i}", value, "W") for i, value in enumerate(values, 1)))
    assert {name for name, (verdict, _) in told.items() if verdict is WRONG} == wrong
    assert all("swap S1 and S2" in told[name][1] for name in wrong)


@pytest.mark.parametrize(
    ("rise", "verdict", "text"),
    [
        (12.0, GOOD, "rises as the power says"),
        (10.1, GOOD, "rises as the power says"),
        (0.012, WRONG, "1000 times less"),
        (12_000.0, WRONG, "1000 times more"),
        (120.0, WRONG, "10 times more"),
        (30.0, UNSURE, "2.5 times as much"),
        (0.0, WRONG, "it stands still, but power says 12,000 W"),
    ],
)
def test_the_counter_rises_as_the_power_says(rise: float, verdict: Verdict, text: str) -> None:
    found, words = said(power(12_000, 12_000), counter(1000, 1000 + rise))["energy-import"]
    assert found is verdict, words
    assert text in words


def test_what_is_fed_in_counts_against_what_comes_in() -> None:
    told = said(power(-5_000, -5_000), counter(1000, 1000), counter(70, 75, name="energy-export"))
    assert told["energy-import"] == (GOOD, "rises as the power says")
    assert told["power"][0] is UNSURE
    assert "right where energy is fed in just now" in told["power"][1]
    exchanged = said(power(5_000, 5_000), counter(1000, 1000), counter(70, 75, name="energy-export"))
    assert "are import and export exchanged?" in exchanged["energy-import"][1]


def test_a_negative_power_while_the_import_rises_is_wrong() -> None:
    verdict, text = said(power(-5_000, -5_000), counter(1000, 1005))["power"]
    assert verdict is WRONG
    assert "all current transformers are the wrong way round" in text


def test_too_little_time_is_no_fault() -> None:
    verdict, text = said(power(12, 12), counter(1000, 1000, step=0.01))["energy-import"]
    assert (verdict, "look longer" in text) == (GOOD, True)
    # A fuel has no kWh until its heating value is known: nothing to compare.
    gas = Observed(
        name="gas",
        unit="m3",
        values=_over_time((5, 6)),
        kind=MeterKind.COUNTER,
        resource=Resource.ENERGY,
        carrier="gas",
    )
    assert said(power(12_000, 12_000), gas)["gas"] == (GOOD, "")


def test_a_power_beyond_the_rating_of_the_meter() -> None:
    assert said(power(60_000), counter(1000, rated_maximum=69.5))["power"] == (GOOD, "")
    verdict, text = said(power(120_000), counter(1000, rated_maximum=69.5))["power"]
    assert verdict is WRONG
    assert "more than the meter is rated for (69.5 kWh an hour)" in text


def test_a_colder_flow_is_worth_a_look() -> None:
    told = said(check("flow-temperature", 35, "°C"), check("return-temperature", 61, "°C"))
    assert told["flow-temperature"][0] is UNSURE
    assert "the two sensors are exchanged" in told["flow-temperature"][1]


def test_what_is_unsure_is_no_failure() -> None:
    assert Findings(values=judge([voltage(400), counter(0)]), advice=()).ok
    assert not Findings(values=judge([voltage(3)]), advice=()).ok
    assert not Findings(values=(), advice=("no answer",)).ok
