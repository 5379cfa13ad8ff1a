"""From the rows of a file to runs, with everything that was odd told by line. Pure."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from api.runs.mapping import RunFileError, RunMapping, UnknownState, as_list
from api.runs.times import MOMENT, RowRefusedError, duration, placed_time
from api.said import unix_ms
from schemas.cells import parse_time
from schemas.configuration import problems_in
from schemas.resources import RunState
from schemas.topics import KEY_PATTERN
from schemas.wire import RunSpan

_KEY = re.compile(KEY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it stands, and the line of the file that it begins in."""

    line: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run, the row that told it, and what was odd about it."""

    row: Row
    span: RunSpan
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row that tells no run, and why."""

    row: Row
    reason: str


@dataclass(slots=True, kw_only=True)
class RunFile:
    """A file, read; everything in order of its lines. `head` is all up to its first row, as it stands.

    `left_out` are rows that the mapping wants left out, or that tell a run of no length: nothing is wrong with them.
    """

    head: list[list[str]]
    rows: int = 0
    found: list[FoundRun] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    left_out: list[Refusal] = field(default_factory=list)


class _LeftOutError(ValueError):
    """The row need not tell one."""


def read_runs(content: bytes, mapping: RunMapping, zone: ZoneInfo, *, name: str) -> RunFile:
    """The runs of a file called `name`; `zone` is the site's. Raises RunFileError where it can't be read at all."""
    head, rows = _rows(content, mapping, name)
    places = _places(head[-1], mapping, name)
    read = RunFile(head=head, rows=len(rows))
    zone = ZoneInfo(mapping.time.zone) if mapping.time.zone else zone
    # The end of the run before on the same line tells apart what the clock showed twice, so rows must run with time.
    ends: dict[str, datetime] = {}
    found: list[FoundRun] = []
    for row in reversed(rows) if _runs_backwards(rows, places, mapping) else rows:
        cells = _Cells(values=_values(row, places, mapping), mapping=mapping)
        try:
            _check_length(row, head[-1])
            found.append(_run(row, cells, zone, ends))
        except _LeftOutError as error:
            read.left_out.append(Refusal(row=row, reason=str(error)))
        except RowRefusedError as error:
            read.refused.append(Refusal(row=row, reason=str(error)))
    _keep_news(sorted(found, key=lambda run: run.row.line), read)
    for told in (read.refused, read.left_out):
        told.sort(key=lambda refusal: refusal.row.line)
    return read


def _check_length(row: Row, header: Sequence[str]) -> None:
    if any(cell.strip() for cell in row.cells[len(header) :]):
        raise RowRefusedError(f"it has {len(row.cells)} cells, the header {len(header)}; check its quotes")


def _keep_news(found: Sequence[FoundRun], read: RunFile) -> None:
    """Keep what the file says for the first time, in order of its lines."""
    first: dict[tuple[str, str], FoundRun] = {}
    for run in found:
        before = first.setdefault((run.span.line, run.span.run), run)
        if before is run:
            read.found.append(run)
        elif before.span == run.span:
            read.left_out.append(Refusal(row=run.row, reason=f"it repeats line {before.row.line}"))
        else:
            reason = (
                f"run {run.span.run!r} of line {run.span.line} stands in line {before.row.line} already and says "
                "otherwise there; keep one of them, or name columns that make its key unique"
            )
            read.refused.append(Refusal(row=run.row, reason=reason))


def _rows(content: bytes, mapping: RunMapping, name: str) -> tuple[list[list[str]], list[Row]]:
    try:
        # A byte-order mark is no part of the first column's name.
        text = content.decode("utf-8-sig" if codecs.lookup(mapping.encoding).name == "utf-8" else mapping.encoding)
    except UnicodeError as error:
        raise RunFileError(
            f"{name} is not text in {mapping.encoding}: {error}; name the right one with `encoding` in the mapping "
            "(cp1252 is usual for files from Windows)"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mapping.delimiter, strict=True)
    try:
        head = list(islice(reader, mapping.header_line))
        if len(head) < mapping.header_line:
            raise RunFileError(f"{name} has no header in line {mapping.header_line}; check the file and `header_line`")
        rows, before = [], reader.line_num
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(Row(line=before + 1, cells=cells))
            before = reader.line_num
    except csv.Error as error:
        raise RunFileError(f"{name}:{reader.line_num}: not a row of a CSV file: {error}; check its quotes") from error
    return head, rows


def _places(header: Sequence[str], mapping: RunMapping, name: str) -> dict[str, int]:
    """Where each column of the mapping stands."""
    names = [cell.strip() for cell in header]
    wanted = mapping.columns.named()
    missing = [column for column in wanted if column not in names]
    if missing:
        raise RunFileError(
            f"{name} lacks the columns {', '.join(missing)} of the mapping; with delimiter {mapping.delimiter!r} its "
            f"header has: {', '.join(names)}"
        )
    doubled = [column for column in wanted if names.count(column) > 1]
    if doubled:
        raise RunFileError(f"{name} has the column {doubled[0]} more than once; rename one of them")
    return {column: names.index(column) for column in wanted}


def _values(row: Row, places: Mapping[str, int], mapping: RunMapping) -> dict[str, str]:
    """The text of each column that says something."""
    found = {name: row.cells[at].strip() for name, at in places.items() if at < len(row.cells)}
    return {name: text for name, text in found.items() if text and text not in mapping.empty}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """What a row says, column by column."""

    values: Mapping[str, str]
    mapping: RunMapping

    def text(self, columns: str | Sequence[str] | None, joined_by: str = " ") -> str | None:
        """The columns' texts put together; None where any of them says nothing."""
        texts = [self.values.get(name) for name in as_list(columns)]
        told = [text for text in texts if text is not None]
        return joined_by.join(told) if told and len(told) == len(texts) else None

    def label(self, columns: str | Sequence[str], what: str) -> datetime | None:
        """The time in these columns, naive where it has no offset."""
        text = self.text(columns)
        if text is None:
            return None
        for form in self.mapping.time.formats:
            try:
                return parse_time(text, form)
            except ValueError:
                continue
        forms = ", ".join(self.mapping.time.formats)
        raise RowRefusedError(f"{what} {text!r} is of none of the forms {forms}; add its form to `formats`")

    def key(self, what: str) -> str | None:
        """The line or product, translated."""
        text = self.text(getattr(self.mapping.columns, what))
        if text is None:
            constant: str | None = getattr(self.mapping.constants, what)
            return constant
        translations: Mapping[str, str] = getattr(self.mapping, f"{what}s")
        found = translations.get(text, text)
        if not _KEY.fullmatch(found):
            raise RowRefusedError(
                f"{what} {text!r} has no translation and is no key; add it to `{what}s` in the mapping"
            )
        return found

    def state(self) -> RunState:
        text = self.text(self.mapping.columns.state)
        if text is None and self.mapping.constants.state is not None:
            return self.mapping.constants.state
        if text in self.mapping.states:
            return self.mapping.states[text]
        if text in set(RunState):
            return RunState(text)
        otherwise = self.mapping.unknown_state
        if isinstance(otherwise, RunState):
            return otherwise
        if otherwise is UnknownState.LEAVE_OUT:
            raise _LeftOutError(f"state {text!r} is left out" if text else "it has no state")
        if text is None:
            raise RowRefusedError("it has no state; give one under `constants`, or say what to do with `unknown_state`")
        raise RowRefusedError(f"state {text!r} has no translation; add it to `states`, or set `unknown_state`")


def _run(row: Row, cells: _Cells, zone: ZoneInfo, ends: dict[str, datetime]) -> FoundRun:
    """The run of a row. Raises RowRefusedError and _LeftOutError."""
    mapping = cells.mapping
    state, line = cells.state(), cells.key("line")
    if line is None:
        raise RowRefusedError("it names no line")
    label = cells.label(mapping.columns.start, "start")
    if label is None:
        raise RowRefusedError("it has no start")
    before = ends.get(line)
    start, started = placed_time(label, zone, "start", previous=before - MOMENT if before else None)
    end, ended = _end(cells, zone, start)
    if end is not None and end == start:
        raise _LeftOutError("it ends when it begins")
    ends[line] = max(start + MOMENT if end is None else end, before or start)
    key = cells.text(mapping.columns.run, "-")
    if key is None and mapping.columns.run is not None:
        raise RowRefusedError("it has no key of the run")
    try:
        span = RunSpan(
            run=key or _key_of(line, start),
            line=line,
            state=state,
            product=cells.key("product"),
            order=cells.text(mapping.columns.order) or mapping.constants.order,
            start=unix_ms(start),
            end=None if end is None else unix_ms(end),
        )
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, p.location))}: {p.message}".removeprefix(": ") for p in problems_in(error)]
        raise RowRefusedError("; ".join(faults)) from error
    return FoundRun(row=row, span=span, notes=(*started, *ended))


def _end(cells: _Cells, zone: ZoneInfo, start: datetime) -> tuple[datetime | None, list[str]]:
    columns = cells.mapping.columns
    if columns.duration is not None:
        text = cells.text(columns.duration.column)
        if text is None:
            return None, []
        return start + duration(text, columns.duration.unit, cells.mapping.decimal), []
    label = None if columns.end is None else cells.label(columns.end, "end")
    return (None, []) if label is None else placed_time(label, zone, "end", previous=start)


def _runs_backwards(rows: Sequence[Row], places: Mapping[str, int], mapping: RunMapping) -> bool:
    """Whether the newest row comes first."""
    first, last = (next(_starts(some, places, mapping), None) for some in (rows, rows[::-1]))
    return first is not None and last is not None and first > last


def _starts(rows: Sequence[Row], places: Mapping[str, int], mapping: RunMapping) -> Iterator[datetime]:
    for row in rows:
        cells = _Cells(values=_values(row, places, mapping), mapping=mapping)
        try:
            label = cells.label(mapping.columns.start, "start")
            if label is not None:
                yield label.astimezone(UTC).replace(tzinfo=None) if label.tzinfo else label
        except (RowRefusedError, OverflowError):
            continue


def _key_of(line: str, start: datetime) -> str:
    """The key of a run that the file gives none: when its line began it."""
    milliseconds = f".{start.microsecond // 1000:03}" if start.microsecond else ""
    return f"{line}-{start:%Y%m%dT%H%M%S}{milliseconds}Z"
