"""From the rows of a file to readings in order of time, with a report of everything that was odd. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Mapped
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from edge.readings import Reading
from schemas.cells import parse_number, parse_time, text_of
from schemas.local_time import NonexistentTimeError, place
from schemas.mapping import Label, MappedMeter, Mapping, MappingError, Midnight
from schemas.resources import MeterKind
from schemas.wire import OfferedMeter

LISTED = 100
"""Skipped values that a report lists; it counts all."""

Row = tuple[int, Sequence[object]]
"""The line in the file, and the cells: text of a CSV file, typed values of a Parquet file."""

Instants = Mapped[str, datetime]
"""By meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A value that could not be read, and why. Missing is never zero: it is left out."""

    line: int
    reason: str


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found in a file. Instants are Unix milliseconds, UTC.

    `out_of_order`: rows whose time is before that of the row above. `moved_midnights`: rows labelled 0:00 that mean
    the end of their day. `ambiguous`: local times that the clock showed twice, told apart by the order of rows.
    `doubled`: readings of a meter at an instant that it has a reading for already; they are handed on, and the store
    tells a repetition from a conflict.
    """

    rows: int = 0
    readings: int = 0
    skipped: int = 0
    out_of_order: int = 0
    moved_midnights: int = 0
    ambiguous: int = 0
    doubled: int = 0
    first_at_ms: int | None = None
    last_at_ms: int | None = None
    listed: list[Skipped] = field(default_factory=list)

    def skip(self, line: int, reason: str) -> None:
        """Count a value that is left out, and list it while the list is short."""
        self.skipped += 1
        if len(self.listed) < LISTED:
            self.listed.append(Skipped(line=line, reason=reason))

    def sentences(self) -> list[str]:
        """The report in words, only what there is to say."""
        found = [f"{self.rows} rows gave {self.readings} readings"]
        if self.first_at_ms is not None and self.last_at_ms is not None:
            found[0] += f" from {_iso(self.first_at_ms)} to {_iso(self.last_at_ms)}"
        said = {
            "rows stand out of order; readings are sorted by time": self.out_of_order,
            "rows labelled 0:00 were taken as the end of their day": self.moved_midnights,
            "local times that the clock showed twice were told apart by the order of rows": self.ambiguous,
            "readings repeat an instant of the same meter": self.doubled,
            "values were left out": self.skipped,
        }
        found += [f"{count} {words}" for words, count in said.items() if count]
        found += [f"line {skip.line}: {skip.reason}" for skip in self.listed]
        if self.skipped > len(self.listed):
            found.append(f"… and {self.skipped - len(self.listed)} more")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """A file, read: its meters, its readings in order of time, and how that went."""

    mapping: Mapping
    meters: tuple[MappedMeter, ...]
    readings: tuple[Reading, ...]
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One value of a row, with the meter it is of."""

    line: int
    meter: MappedMeter
    unit: str
    label: datetime
    value: object


@dataclass(slots=True, kw_only=True)
class _Previous:
    """The row before, in a meter's own order of rows."""

    label: datetime
    at: datetime


def convert(
    header: Sequence[str], rows: Iterable[Row], mapping: Mapping, *, before: Instants | None = None
) -> Measurements:
    """All readings of the rows, sorted by time. The header must have the mapping's needed columns.

    `before`: the instant (UTC) of each meter's row ahead of these, where they are only a part of the file; it tells the
    two showings of a clock apart.
    """
    report = Report()
    meters: dict[str, MappedMeter] = {}
    cells = list(
        _long_cells(header, rows, mapping, meters, report)
        if mapping.long
        else _wide_cells(header, rows, mapping, meters, report)
    )
    previous = _previous(mapping, before or {})
    # The order of rows decides between two showings of a clock, so it must run with time.
    if _is_newest_first(cells, previous):
        cells.reverse()
        previous = {}
    readings = sorted(_readings(cells, mapping, report, previous), key=lambda reading: reading.at_ms)
    report.listed.sort(key=lambda skip: skip.line)
    report.readings = len(readings)
    report.doubled = len(readings) - len({(reading.meter, reading.at_ms) for reading in readings})
    if readings:
        report.first_at_ms, report.last_at_ms = readings[0].at_ms, readings[-1].at_ms
    return Measurements(mapping=mapping, meters=tuple(meters.values()), readings=tuple(readings), report=report)


def offer_of(meter: MappedMeter, *, driver: str) -> OfferedMeter:
    """A meter of a file, as an agent offers it."""
    return OfferedMeter(
        meter=meter.meter,
        resource=meter.resource,
        unit=meter.unit,
        kind=meter.kind,
        carrier=meter.carrier,
        driver=driver,
        cadence_ms=meter.interval if meter.kind is MeterKind.INTERVAL else None,
        interval_ms=meter.interval,
    )


def _wide_cells(
    header: Sequence[str], rows: Iterable[Row], mapping: Mapping, meters: dict[str, MappedMeter], report: Report
) -> Iterator[_Cell]:
    places = [(meter, header.index(meter.column)) for meter in mapping.meters]
    meters.update((meter.meter, meter) for meter in mapping.meters)
    for line, label, row in _labelled(header, rows, mapping, report):
        for meter, i in places:
            yield _Cell(line=line, meter=meter, unit=meter.unit, label=label, value=row[i] if i < len(row) else None)


def _long_cells(
    header: Sequence[str], rows: Iterable[Row], mapping: Mapping, meters: dict[str, MappedMeter], report: Report
) -> Iterator[_Cell]:
    columns = mapping.long
    assert columns is not None  # noqa: S101 - the caller has looked
    called: dict[str, MappedMeter] = {meter.called: meter for meter in columns.meters}
    for line, label, row in _labelled(header, rows, mapping, report):
        cells = {name: text_of(cell) for name, cell in zip(header, row, strict=False)}
        key, unit = cells.get(columns.meter) or "", cells.get(columns.unit) or ""
        meter = called.get(key)
        if meter is None:
            try:
                meter = columns.describe(cells)
            except MappingError as error:
                report.skip(line, str(error))
                continue
            called[key] = meter
        meters[meter.meter] = meter
        value = row[header.index(columns.value)] if header.index(columns.value) < len(row) else None
        yield _Cell(line=line, meter=meter, unit=unit or meter.unit, label=label, value=value)


def _labelled(
    header: Sequence[str], rows: Iterable[Row], mapping: Mapping, report: Report
) -> Iterator[tuple[int, datetime, Sequence[object]]]:
    """Line, time as it stands, and cells of each row that has a time."""
    columns = [header.index(name) for name in mapping.time.columns]
    for line, row in rows:
        report.rows += 1
        cells = [row[column] if column < len(row) else None for column in columns]
        told = cells[0] if len(cells) == 1 else " ".join(text_of(cell) or "" for cell in cells)
        try:
            label = parse_time(told, mapping.time.format)
        except ValueError as error:
            report.skip(line, str(error))
            continue
        yield line, label, row


def _previous(mapping: Mapping, before: Instants) -> dict[str, _Previous]:
    zone = ZoneInfo(mapping.time.zone) if mapping.time.zone else None
    return {
        meter: _Previous(label=at.astimezone(zone).replace(tzinfo=None) if zone else at, at=at)
        for meter, at in before.items()
    }


def _is_newest_first(cells: Sequence[_Cell], previous: Mapped[str, _Previous]) -> bool:
    if len(cells) < 2 or _naive(cells[0].label) <= _naive(cells[-1].label):
        return False
    # A few rows from a clock that was just put back look the same; what stands above them tells.
    return not previous or max(_naive(one.label) for one in previous.values()) > _naive(cells[0].label)


def _readings(
    cells: Sequence[_Cell], mapping: Mapping, report: Report, previous: dict[str, _Previous]
) -> Iterator[Reading]:
    zone = ZoneInfo(mapping.time.zone) if mapping.time.zone else None
    # Of a row with several meters the time is counted once.
    counted: set[int] = set()
    for cell in cells:
        last = previous.get(cell.meter.meter)
        label = cell.label
        ends_day = mapping.time.midnight is Midnight.END_OF_DAY and not any(
            (label.hour, label.minute, label.second, label.microsecond)
        )
        if ends_day:
            label += timedelta(days=1)
        try:
            at, is_ambiguous = _instant(label, zone, last, cell, mapping)
        except ValueError as error:
            if cell.line not in counted:
                report.skip(cell.line, str(error))
            counted.add(cell.line)
            continue
        if cell.line not in counted:
            counted.add(cell.line)
            report.ambiguous += is_ambiguous
            report.moved_midnights += ends_day
            report.out_of_order += last is not None and not is_ambiguous and _naive(cell.label) < _naive(last.label)
        previous[cell.meter.meter] = _Previous(label=cell.label, at=at)
        try:
            value = parse_number(cell.value, mapping.decimal, mapping.thousands)
        except ValueError as error:
            report.skip(cell.line, f"{cell.meter.meter}: {error}")
            continue
        if mapping.time.label is Label.INTERVAL_START and cell.meter.interval is not None:
            at += timedelta(milliseconds=cell.meter.interval)
        yield Reading(meter=cell.meter.meter, at_ms=_milliseconds(at), value=value, unit=cell.unit)


def _instant(
    label: datetime, zone: ZoneInfo | None, before: _Previous | None, cell: _Cell, mapping: Mapping
) -> tuple[datetime, bool]:
    """The instant, and whether the order of rows had to decide. Raises ValueError."""
    if label.tzinfo is not None:
        return label.astimezone(UTC), False
    if zone is None:
        raise ValueError(f"time {label} has no offset from UTC, and the mapping names no zone")
    ends_interval = cell.meter.kind is MeterKind.INTERVAL and mapping.time.label is Label.INTERVAL_END
    try:
        placed = place(label, zone, previous=before.at if before else None, ends_interval=ends_interval)
    except NonexistentTimeError as error:
        raise ValueError(str(error)) from error
    return placed.at, placed.is_ambiguous


def _naive(label: datetime) -> datetime:
    return label.astimezone(UTC).replace(tzinfo=None) if label.tzinfo else label


def _milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
