"""Windows of days, what indicators are called, and published tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from api.calendar.buckets import Calendar
from api.decoupling.plain import NUMBERS, TEXTS, compare_rows, parse_columns
from api.decoupling.questions import parse_indicators, parse_periods, parse_rolling
from api.decoupling.windows import pieces, rolling_windows, whole_months
from api.periods import Days, parse_named
from api.problems import ProblemError
from api.tables.plain import PlainTable, PlainTableError, read_plain_table


def days(text: str) -> Days:
    return parse_named(text, Calendar())


def told(found) -> list[str]:
    return [f"{one.first} {one.end}" for one in found]


def test_whole_months_only():
    assert told(whole_months(days("2025-01-15..2025-03-31"))) == ["2025-02-01 2025-03-01", "2025-03-01 2025-04-01"]
    assert whole_months(days("2025-01-15..2025-02-10")) == []


@pytest.mark.parametrize(
    ("period", "months", "windows"),
    [
        ("2025-01..2025-02", 12, ["2024-02-01 2025-02-01", "2024-03-01 2025-03-01"]),
        ("2025-01-10..2025-02-27", 1, ["2025-01-01 2025-02-01"]),
        ("2025-01-31", 3, ["2024-11-01 2025-02-01"]),
    ],
)
def test_rolling_windows_end_with_months(period, months, windows):
    assert told(rolling_windows(days(period), months)) == windows


def test_windows_that_have_not_ended_are_left_out():
    windows = parse_rolling(12, days("2025"), today=date(2025, 3, 15))
    assert told(windows) == ["2024-02-01 2025-02-01", "2024-03-01 2025-03-01"]
    with pytest.raises(ProblemError, match="no month of the period is over"):
        parse_rolling(12, days("2025"), today=date(2025, 1, 15))
    with pytest.raises(ProblemError, match="no month ends"):
        rolling_windows(days("2025-01-10"), 12)


def test_pieces_make_up_every_window_and_nothing_between():
    windows = [days("2024-01..2024-02"), days("2025-02-10..2025-03-05")]
    assert told(pieces(windows, by_month=False)) == ["2024-01-01 2024-03-01", "2025-02-10 2025-03-06"]
    found = pieces([*windows, days("2024-02")], by_month=True)
    assert told(found) == [
        "2024-01-01 2024-02-01",
        "2024-02-01 2024-03-01",
        "2025-02-10 2025-03-06",
    ]
    for window in windows:
        inside = [piece for piece in found if window.first <= piece.first and piece.end <= window.end]
        assert sum(piece.count for piece in inside) == window.count


def test_names_of_indicators():
    assert [str(one) for one in parse_indicators(["waste", "co2"])] == ["waste", "co2_location", "co2_market"]
    assert len(parse_indicators(None)) == 6
    with pytest.raises(ProblemError, match="there is no 'love'"):
        parse_indicators(["love"])


def test_periods_by_name_or_by_days():
    found = parse_periods(
        Calendar(), base="2024", base_span=(None, None), period=None, span=("2025-01-01", "2026-01-01")
    )
    assert told(found) == ["2024-01-01 2025-01-01", "2025-01-01 2026-01-01"]
    with pytest.raises(ProblemError, match="not both"):
        parse_periods(Calendar(), base="2024", base_span=("2024-01-01", None), period="2025", span=(None, None))
    with pytest.raises(ProblemError, match="base_to: this is missing"):
        parse_periods(Calendar(), base=None, base_span=("2024-01-01", None), period="2025", span=(None, None))


def table(text: str, columns: str | None = None) -> PlainTable:
    chosen = parse_columns(columns)
    return read_plain_table(text.encode(), name="t.csv", texts=TEXTS, numbers=NUMBERS, chosen=chosen)


DENMARK = """Year;CO2;BNP
1995;82335,24;21668,55
1994;78412,16;20216,90
1992;75981,92;19830,34
1991;81921,06;19067,03
1990;71226,18;18225,48
"""


def four(value: Decimal | None) -> str:
    """To four decimals, as published."""
    assert value is not None
    return str(round(value, 4))


class TestTables:
    def test_published_cases_newest_first_with_decimal_commas(self):
        found = {(item.base, item.period): item for item in compare_rows(table(DENMARK)).items}
        assert [
            (four(found[key].elasticity), four(found[key].oecd_factor), found[key].state)
            for key in (("1991", "1992"), ("1994", "1995"))
        ] == [("-1.8110", "0.1082", "absolute"), ("0.6968", "0.0203", "relative")]
        first = found["1990", "1991"]
        assert (four(first.elasticity), first.elasticity_state, first.state) == (
            "3.2519",
            "expansive negative decoupling",
            "none",
        )

    def test_all_against_one(self):
        items = compare_rows(table(DENMARK), base="1991").items
        assert [(item.base, item.period) for item in items] == [
            ("1991", "1990"), ("1991", "1992"), ("1991", "1994"), ("1991", "1995"),
        ]  # fmt: skip
        assert four(items[1].pressure_index) == "92.7502"

    def test_headers_of_one_s_own(self):
        found = compare_rows(table("t,kt out,GDP 2015\na,2,1\nb,1,2\n", "period=t,pressure=kt out,driver=gdp 2015"))
        assert found.items[0].sentence == (
            "The pressure fell 50.0 % while the driver grew 100.0 %: absolute decoupling."
        )

    def test_newest_first_in_any_century(self):
        (item,) = compare_rows(table("year,pressure,driver\n1972,2,3\n1971,1,2\n")).items
        assert (item.base, item.period) == ("1971", "1972")

    def test_columns_that_say_nothing_of_it_are_told(self):
        found = compare_rows(table("Year,country,source,Output,CO2 (kt)\n2020,DK,x,1,2\n2021,DK,y,2,1\n"))
        assert (found.unused, found.items[0].state) == (["country", "source"], "absolute")

    def test_a_header_of_one_s_own_may_have_commas(self):
        chosen = parse_columns("pressure=CO2, kt,driver=GDP, constant prices")
        assert chosen == {"pressure": "CO2, kt", "driver": "GDP, constant prices"}
        with pytest.raises(PlainTableError, match="names driver twice"):
            parse_columns("driver=a,driver=b")

    def test_what_is_small_is_told_digit_by_digit(self):
        (item,) = compare_rows(table("period,pressure,driver\n2024,0.000000000004,1\n2025,0.000000000002,2\n")).items
        assert (item.pressure, item.state) == (Decimal("0.000000000002"), "absolute")

    def test_prices_are_deflated_by_the_table_s_own_index(self):
        text = "period,pressure,driver,price_year,price_index\n2024,10,100,2024,100\n2025,11,110,2025,110\n"
        (item,) = compare_rows(table(text)).items
        assert (str(item.driver), str(item.driver_growth), item.reason) == ("100", "0", "driver_did_not_grow")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("period,pressure,driver,price_year\n2024,1,1,2024\n2025,1,2,2025\n", "add a column price_index"),
            ("period,pressure,driver,price_index\n2024,1,1,\n2025,1,2,100\n", "no price_index for 2024"),
            ("period,pressure,driver,unit\n2024,1,1,kg\n2025,1,2,DKK\n", "in kg in 2024 and in DKK in 2025"),
        ],
    )
    def test_what_can_t_be_compared_is_told(self, text, reason):
        (item,) = compare_rows(table(text)).items
        assert item.state == "not_assessable"
        assert reason in (item.reason or "")
        assert item.reason_da

    def test_edges_are_told(self):
        (item,) = compare_rows(table("period,pressure,driver\n2024,0,5\n2025,3,5\n")).items
        assert [remark.case for remark in item.remarks] == ["no_base_pressure", "driver_unchanged"]
        assert item.sentence == "There was no pressure in the base period, so no growth can be told."

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a,b\n1,2\n", "t.csv:1: there is no column 'period'"),
            ("period,pressure,driver\n2024,1,1\n", "a single row"),
            ("period,pressure,driver\n2024,1,1\n2024,1,1\n", "t.csv:3: 2024 stands in t.csv:2 already"),
            ("period,pressure,driver\n2024,1,1\n,1,1\n", "t.csv:3: period is empty"),
            ("period,pressure,driver\n2024,1,1\n2025,,1\n", "t.csv:3: pressure is empty"),
            ("period,pressure,driver\n2024,1,1\n2025,many,1\n", "t.csv:3: pressure: 'many' is not a number"),
            ("period,pressure,driver,price_year\n2024,1,1,2024.5\n2025,1,1,2024\n", "is no year"),
            ("period,pressure,driver,price_index\n2024,1,1,0\n2025,1,1,1\n", "not above zero"),
        ],
    )
    def test_bad_rows_are_told_by_file_and_line(self, text, words):
        with pytest.raises(PlainTableError, match=words):
            compare_rows(table(text))

    def test_bad_names(self):
        with pytest.raises(PlainTableError, match="no row is of 2001"):
            compare_rows(table(DENMARK), base="2001")
        with pytest.raises(PlainTableError, match="names no column"):
            parse_columns("presure=x")
