"""What a case's file may say, and how it is told when it says something else."""

from __future__ import annotations

import pytest

from schemas.configuration import ConfigurationError, parse_configuration
from schemas.quantities import QUARTER_MS
from tests.cases.case import Case, Ramp, load_case, offset_text, parse_offset, rows_of

CASE = """
about: a case
meters: [{{id: power, resource: energy, unit: kWh, kind: counter}}]
steps:
  - what: something
    until: 1h
    publish: [{{power: {readings}}}]
    events: [{{kind: dip, at: 5min, decision: set_aside, meter: {meter}}}]
    consumption: {{power: {{quarters: {quarters}}}}}
"""


def _case(readings: str = "{0min: 1}", meter: str = "power", quarters: str = "{0min: 1}") -> Case:
    text = CASE.format(readings=readings, meter=meter, quarters=quarters)
    return parse_configuration(text, name="case.yaml", model=Case)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0min", 0), ("90s", 90_000), ("1d 2h", 93_600_000), ("-365d 20min", -(365 * 86_400_000 + 1_200_000))],
)
def test_an_offset_is_what_it_says_and_is_told_back(text: str, milliseconds: int) -> None:
    assert parse_offset(text) == milliseconds
    assert parse_offset(offset_text(milliseconds)) == milliseconds


def test_a_range_is_each_of_its_quarters() -> None:
    quarters = _case(quarters="{0min: 1, 15min .. 1h: {estimated: 2, covered: 0min}}").steps[0].consumption["power"]
    assert quarters.quarters is not None
    assert [at // QUARTER_MS for at in quarters.quarters] == [0, 1, 2, 3, 4]


def test_readings_may_be_told_as_a_ramp() -> None:
    (message,) = load_case("day-of-23-hours").steps[0].publish
    assert isinstance(message["power"], Ramp)
    rows = rows_of(message["power"])
    assert (len(rows), rows[0][:2], rows[-1][:2]) == (53, (-3_600_000, 1000.0), (25 * 3_600_000, 1052.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readings": "{5: 1}"}, "write it as in 25min"),
        ({"readings": "{60min: 1, 1h: 2}"}, "an instant stands twice"),
        ({"readings": "{soon: 1}"}, "is not a span of time"),
        ({"meter": "water"}, "there is no meter 'water'"),
        ({"quarters": "{5min: 1}"}, "no quarter of an hour begins at 5min"),
        ({"quarters": "{1h .. 15min: 1}"}, "holds no quarter"),
        ({"quarters": "{0min .. 1h: 1, 30min: 2}"}, "stands here already"),
        ({"quarters": "{0min: {mesured: 1}}"}, "there is no such setting"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(change: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"case\.yaml:\d+: ") as refused:
        _case(**change)
    assert message in str(refused.value)
