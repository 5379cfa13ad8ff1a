"""Files of factors: tables of constant ones, and hours of the Danish grid."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from api.factors.files import COLUMNS, FactorFileError, read_factor_file, shipped_factors
from api.factors.grid_files import GridChoice
from api.indicators.carbon import HOUR_MS
from schemas.carriers import FactorBasis, Gas, Scope

NOW = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
HEADER = "key,carrier,scope,basis,area,value,unit,gas,from,to,source,licence,remark\n"
GAS = "gas,natural_gas,,,,0.204,kg/kWh,CO2,2025-01-01,,Danish Energy Agency,free,\n"
GRID = "grid-dk1,electricity,,location,DK1,81,g/kWh,CO2e,2025-01-01,2026-01-01,somebody,free,a remark\n"


def read(text: str | bytes, **choice):
    data = text if isinstance(text, bytes) else text.encode()
    return read_factor_file(data, name="f.csv", choice=GridChoice(**{"now": NOW, **choice}))


def refused(text: str | bytes, **choice) -> str:
    with pytest.raises(FactorFileError) as error:
        read(text, **choice)
    return str(error.value)


def five_minutes(start="2025-03-30 00:00", count=24, areas=("DK1",), value="100", delimiter=";") -> str:
    first = datetime.fromisoformat(start)
    rows = [delimiter.join(["Minutes5UTC", "Minutes5DK", "PriceArea", "CO2Emission"])]
    rows += [
        delimiter.join([f"{first + i * timedelta(minutes=5):%Y-%m-%d %H:%M}", "whatever", area, value])
        for i in range(count)
        for area in areas
    ]
    return "\n".join(rows) + "\n"


def hours_of(file) -> dict[str, dict[str, float]]:
    return {
        series.area: {
            f"{datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC):%d %H}": value for hour, value in series.hours.items()
        }
        for series in file.grid.series
    }


class TestConstants:
    def test_header_of_the_docs(self):
        assert ",".join(COLUMNS) + "\n" == HEADER

    def test_a_row_is_a_factor(self):
        gas, grid = read(HEADER + GAS + GRID).factors
        assert (gas.true_scope, gas.basis, gas.area, gas.end) == (Scope.SCOPE_1, None, None, None)
        assert (grid.true_scope, grid.basis, grid.gas) == (Scope.SCOPE_2, FactorBasis.LOCATION, Gas.CO2E)
        assert grid.columns()["value"] == Decimal("0.081")
        assert grid.columns()["unit"] == "kWh"
        assert (grid.start, grid.end, grid.remark) == (date(2025, 1, 1), date(2026, 1, 1), "a remark")

    def test_as_a_danish_spreadsheet_saves_it(self):
        text = (HEADER + GAS).replace(",", ";").replace("0.204", "0,204").replace("\n", "\r\n")
        (gas,) = read(b"\xef\xbb\xbf" + text.encode()).factors
        assert gas.value == Decimal("0.204")

    @pytest.mark.parametrize(
        ("unit", "value"),
        [("kg/kWh", "1"), ("g/kWh", "1000"), ("kg/MWh", "1000"), ("t/MWh", "1"), ("kg/GJ", "277.7777777777778")],
    )
    def test_units_change_nothing(self, unit, value):
        (factor,) = read(HEADER + GAS.replace("0.204", value).replace("kg/kWh", unit)).factors
        assert factor.kg_per_unit == pytest.approx(Decimal(1), abs=Decimal("1e-12"))

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("0.204", "-0.204", "f.csv:2: value"),
            ("0.204", "204", "more than any carrier has"),
            ("0.204", "nan", "f.csv:2: value"),
            ("0.204", "1e400", "f.csv:2: value"),
            ("0.204", "", "value: this is missing"),
            ("kg/kWh", "kg/l", "divide by its heating value"),
            ("CO2", "H2O", "f.csv:2: gas"),
            ("2025-01-01", "01-01-2025", "f.csv:2: from"),
            ("2025-01-01,", "2025-01-01,2025-01-01", "must be after"),
            ("natural_gas", "wood", "say the scope"),
            ("natural_gas,", "natural_gas,scope_2", "is of scope_1"),
            ("natural_gas,,", "natural_gas,,location", "no basis"),
            ("natural_gas,,", "electricity,,", "a basis: location, market, residual_mix"),
            ("gas,n", "GAS GAS,n", "f.csv:2: key"),
            (",,,,", ",,,dk1,", "f.csv:2: area"),
            ("free,\n", "free\n", "12 cells under 13 columns"),
            ("free,", "free,\x01", "can't be shown"),
        ],
    )
    def test_bad_rows_are_told_by_file_and_line(self, old, new, words):
        assert old in GAS
        told = refused(HEADER + GAS.replace(old, new, 1))
        assert words in told
        assert told.endswith("nothing was stored")

    def test_all_bad_rows_are_told_but_no_flood_of_them(self):
        text = HEADER + "".join(GAS.replace("gas,n", f"gas-{i},n").replace("CO2", "X") for i in range(100))
        told = refused(text).splitlines()
        assert told[19].startswith("f.csv:21: gas")
        assert told[20:] == ["and 80 more like these", "nothing was stored"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "no rows"),
            ("\n\n\n", "no rows"),
            (HEADER, "no rows"),
            (HEADER + GAS + GAS, "f.csv:3: the key gas stands at f.csv:2 already"),
            ("a;b\n1;2\n", "neither a table of factors"),
            (HEADER.replace("remark", "key") + GAS, "stands twice"),
            (HEADER.replace("remark", "colour") + GAS.replace("free,", "free,red"), "colour: there is no such setting"),
            (HEADER + '"gas,natural', "not CSV"),
            (HEADER + "x" * 200_000, "not CSV"),
            (GAS.encode("utf-16"), "UTF-8"),
            (HEADER + "a\0b", "NUL"),
            ("{", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ('{"records": 5}', "records"),
            ("[1, 2]", "records"),
            ('{"records": []}', "no rows"),
            ("9" * 5000, "no rows"),
        ],
    )
    def test_files_that_are_none(self, text, words):
        assert words in refused(text)


class TestGrid:
    def test_5_minute_values_become_the_mean_of_the_hour(self):
        text = five_minutes(count=12).replace("00:55;whatever;DK1;100", "00:55;whatever;DK1;220,0")
        file = read(text)
        assert hours_of(file) == {"DK1": {"30 00": pytest.approx(0.110)}}
        assert (file.rows, file.grid.hours, file.grid.hours_incomplete) == (12, 1, 0)

    def test_incomplete_hours_are_not_taken(self):
        file = read(five_minutes(count=35))
        assert list(hours_of(file)["DK1"]) == ["30 00", "30 01"]
        assert (file.grid.hours, file.grid.hours_incomplete) == (2, 1)

    @pytest.mark.parametrize("cell", ["", "-3"])
    def test_an_empty_or_negative_value_makes_its_hour_incomplete(self, cell):
        file = read(five_minutes().replace("00:55;whatever;DK1;100", f"00:55;whatever;DK1;{cell}"))
        assert (list(hours_of(file)["DK1"]), file.grid.hours_incomplete) == (["30 01"], 1)

    def test_order_of_rows_and_repeated_rows_change_nothing(self):
        header, *rows = five_minutes().splitlines()
        rows = [row.replace(";100", f";{i * 0.1:.1f}") for i, row in enumerate(rows)]
        there, back = ("\n".join([header, *order]) for order in (rows, [*reversed(rows), *rows]))
        assert hours_of(read(there)) == hours_of(read(back))

    def test_two_values_for_one_time_are_refused_with_both_lines(self):
        text = five_minutes() + "2025-03-30 00:00;whatever;DK1;101\n"
        assert "f.csv:26: another value for the same time and area than f.csv:2" in refused(text)

    def test_other_areas_are_left_out_and_counted(self):
        text = five_minutes(areas=("DK1", "SE3", "DK2"))
        file = read(text)
        assert (sorted(hours_of(file)), file.grid.rows_of_other_areas) == (["DK1", "DK2"], 24)
        assert list(hours_of(read(text, areas=("SE3",)))) == ["SE3"]
        assert "the file has 'DK1', 'DK2', 'SE3'" in refused(text, areas=("NO2",))
        assert "'dk1' is no area of the grid" in refused(text, areas=("dk1",))

    def test_change_of_clocks_is_nothing_special_in_utc(self):
        for day in ("2025-03-30 00:00", "2025-10-26 00:00"):
            assert len(hours_of(read(five_minutes(day, count=12 * 4)))["DK1"]) == 4

    def test_a_series_a_month(self):
        file = read(five_minutes("2025-03-31 23:00"))
        assert [series.key for series in file.grid.series] == ["co2emis-dk1-2025-03", "co2emis-dk1-2025-04"]
        assert file.grid.series[1].columns()["from_date"] == date(2025, 4, 1)
        assert file.grid.series[1].columns()["to_date"] == date(2025, 4, 2)

    def test_json_as_the_service_gives_it(self):
        records = [
            {"Minutes5UTC": f"2025-03-30T00:{i:02}:00", "Minutes5DK": "x", "PriceArea": "DK2", "CO2Emission": 50.0}
            for i in range(0, 60, 5)
        ]
        text = json.dumps({"total": 12, "limit": 0, "dataset": "CO2Emis", "records": records})
        assert hours_of(read(text)) == {"DK2": {"30 00": 0.05}}
        assert "prognosis" in refused(text.replace("CO2Emis", "CO2EmisProg", 1))
        records[3]["CO2Emission"] = None
        assert "no hour in the file is complete" in refused(json.dumps(records))

    def test_hourly_declarations_take_one_method(self):
        header = "HourUTC;HourDK;PriceArea;FuelAllocationMethod;CO2originPerkWh;CO2PerkWh\n"
        row = "2025-03-30 01:00;2025-03-30 03:00;DK1;{};1;{}\n"
        text = header + row.format("125%", "97,5") + row.format("200%", "120")
        file = read(text)
        assert hours_of(file) == {"DK1": {"30 01": 0.0975}}
        assert file.grid.rows_of_other_methods == 1
        (series,) = read(text, method="200%").grid.series
        assert (series.key, series.remark) == ("declaration-200-dk1-2025-03", "FuelAllocationMethod 200%")
        assert "the file has '125%', '200%'" in refused(text, method="40%")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("2025-03-30 00:05", "30-03-2025 00:05", "f.csv:3: '30-03-2025 00:05' is no time"),
            ("2025-03-30 00:05", "2025-02-30 00:05", "not in the calendar"),
            ("2025-03-30 00:05", "2025-03-30 00:07", "not on a full 5 minutes"),
            ("2025-03-30 00:05", "2025-03-30 00:05+02:00", "is no time"),
            ("2025-03-30 00:05", "2026-03-30 00:05", "a prognosis is no factor"),
            ("2025-03-30 00:05", "1925-03-30 00:05", "before 1970"),
            ("00:05;whatever;DK1;100", "00:05;whatever;DK1;a lot", "f.csv:3: 'a lot' is no number"),
            ("00:05;whatever;DK1;100", "00:05;whatever;DK1;1.000,5", "is no number"),
            ("00:05;whatever;DK1;100", "00:05;whatever;DK1;NaN", "is no number"),
            ("00:05;whatever;DK1;100", "00:05;whatever;DK1;1e999", "more than any power plant's"),
            ("00:05;whatever;DK1;100", "00:05;whatever;DK1;100;5", "5 cells under 4 columns"),
            ("Minutes5UTC", "Minutes5", "no column minutes5utc"),
        ],
    )
    def test_hostile_rows(self, old, new, words):
        text = five_minutes()
        assert old in text
        assert words in refused(text.replace(old, new, 1))

    def test_a_comma_between_and_a_point_within(self):
        assert hours_of(read(five_minutes(count=12, delimiter=",", value="100.5")))["DK1"]["30 00"] == 0.1005
        assert hours_of(read(five_minutes(count=12, delimiter=",", value='"100,5"')))["DK1"]["30 00"] == 0.1005


def test_the_table_of_the_docs_can_be_read():
    page = (Path(__file__).parents[3] / "docs" / "factors.md").read_text("utf-8")
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    assert [(factor.key, factor.kg_per_unit) for factor in read(table).factors] == [
        ("grid-dk1-2025", Decimal("0.0815")),
        ("contract-2025", Decimal(0)),
        ("gas", Decimal("0.2034")),
    ]


def test_what_is_shipped_says_where_it_comes_from():
    shipped = shipped_factors()
    assert {factor.licence for factor in shipped} == {"Open Government Licence v3.0"}
    assert {factor.key: factor.kg_per_unit for factor in shipped} == {
        "uk-grid-2024": Decimal("0.20705"),
        "uk-grid-2025": Decimal("0.17700"),
    }
