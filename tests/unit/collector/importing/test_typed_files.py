"""Files with typed columns come to the same as row by row, whatever types they use."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from collector.errors import ImportRefusedError
from edge.measurement_files import read_measurements
from schemas.mapping import Mapping
from tests.unit.collector.importing.reading import read_columns

AT = [datetime(2026, 10, 25, 0, 30) + timedelta(minutes=30 * i) for i in range(6)]  # noqa: DTZ001 - as on the wall
VALUES = [1.5, 2.0, None, 4.25, 5.0, 6.0]


def mapping(**changes: object) -> Mapping:
    when: dict[str, object] = {
        "column": "t",
        "format": "%Y-%m-%d %H:%M",
        "zone": "Europe/Copenhagen",
        "label": "interval_end",
    }
    when |= {name.removeprefix("time_"): value for name, value in changes.items() if name.startswith("time_")}
    meter = {"meter": "main", "column": "use", "resource": "energy", "unit": "kWh", "kind": "counter"}
    whole = {"name": "mine", "description": "d", "match": ["t"], "time": when, "meters": [meter]}
    return Mapping.model_validate(whole | {n: v for n, v in changes.items() if not n.startswith("time_")})


def check(path: Path, how: Mapping) -> int:
    """Both ways of reading agree; how many readings there are."""
    found, converter = read_columns(path, how, 4)
    slow = read_measurements(path, how)
    assert Counter(found) == Counter((r.meter, r.at_ms, r.value, r.unit) for r in slow.readings)
    assert converter.findings.left_out + converter.findings.blank == slow.report.skipped
    assert converter.findings.ambiguous == slow.report.ambiguous
    return len(found)


TIMES: dict[str, Any] = {
    "seconds": pa.array(AT, pa.timestamp("s")),
    "microseconds": pa.array(AT, pa.timestamp("us")),
    "nanoseconds": pa.array(AT, pa.timestamp("ns")),
    "with a zone": pa.array([at.replace(tzinfo=UTC) for at in AT], pa.timestamp("ms", tz="UTC")),
    "with a clock": pa.array([at.replace(tzinfo=UTC) for at in AT], pa.timestamp("us", tz="America/New_York")),
    "text": pa.array([f"{at:%Y-%m-%d %H:%M}" for at in AT]),
    "large text": pa.array([f"{at:%Y-%m-%d %H:%M}" for at in AT], pa.large_string()),
    "dictionary": pa.array([f"{at:%Y-%m-%d %H:%M}" for at in AT]).dictionary_encode(),
    "nulls": pa.array([None, *AT[1:]], pa.timestamp("us")),
    "days": pa.array([date(2026, 10, 20 + i) for i in range(6)]),
}
NUMBERS: dict[str, Any] = {
    "float": pa.array(VALUES, pa.float64()),
    "single": pa.array(VALUES, pa.float32()),
    "not a number": pa.array([1.0, float("nan"), float("inf"), 4.0, 5.0, 6.0]),
    "whole": pa.array([1, 2, None, 2**62, 5, 6], pa.int64()),
    "unsigned": pa.array([1, 2, None, 4, 5, 2**64 - 1], pa.uint64()),
    "decimal": pa.array([None if v is None else Decimal(str(v)) for v in VALUES], pa.decimal128(9, 2)),
    "text": pa.array(["1.5", " 2 ", None, "n/a", "", "6e3"]),
    "dictionary": pa.array(["1.5", "2", None, "2", "x", "2"]).dictionary_encode(),
    "truth": pa.array([True, False, None, True, True, True]),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_any_type(tmp_path: Path, kind: str) -> None:
    table = pa.table({"t": TIMES[kind], "use": NUMBERS["float"]})
    pq.write_table(table, tmp_path / "x.parquet")
    count = check(tmp_path / "x.parquet", mapping())
    assert count == (4 if kind == "nulls" else 5)
    pyarrow.feather.write_feather(table, tmp_path / "x.feather")
    assert (
        read_columns(tmp_path / "x.feather", mapping(), 4)[0] == read_columns(tmp_path / "x.parquet", mapping(), 9)[0]
    )


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind != "truth"])
def test_numbers_of_any_type(tmp_path: Path, kind: str) -> None:
    pq.write_table(pa.table({"t": TIMES["seconds"], "use": NUMBERS[kind]}), tmp_path / "x.parquet")
    assert check(tmp_path / "x.parquet", mapping()) > 0


def test_true_is_no_number(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": TIMES["seconds"], "use": NUMBERS["truth"]}), tmp_path / "x.parquet")
    found, converter = read_columns(tmp_path / "x.parquet", mapping(), 4)
    assert (found, converter.findings.blank) == ([], 6)


def test_a_date_and_a_time_of_day(tmp_path: Path) -> None:
    columns = {"d": [at.date() for at in AT], "h": [time(at.hour, at.minute) for at in AT], "use": VALUES}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert (
        check(tmp_path / "x.parquet", mapping(match=["d"], time_column=["d", "h"], time_format="%Y-%m-%d %H:%M:%S"))
        == 5
    )


def test_instants_far_from_any_clock_are_left_out(tmp_path: Path) -> None:
    far = pa.array([-(2**62), 2**62, 0, 10**9, 253402300799 + 10**9, 4], pa.int64()).cast(pa.timestamp("s"))
    pyarrow.feather.write_feather(pa.table({"t": far, "use": [1.0] * 6}), tmp_path / "x.feather")
    found, converter = read_columns(tmp_path / "x.feather", mapping(time_zone="UTC"), 4)
    assert [at for _, at, _, _ in found] == [0, 10**12, 4000]
    assert converter.findings.left_out == 3


@pytest.mark.parametrize(
    ("column", "cells", "words"),
    [
        ("use", pa.array([[1.0]]), "is of type list<element: double>, which holds no numbers"),
        ("use", pa.array([{"a": 1}]), "holds no numbers"),
        ("use", pa.array([AT[0]]), "holds no numbers"),
        ("t", pa.array([True]), "is of type bool, which holds no times"),
        ("t", pa.array([timedelta(1)]), "holds no times"),
    ],
    ids=["list", "struct", "time", "truth", "span"],
)
def test_columns_that_hold_something_else(tmp_path: Path, column: str, cells: pa.Array, words: str) -> None:
    columns = {"t": pa.array([AT[0]]), "use": pa.array([1.0])} | {column: cells}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ImportRefusedError, match=words):
        read_columns(tmp_path / "x.parquet", mapping(), 4)


class TestText:
    def test_encodings_line_ends_and_quotes(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        text = (
            't;"Måler, kWh";note\r\n2026-06-01 00:15;"1,5";"two\r\nlines"\r\n\r\n2026-06-01 00:30;2,5;"a ""b"" c"\r\n'
        )
        meter = {"meter": "main", "column": "Måler, kWh", "resource": "energy", "unit": "kWh", "kind": "counter"}
        for encoding in ("utf-8", "utf-8-sig", "cp1252", "iso-8859-1", "utf-16"):
            path.write_bytes(text.encode(encoding))
            how = mapping(meters=[meter], decimal=",", encoding="utf-8" if encoding == "utf-8-sig" else encoding)
            assert check(path, how) == 2, encoding

    def test_lines_above_the_header(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text("Export; of hall 1\n\nt;use\n2026-06-01 00:15;1\n2026-06-01 00:30;x\n")
        how = mapping(header_line=3)
        assert check(path, how) == 1
        _, converter = read_columns(path, how, 4)
        assert [one.row for one in converter.findings.listed] == [5]

    def test_both_forms_of_a_day_are_not_guessed(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text("t,use\n2024-02-29 00:15,1\n29/02/2024 00:30,2\n2023-02-29 00:45,3\n")
        assert check(path, mapping()) == 1

    def test_unix_times(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text("t,use\n1780272000,1\n1780272000.5,2\n1e999999999,3\n-1,4\n")
        assert check(path, mapping(time_format="unix_s")) == 3

    def test_a_row_longer_than_a_block(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text(f"t,use,note\n2026-06-01 00:15,1,{'x' * 3_000_000}\n")
        with pytest.raises(ImportRefusedError, match="longer than any should be"):
            read_columns(path, mapping(), 4)
