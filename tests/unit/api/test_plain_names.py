"""How people head columns and name periods."""

from __future__ import annotations

import pytest

from api.tables.names import in_time, spellings_of


@pytest.mark.parametrize(
    "names",
    [
        ["1971", "1972", "1973"],
        ["FY2024", "FY2025"],
        ["2023/24", "2024/25"],
        ["FY2023/24", "FY2024/25"],
        ["2019K4", "2020K1", "2020K2"],
        ["2020M09", "2020M10"],
        ["2024-W09", "2024-W10"],
        ["2024", "2025-Q1", "2025-04", "2025-05-01"],
        ["2023-07..2024-06", "2024-07..2025-06"],
    ],
)
def test_periods_by_time(names):
    assert in_time(reversed(names)) == names


@pytest.mark.parametrize("names", [["2021", "before"], ["b", "a"], ["2020-13", "2019-01"], ["2021", "0000"]])
def test_what_tells_no_time_stays(names):
    assert in_time(names) == names


def test_headers_with_and_without_their_unit():
    assert spellings_of("Energy_use  (TJ)") == ["energy use (tj)", "energy use"]
    assert spellings_of("energy_kWh") == ["energy kwh", "energy"]
    assert spellings_of("kwh") == ["kwh"]
