"""Plain tables: every way that people save them, and every fault by file and line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from api.tables.numerals import MarkError, decimal_mark, parse_numeral
from api.tables.plain import PlainTable, PlainTableError, read_plain_file, read_plain_table

TEXTS = {"period": ("periode", "år")}


def read(text: str | bytes) -> PlainTable:
    data = text if isinstance(text, bytes) else text.encode()
    return read_plain_table(data, name="t.csv", texts=TEXTS, numbers={"pressure": ("belastning",)})


def columns(table: PlainTable) -> list[list[Decimal | None]]:
    return [[row.numbers[name] for row in table.rows] for name in table.numbers]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("period,pressure\n2024,1.5\n2025,2\n", ["1.5", "2"]),
        ("År;Belastning\n2024;1,5\n2025;2\n", ["1.5", "2"]),
        ("År;Belastning\n2024;1.234,5\n2025;1.234\n", ["1234.5", "1234"]),
        ("år\tbelastning\r\n2024\t1 234\r\n2025\t2,5\r\n", ["1234", "2.5"]),
        ('period,pressure\n2024,"1,234"\n2025,"1,234.5"\n', ["1234", "1234.5"]),
        ('period,pressure\n2024,"1,5"\n2025,"2,25"\n', ["1.5", "2.25"]),
        ("period;pressure\n2024;1,234\n2025;2\n", ["1.234", "2"]),
        ("period;pressure\n2024;81921.06\n2025;75981.92\n", ["81921.06", "75981.92"]),
        ("period,pressure\n2024,-3e2\n2025,+.5\n", ["-300", "0.5"]),
        ("period;pressure\n2024;−3\n2025;1'234'567\n", ["-3", "1234567"]),
        ("\ufeffperiod,pressure\n\n2024,0.123\n , \n2025,4.\n", ["0.123", "4"]),
    ],
)
def test_numbers_as_people_write_them(text, values):
    assert columns(read(text)) == [[Decimal(value) for value in values]]


def test_utf_16_as_spreadsheets_write_it():
    assert columns(read("År\tpressure\n2024\t1,5\n".encode("utf-16"))) == [[Decimal("1.5")]]


def test_columns_keep_their_names_and_order():
    table = read("Intensity  of use;PERIODE;Belastning\n1;2024;2\n")
    assert (table.texts, table.numbers) == (("period",), ("Intensity of use", "pressure"))
    assert table.rows[0].texts == {"period": "2024"}
    assert table.rows[0].place == "t.csv:2"


def test_an_empty_cell_is_missing_and_not_zero():
    row = read("period,pressure,x\n2024,,1\n").rows[0]
    assert row.numbers["pressure"] is None
    with pytest.raises(PlainTableError, match=r"t\.csv:2: pressure is empty"):
        row.number("pressure")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv is empty"),
        ("period,pressure\n", "a header and no rows"),
        ("period,pressure\n2024,1,2\n", r"t\.csv:2: 3 cells under 2 columns"),
        ("period,pressure\n2024,1\n2025,12 kg\n", r"t\.csv:3: pressure: '12 kg' is not a number"),
        ("period,pressure\n2024,nan\n", "'nan' is not a number"),
        ("period,pressure\n2024,1e99\n", "beyond all measure"),
        ("period,pressure\n2024,1e-99\n", "beyond all measure"),
        ("period,Pressure,belastning\n2024,1,2\n", "'pressure' stands twice"),
        ("period,,pressure\n2024,1,2\n", r"t\.csv:1: column 2 has no name"),
        ('period,pressure\n2024,"1\n', "not CSV"),
        ("period;pressure\n2024;1.234\n2025;2\n", "may have a decimal mark or one between thousands"),
        ('period,pressure\n2024,"1,234"\n', "may have a decimal mark or one between thousands"),
        ('period,pressure\n2024,"1,5"\n2025,1.5\n', "1.5 has a decimal point and 1,5 a decimal comma"),
        ("period,pressure\n2024,1\0\n", "NUL"),
        ("period,køb\n2024,1\n".encode("cp1252"), "not UTF-8 at byte 8"),
    ],
)
def test_faults_are_told_by_file_and_line(text, message):
    with pytest.raises(PlainTableError, match=message):
        read(text)


def test_every_bad_row_is_told_up_to_twenty():
    rows = "".join(f"{2000 + i},x\n" for i in range(30))
    with pytest.raises(PlainTableError) as caught:
        read("period,pressure\n" + rows)
    assert len(caught.value.problems) == 30
    assert str(caught.value).splitlines()[-1] == "and 10 more like these"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PlainTableError, match="can't be read: No such file"):
        read_plain_file(tmp_path / "none.csv", texts=TEXTS)
    with pytest.raises(PlainTableError, match="can't be read: Is a directory"):
        read_plain_file(tmp_path, texts=TEXTS)


class TestDecimalMark:
    def test_one_cell_decides_for_its_neighbours(self):
        assert decimal_mark(["1.234", "5,6"], own=None) == ","
        assert parse_numeral("1.234", ",") == 1234
        assert decimal_mark(["1.234", "5.67"], own=None) == "."
        assert parse_numeral("1.234", ".") == Decimal("1.234")

    def test_what_is_no_number_decides_nothing(self):
        assert decimal_mark(["1.2.3", "a,b"], own=None) == "."

    def test_both_ways_in_one_file(self):
        with pytest.raises(MarkError, match="may have a decimal mark"):
            decimal_mark(["2,345", "1.234"], own=",")


class TestColumnsAskedFor:
    def read(self, text: str, **chosen: str) -> PlainTable:
        names = {"pressure": ("energy", "co2"), "driver": ("gdp", "revenue")}
        return read_plain_table(text.encode(), name="t.csv", texts={"period": ("year",)}, numbers=names, chosen=chosen)

    @pytest.mark.parametrize(
        "header",
        ["Year,CO2 (kt),GDP [mio. DKK]", "year,energy_kwh,revenue_dkk", "PERIOD,Pressure (TJ),driver"],
    )
    def test_a_unit_may_stand_behind_a_name(self, header):
        assert self.read(f"{header}\n2020,1,2\n").numbers == ("pressure", "driver")

    def test_other_columns_are_not_read_and_told(self):
        table = self.read("year,note,energy,n,gdp\n2020,hello,1,1.234.5,2\n")
        assert (table.numbers, table.unused) == (("pressure", "driver"), ("note", "n"))

    def test_the_name_itself_goes_before_other_spellings(self):
        table = self.read("year,energy,pressure,gdp\n2020,1,5,2\n")
        assert table.rows[0].number("pressure") == 5
        assert table.unused == ("energy",)

    def test_of_two_spellings_one_has_to_be_chosen(self):
        text = "year,energy,co2 (t),gdp\n2020,1,5,2\n"
        with pytest.raises(PlainTableError, match=r"as 'energy' and 'co2 \(t\)'.*--columns pressure=co2 \(t\)"):
            self.read(text)
        assert self.read(text, pressure="CO2").rows[0].numbers["pressure"] == 5
        # Also against the name itself, and for another column than it is usually.
        table = self.read("year,energy,pressure,gdp\n2020,1,5,2\n", driver="pressure")
        assert table.rows[0].numbers == {"pressure": 1, "driver": 5}

    def test_a_chosen_column_that_is_not_there(self):
        with pytest.raises(PlainTableError, match="there is no column 'x' for pressure; there are: year, energy, gdp"):
            self.read("year,energy,gdp\n2020,1,2\n", pressure="x")
        with pytest.raises(PlainTableError, match="'energy' can't be both pressure and driver"):
            self.read("year,energy,gdp\n2020,1,2\n", pressure="energy", driver="energy")


def test_empty_columns_at_the_right_are_none():
    assert columns(read("period;pressure;;\n2024;1;;\n2025;2\n;;;\n")) == [[Decimal(1), Decimal(2)]]
    with pytest.raises(PlainTableError, match="column 3 has no name"):
        read("period;pressure;\n2024;1;7\n2025;2;\n")


def test_a_column_of_words_is_told_once():
    with pytest.raises(PlainTableError) as caught:
        read("period,pressure,note\n2024,1,good\n2025,2,bad\n")
    assert caught.value.problems == [
        "t.csv:1: column 'note' holds words and no number; leave it out, or head it as what it is: period"
    ]
