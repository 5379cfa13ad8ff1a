"""Files of measurements: recognised, read, and honest about what was odd."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge.measurement_files import read_measurements
from edge.measurements import convert
from schemas.configuration import ConfigurationError
from schemas.local_time import NonexistentTimeError, place
from schemas.mapping import Mapping, MappingError, load_mapping, recognise, shipped_mappings, template
from schemas.resources import MeterKind, Resource

STEEL = Path(__file__).parents[4] / "shared" / "data" / "steel_industry_2018.csv"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
QUARTER_MS = 900_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def mapping(**changes: object) -> Mapping:
    """A wide mapping of one meter; `time_x` changes x of its time, anything else the mapping itself."""
    meter = {"meter": "main", "column": "use", "resource": "energy", "unit": "kWh"}
    meter |= {"kind": "interval", "interval": "15min"}
    time: dict[str, object] = {"column": "t", "format": "%Y-%m-%d %H:%M"}
    time |= {"zone": "Europe/Copenhagen", "label": "interval_end"}
    time |= {name.removeprefix("time_"): value for name, value in changes.items() if name.startswith("time_")}
    whole = {"name": "mine", "description": "d", "match": ["t", "use"], "time": time, "meters": [meter]}
    return Mapping.model_validate(whole | {n: v for n, v in changes.items() if not n.startswith("time_")})


def rows(*labels: str) -> list[tuple[int, list[object]]]:
    return [(i, [label, str(i)]) for i, label in enumerate(labels, start=2)]


@pytest.mark.skipif(not STEEL.exists(), reason=f"the measured data is not here: {STEEL}")
class TestSteelWorks:
    def test_every_reading_is_there_once_and_in_order(self) -> None:
        found = read_measurements(STEEL)
        at = [reading.at_ms for reading in found.readings]
        assert found.mapping.name == "uci-steel"
        assert len(at) == 35_040
        assert {later - earlier for earlier, later in pairwise(at)} == {QUARTER_MS}
        assert round(sum(reading.value for reading in found.readings), 2) == 959_636.71
        # The first quarter of 2018 in Korea ends a quarter past midnight there.
        assert at[0] == ms("2018-01-01T00:15+09:00")
        assert at[-1] == ms("2019-01-01T00:00+09:00")

    def test_the_report_says_what_was_odd(self) -> None:
        report = read_measurements(STEEL).report
        assert (report.rows, report.readings, report.skipped, report.doubled) == (35_040, 35_040, 0, 0)
        assert (report.out_of_order, report.moved_midnights, report.ambiguous) == (365, 365, 0)
        assert any("365 rows labelled 0:00" in sentence for sentence in report.sentences())

    def test_the_meter_is_described(self) -> None:
        (meter,) = read_measurements(STEEL).meters
        assert (meter.meter, meter.resource, meter.carrier) == ("works-electricity", Resource.ENERGY, "electricity")
        assert (meter.unit, meter.kind, meter.interval) == ("kWh", MeterKind.INTERVAL, QUARTER_MS)


class TestLocalTime:
    def test_autumn_is_told_apart_by_the_order_of_rows(self) -> None:
        labels = ["01:45", "02:00", "02:15", "02:30", "02:45", "02:00", "02:15", "02:30", "02:45", "03:00"]
        found = convert(["t", "use"], rows(*(f"2026-10-25 {label}" for label in labels)), mapping())
        first = ms("2026-10-25T01:45+02:00")
        assert [reading.at_ms for reading in found.readings] == [first + i * QUARTER_MS for i in range(10)]
        assert [reading.value for reading in found.readings] == list(range(2, 12))
        assert (found.report.ambiguous, found.report.out_of_order, found.report.doubled) == (8, 0, 0)

    def test_a_file_that_runs_backwards_is_told_apart_too(self) -> None:
        labels = ["03:00", "02:30", "02:00", "02:30", "02:00", "01:30"]
        found = convert(["t", "use"], rows(*(f"2026-10-25 {label}" for label in labels)), mapping())
        first = ms("2026-10-25T01:30+02:00")
        assert [reading.at_ms for reading in found.readings] == [first + i * 2 * QUARTER_MS for i in range(6)]
        assert [reading.value for reading in found.readings] == [7, 6, 5, 4, 3, 2]

    def test_spring_has_no_half_past_two(self) -> None:
        labels = ["2026-03-29 01:45", "2026-03-29 02:00", "2026-03-29 02:30", "2026-03-29 03:15"]
        found = convert(["t", "use"], rows(*labels), mapping())
        # 02:00 as an end is the moment of the change itself.
        assert [reading.at_ms for reading in found.readings] == [
            ms("2026-03-29T00:45Z"),
            ms("2026-03-29T01:00Z"),
            ms("2026-03-29T01:15Z"),
        ]
        assert [(s.line, "put forward" in s.reason) for s in found.report.listed] == [(4, True)]

    @given(st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2037-01-01")))
    def test_every_instant_is_found_again_from_what_the_clock_showed(self, naive: datetime) -> None:
        at = naive.replace(tzinfo=UTC)
        shown = at.astimezone(COPENHAGEN)
        previous = at if shown.fold else None
        placed = place(shown.replace(tzinfo=None, fold=0), COPENHAGEN, previous=previous, ends_interval=False)
        assert placed.at == at
        assert placed.is_ambiguous == (shown.utcoffset() != shown.replace(fold=1 - shown.fold).utcoffset())

    def test_a_skipped_time_is_refused_for_a_register(self) -> None:
        with pytest.raises(NonexistentTimeError):
            place(datetime.fromisoformat("2026-03-29T02:00"), COPENHAGEN, previous=None, ends_interval=False)

    def test_start_labels_become_ends(self) -> None:
        found = convert(["t", "use"], rows("2026-06-01 00:00"), mapping(time_label="interval_start"))
        assert found.readings[0].at_ms == ms("2026-06-01T00:15+02:00")


class TestOddRows:
    def test_what_cannot_be_read_is_left_out_counted_and_named_by_line(self) -> None:
        table: list[tuple[int, list[object]]] = [
            (2, ["2026-06-01 00:15", "1,5"]),
            (3, ["01/06/2026", "2"]),
            (4, ["2026-06-01 00:30", ""]),
            (5, ["2026-06-01 00:45", "n/a"]),
            (6, ["2026-06-01 01:00"]),
            (7, ["2026-06-01 01:15", "1_000"]),
            (8, ["2026-06-01 01:30", "nan"]),
            (9, ["", "3"]),
            (10, ["2026-06-01 00:15", "9"]),
        ]
        found = convert(["t", "use"], table, mapping(decimal=","))
        assert [reading.value for reading in found.readings] == [1.5, 9]
        assert (found.report.rows, found.report.skipped, found.report.doubled) == (9, 7, 1)
        assert [skip.line for skip in found.report.listed] == [3, 4, 5, 6, 7, 8, 9]
        assert found.report.out_of_order == 1
        assert found.report.sentences()[-1] == "line 9: the row has no time"

    def test_times_without_offset_need_a_zone(self) -> None:
        found = convert(
            ["t", "use"], rows("2026-06-01T00:15", "2026-06-01T00:15Z"), mapping(time_format="iso", time_zone=None)
        )
        assert [reading.at_ms for reading in found.readings] == [ms("2026-06-01T00:15Z")]
        assert "no offset" in found.report.listed[0].reason


class TestPlainFiles:
    TEXT = """\
at;meter;value;unit;resource;kind;interval;carrier
2026-06-01T00:15:00+02:00;oven;1.5;kWh;energy;interval;15min;electricity
2026-06-01T00:15:00+02:00;water;880;m3;water;counter;;
2026-06-01T00:30:00+02:00;oven;2.5;kWh;;;;

2026-06-01T00:30:00+02:00;gas;3;kWh;;;;
2026-06-01T00:30:00+02:00;Oven 2;3;kWh;energy;counter;;
"""

    def test_meters_are_discovered(self, tmp_path: Path) -> None:
        path = tmp_path / "plain.csv"
        path.write_text(self.TEXT)
        found = read_measurements(path)
        assert found.mapping.name == "plain"
        assert {m.meter: (m.resource, m.kind, m.interval, m.carrier) for m in found.meters} == {
            "oven": (Resource.ENERGY, MeterKind.INTERVAL, QUARTER_MS, "electricity"),
            "water": (Resource.WATER, MeterKind.COUNTER, None, None),
        }
        assert [(reading.meter, reading.value) for reading in found.readings] == [
            ("oven", 1.5),
            ("water", 880),
            ("oven", 2.5),
        ]
        assert [skip.line for skip in found.report.listed] == [6, 7]
        assert "resource" in found.report.listed[0].reason

    def test_a_file_without_descriptions_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "plain.csv"
        path.write_text("at,meter,value,unit\n2026-06-01T00:15:00Z,oven,1,kWh\n")
        with pytest.raises(MappingError, match="lacks the columns resource, kind"):
            read_measurements(path)

    def test_parquet_with_typed_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "plain.parquet"
        at = datetime(2026, 6, 1, tzinfo=UTC)
        columns = {"at": [at, None], "meter": ["oven"] * 2, "value": [1.5, 2.0], "unit": ["kWh"] * 2}
        table = pa.table(columns | {"resource": ["energy"] * 2, "kind": ["counter"] * 2})
        pq.write_table(table, path)
        found = read_measurements(path)
        assert [(reading.at_ms, reading.value) for reading in found.readings] == [(ms("2026-06-01T00:00Z"), 1.5)]
        assert found.report.listed[0].line == 2

    def test_parquet_without_pyarrow_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr("edge.measurement_files.importlib.import_module", missing)
        with pytest.raises(MappingError, match="pip install pyarrow"):
            read_measurements(tmp_path / "plain.parquet")


class TestRecognising:
    def test_shipped_mappings_are_valid_and_told_apart(self) -> None:
        known = shipped_mappings()
        assert [m.name for m in known] == ["plain", "uci-steel"]
        for m in known:
            assert recognise([*m.match, "more"], known) is m
        assert recognise(["nothing"], known) is None
        with pytest.raises(MappingError, match="equally well"):
            recognise(["t", "use"], [mapping(), mapping(name="yours")])

    def test_an_unknown_file_comes_with_a_template_that_works(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("when,kwh\n2026-06-01 00:15,3\n")
        with pytest.raises(MappingError) as caught:
            read_measurements(path)
        words = str(caught.value)
        assert "when, kwh" in words
        assert "uci-steel: date" in words
        (tmp_path / "mine.yaml").write_text(words[words.index("name: my-file") :])
        found = read_measurements(path, load_mapping("mine.yaml", folder=tmp_path))
        assert found.readings[0].value == 3

    def test_one_s_own_mapping_is_checked(self, tmp_path: Path) -> None:
        text = yaml.safe_load(template(["t", "use"]))
        del text["time"]["label"]
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(text))
        with pytest.raises(ConfigurationError, match="interval_start or interval_end"):
            load_mapping("mine.yaml", folder=tmp_path)
        with pytest.raises(MappingError, match="known: plain, uci-steel"):
            load_mapping("yours", folder=tmp_path)
        with pytest.raises(MappingError, match="cannot be read"):
            load_mapping("none.yaml", folder=tmp_path)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"", "is empty"), (b"\xff\xfe\x00", "not utf-8"), (b't,use\n"1', "not a CSV"), (b"t,use\n", "no reading")],
    )
    def test_files_that_are_none(self, tmp_path: Path, content: bytes, words: str) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes(content)
        with pytest.raises(MappingError, match=words):
            read_measurements(path, mapping())
