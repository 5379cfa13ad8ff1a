"""History read whole columns at a time comes to the same readings as read row by row, whatever the file is like."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.measurement_files import read_measurements
from schemas.mapping import Mapping, MappingError
from tests.unit.collector.importing.reading import read_columns

ZONES = (
    "Europe/Copenhagen",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Seoul",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
)
FORMATS = (
    "%Y-%m-%d %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d.%m.%y %H.%M",
    "%m/%d/%Y %H:%M:%S.%f",
    "%Y%m%d%H%M",
    "%d %b %Y %I:%M %p",
    "%Y-%m-%dT%H:%M%z",
    "iso",
    "unix_s",
    "unix_ms",
)
STEPS_MIN = (1, 5, 15, 30, 60)
METERS = ("power", "water", "gas")
NUMBERS = ("1", "-2.5", "1e3", "+4", " 7 ", ".5", "5.", "", "n/a", "nan", "inf", "1_000", "1,5", "1.234,5", "1e400")
ODD_TIMES = ("", "yesterday", "31/02/2026 10:00", "2026-02-30 10:00", "2026-06-01T24:00", "99999999999999999999")


def _changes(zone: str) -> list[datetime]:
    """The instants at which this zone's clock was changed from 2024 to 2027."""
    own = ZoneInfo(zone)
    hours = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=h) for h in range(3 * 8766)]
    offsets = [hour.astimezone(own).utcoffset() for hour in hours]
    return [hours[i] for i in range(1, len(hours)) if offsets[i] != offsets[i - 1]]


MIDDLE = {zone: [*_changes(zone), datetime(2026, 6, 1, tzinfo=UTC)] for zone in ZONES}


@dataclass(frozen=True)
class Sample:
    mapping: Mapping
    header: list[str]
    rows: list[list[str]]
    delimiter: str
    pieces: int


def write_time(at: datetime, form: str) -> str:
    if form == "iso":
        return at.isoformat(" ")
    if form in {"unix_s", "unix_ms"}:
        ms = round(at.timestamp() * 1000)
        return str(ms) if form == "unix_ms" else str(ms // 1000)
    return at.strftime(form)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    zone = draw(st.sampled_from(ZONES))
    form = draw(st.sampled_from(FORMATS))
    label = draw(st.sampled_from(("interval_end", "interval_start")))
    midnight = draw(st.sampled_from(("start_of_day", "end_of_day")))
    decimal = draw(st.sampled_from((".", ",")))
    thousands = draw(st.sampled_from([None, *({".", ",", " "} - {decimal})]))
    is_long = draw(st.booleans())
    step = timedelta(minutes=draw(st.sampled_from(STEPS_MIN)))
    start = draw(st.sampled_from(MIDDLE[zone])) - step * draw(st.integers(0, 30))
    count = draw(st.integers(1, 60))
    has_zone = draw(st.integers(0, 5)) > 0
    local = [(start + step * i).astimezone(ZoneInfo(zone)) for i in range(count)]
    keeps_offset = "z" in form or form.startswith("unix") or (form == "iso" and not has_zone)
    shown = [write_time(at if keeps_offset else at.replace(tzinfo=None), form) for at in local]
    for i in draw(st.lists(st.integers(0, count - 1), max_size=3)):
        shown[i] = draw(st.sampled_from((*ODD_TIMES, *shown)))
    number = st.one_of(
        st.integers(-(10**6), 10**9).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda v: repr(v).replace(".", decimal)),
        st.sampled_from(NUMBERS),
    )
    kinds = {name: draw(st.sampled_from(("interval", "counter"))) for name in METERS}
    meters = [
        {"meter": name, "resource": "energy", "unit": "kWh", "kind": kind}
        | ({"interval": "15min"} if kind == "interval" else {})
        for name, kind in kinds.items()
    ]
    time = {"column": "when", "format": form, "zone": zone if has_zone else None, "label": label, "midnight": midnight}
    whole: dict[str, Any] = {"name": "mine", "description": "d", "match": ["when"], "time": time}
    whole |= {"decimal": decimal, "thousands": thousands}
    if is_long:
        tagged = [meter | {"tag": f"T/{meter['meter']}"} for meter in meters]
        whole |= {"long": {"meter": "tag", "value": "value", "unit": "unit", "meters": tagged}}
        header = ["tag", "when", "value", "unit", "note"]
        tag = st.sampled_from([*(f"T/{name}" for name in METERS), "T/other", ""])
        rows = [[draw(tag), when, draw(number), draw(st.sampled_from(["kWh", "", " kWh "])), "x"] for when in shown]
    else:
        whole |= {"meters": [meter | {"column": f"{meter['meter']} (kWh)"} for meter in meters]}
        header = ["when", "note", *(f"{name} (kWh)" for name in METERS)]
        rows = [[when, "x", *(draw(number) for _ in METERS)] for when in shown]
    order = draw(st.sampled_from(("forward", "backward", "mixed")))
    if order == "backward":
        rows.reverse()
    elif order == "mixed":
        for _ in range(3):
            i, j = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
            rows[i], rows[j] = rows[j], rows[i]
    if draw(st.booleans()):
        i = draw(st.integers(0, count - 1))
        rows[i] = rows[i][: draw(st.integers(1, len(header)))] + ["kWh"] * draw(st.integers(0, 1))
    return Sample(
        mapping=Mapping.model_validate(whole),
        header=header,
        rows=rows,
        delimiter=draw(st.sampled_from(";\t|")),
        pieces=draw(st.sampled_from((1, 2, 7, 50_000))),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(samples())
def test_columns_come_to_the_same_as_rows(sample: Sample) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=sample.delimiter).writerows([sample.header, *sample.rows])
        mapping = sample.mapping.model_copy(update={"delimiter": sample.delimiter})
        readings, converter = read_columns(path, mapping, sample.pieces)
        try:
            slow = read_measurements(path, mapping)
        except MappingError:
            assert readings == []
            return
    expected = [(r.meter, r.at_ms, r.value, r.unit) for r in slow.readings]
    assert Counter(readings) == Counter(expected)
    found = converter.findings
    assert found.ambiguous == slow.report.ambiguous
    assert found.moved_midnights == slow.report.moved_midnights
    # A row without anything in it says nothing, and one without time or value is told once by either.
    nothing = slow.report.rows - found.rows
    assert found.left_out + found.blank + sum(found.unwanted.values()) == slow.report.skipped - nothing
    if mapping.long:
        assert found.out_of_order == slow.report.out_of_order
