"""Reads a file a piece at a time, so that a small machine can read a large one, and an old one goes on where it was."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as Mapped
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from edge.drivers.csv_watch.files import Listed, print_of, recognise
from edge.drivers.csv_watch.state import FileState
from edge.measurement_files import csv_rows, delimiter_of, is_parquet, mapping_for, read_measurements
from edge.measurements import Measurements, Report, Row, convert
from edge.readings import Reading
from schemas.mapping import Label, Mapping, MappingError

PIECE_BYTES = 500_000
"""At most so much is read at once: some ten thousand readings."""
_LONGEST_LINE = 100_000
_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What is new in a file, and what to remember when that is kept. `is_last`: just now there is no more.

    `starts_over`: the file was known and is another one now.
    """

    readings: tuple[Reading, ...]
    report: Report
    state: FileState
    is_last: bool
    starts_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToRead:
    """`only_lines`: what has no line end yet is not finished. `renamed`: the file may be known by another name."""

    mapping: Mapping
    only_lines: bool
    renamed: bool

    @property
    def is_by_lines(self) -> bool:
        """Whether a line end is one byte, as in nearly all encodings; other files are read whole."""
        return "\n".encode(self.mapping.encoding)[-1:] == b"\n" and len("\n".encode(self.mapping.encoding)) == 1


def read_piece(folder: Path, listed: Listed, how: HowToRead, known: Mapped[str, FileState]) -> Piece:
    """The next piece. Raises MappingError when the file can't be read, OSError when it is away."""
    path = folder / listed.name
    if is_parquet(path) or not how.is_by_lines:
        return _read_whole(path, listed, how)
    with path.open("rb") as file:
        state = recognise(file, listed.name, known, renamed=how.renamed)
        is_new = state is None
        state = state or FileState()
        file.seek(0)
        header, begin, above = _header(file, path, how.mapping)
        if not header:
            # Its header has yet to be written, or never will be: that is no fault, and there is nothing to read.
            return _nothing(listed, state)
        position, lines = (begin, above) if is_new else (state.position, state.lines)
        file.seek(position)
        data = file.read(PIECE_BYTES)
        is_last = len(data) < PIECE_BYTES
        whole = data.rfind(b"\n") + 1
        if not whole and not is_last:
            raise MappingError(f"{path}: line {lines + 1} is longer than {PIECE_BYTES} bytes; is it a CSV file?")
        ends_open = is_last and not how.only_lines and whole < len(data)
        found = _convert(path, header, data if ends_open else data[:whole], how, above=lines, last=state.last)
        position += whole
        return Piece(
            readings=found.readings,
            report=found.report,
            state=FileState(
                position=position,
                lines=lines + data.count(b"\n", 0, whole),
                readings=state.readings + len(found.readings),
                print_=print_of(file, position),
                last=state.last | _last_instants(found, but_for_the_latest=ends_open),
                stamp=listed.stamp if is_last else None,
            ),
            is_last=is_last,
            starts_over=is_new and listed.name in known and known[listed.name].position > 0,
        )


def _read_whole(path: Path, listed: Listed, how: HowToRead) -> Piece:
    found = read_measurements(path, how.mapping)
    state = FileState(stamp=listed.stamp, readings=len(found.readings))
    return Piece(readings=found.readings, report=found.report, state=state, is_last=True)


def _nothing(listed: Listed, state: FileState) -> Piece:
    return Piece(readings=(), report=Report(), state=state.model_copy(update={"stamp": listed.stamp}), is_last=True)


def _header(file: BinaryIO, path: Path, mapping: Mapping) -> tuple[str, int, int]:
    """The header's line, where the rows begin, and how many lines stand above them; no line where it isn't finished."""
    line = b""
    for _ in range(mapping.header_line):
        line = file.readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE:
            raise MappingError(f"{path}: a line of its head is longer than {_LONGEST_LINE} bytes; is it a CSV file?")
    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        raise MappingError(
            f"{path} is not {mapping.encoding} text: {error}; save it as UTF-8, or name its encoding in the mapping"
        ) from error
    return text if text.endswith("\n") else "", file.tell(), mapping.header_line


def _convert(
    path: Path, header: str, data: bytes, how: HowToRead, *, above: int, last: Mapped[str, int]
) -> Measurements:
    mapping, delimiter = how.mapping, delimiter_of(header, how.mapping)
    before = {meter: datetime.fromtimestamp(at_ms / 1000, UTC) for meter, at_ms in last.items()}
    try:
        # One byte that makes no sense must not stop a log that goes on for ever: it costs its own value.
        text = data.decode(mapping.encoding, errors="replace" if how.only_lines else "strict")
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter, strict=True), [])]
        mapping_for(path, names, mapping)
        rows: Iterable[Row] = csv_rows(io.StringIO(text, newline=""), delimiter, above=above)
        if how.only_lines:
            rows = _rows_of_lines(text, rows, delimiter, above=above)
        return convert(names, rows, mapping, before=before)
    except UnicodeDecodeError as error:
        raise MappingError(
            f"{path} is not {mapping.encoding} text: {error}; save it as UTF-8, or name its encoding in the mapping"
        ) from error
    except csv.Error as error:
        raise MappingError(f"{path} is not a CSV file: below line {above}: {error}") from error


def _rows_of_lines(text: str, rows: Iterable[Row], delimiter: str, *, above: int) -> Sequence[Row]:
    """`rows`; where a quote does not close, as after a loss of power, each line by itself: that one costs its own."""
    try:
        return list(rows)
    except csv.Error:
        lines = enumerate(io.StringIO(text, newline=""))
        return [row for i, line in lines for row in _row_of_line(line, delimiter, above=above + i)]


def _row_of_line(line: str, delimiter: str, *, above: int) -> Iterator[Row]:
    try:
        yield from csv_rows([line], delimiter, above=above)
    except csv.Error:
        # One cell that is no time: it is left out, and said.
        yield above + 1, [line.strip()[:_SHOWN]]


def _last_instants(found: Measurements, *, but_for_the_latest: bool) -> dict[str, int]:
    """Of each meter's last row. A last line that has no end yet will be read again, and must not be ahead of itself."""
    starts = found.mapping.time.label is Label.INTERVAL_START
    shifts = {meter.meter: meter.interval or 0 for meter in found.meters} if starts else {}
    readings: Sequence[Reading] = found.readings
    if but_for_the_latest:
        readings = [reading for reading in readings if reading.at_ms < found.readings[-1].at_ms]
    return {reading.meter: reading.at_ms - shifts.get(reading.meter, 0) for reading in readings}
