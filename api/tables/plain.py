"""Plain tables that a person gives: a CSV with a header, some columns of text and the others of numbers.

Comma, semicolon or tab; decimal point or decimal comma. All or none: each bad row is told by file and line.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from api.errors import ApiError
from api.tables.names import spellings_of, spelt
from api.tables.numerals import MarkError, decimal_mark, parse_numeral
from schemas.errors import PermanentError

MOST_BYTES = 20_000_000
"""More than any table that a person keeps; what is larger is another file, or belongs into the database."""
_MOST_TOLD = 20
_MOST_COLUMNS = 1_000
_LONGEST_TEXT = 500
# Excel writes UTF-16 for "Unicode text".
_MARKED = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class PlainTableError(ApiError, PermanentError):
    """A table can't be read; each line says where, what and what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        told = list(problems[:_MOST_TOLD])
        if len(problems) > _MOST_TOLD:
            told.append(f"and {len(problems) - _MOST_TOLD} more like these")
        super().__init__("\n".join(told))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRow:
    """One row, where it stands (`table.csv:7`), and its cells by column. A number is None where the cell is empty."""

    place: str
    texts: Mapping[str, str]
    numbers: Mapping[str, Decimal | None]

    def number(self, column: str) -> Decimal:
        """The number of a column in which none may be missing. Raises PlainTableError where it does."""
        value = self.numbers.get(column)
        if value is None:
            raise PlainTableError([f"{self.place}: {column} is empty; write its number, 0 where it was measured as 0"])
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTable:
    """The rows of a file, in its order. `numbers` are the columns of numbers as the header writes them.

    `unused` are the headers of columns that were not read, as nobody asked for them.
    """

    name: str
    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[PlainRow, ...]
    unused: tuple[str, ...] = ()


def read_plain_file(
    path: Path,
    *,
    texts: Mapping[str, Collection[str]],
    numbers: Mapping[str, Collection[str]] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> PlainTable:
    """As `read_plain_table`, of a file on disk. Raises PlainTableError, too where it can't be opened."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PlainTableError([f"{path} can't be read: {reason}; check the path"]) from error
    return read_plain_table(data, name=str(path), texts=texts, numbers=numbers, chosen=chosen)


def read_plain_table(
    data: bytes,
    *,
    name: str,
    texts: Mapping[str, Collection[str]],
    numbers: Mapping[str, Collection[str]] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> PlainTable:
    """The table in the bytes of a file called `name`.

    `texts` are the columns of text, `numbers` columns of numbers with a name of their own, each with other spellings of
    it ({"period": ("periode", "år")}); capitals don't matter. Every column beyond these is one of numbers, under the
    name that the header gives it. No column has to be there: ask `table.texts` and `table.numbers`. Empty cells are ""
    and None. Raises PlainTableError with everything that is wrong.

    With `chosen`, be it empty, only these columns are read, and a unit may stand behind a name (`CO2 (kt)`,
    `energy_kwh`); `chosen` says which header a column has where its name does not.
    """
    lines, delimiter = _cells(_decode(data, name), name)
    if not lines:
        raise PlainTableError([f"{name} is empty; its first line names the columns, as in {', '.join(texts)}, …"])
    (first, header), *rows = _without_empty_ends(lines)
    columns = _columns(header, {**texts, **(numbers or {})}, f"{name}:{first}", chosen)
    if not rows:
        raise PlainTableError([f"{name} has a header and no rows; check that it was saved whole"])
    of_numbers = tuple(column for column in columns if column is not None and column not in texts)
    problems: list[str] = []
    for line, cells in rows:
        if len(cells) != len(columns):
            problems.append(
                f"{name}:{line}: {len(cells)} cells under {len(columns)} columns; put quotes around a cell that holds "
                f"{delimiter!r}, as a number with a decimal comma may"
            )
    problems = problems or list(_wordy(columns, rows, {*texts, *(numbers or {})}, f"{name}:{first}", texts))
    if problems:
        raise PlainTableError(problems)
    numerals = (c for _, cells in rows for column, c in zip(columns, cells, strict=True) if column in of_numbers)
    try:
        mark = decimal_mark(numerals, own={",": ".", ";": ","}.get(delimiter))
    except MarkError as error:
        raise PlainTableError([f"{name}: {error}"]) from error
    read = tuple(_rows(rows, columns, name=name, texts=texts, mark=mark, problems=problems))
    if problems:
        raise PlainTableError(problems)
    return PlainTable(
        name=name,
        texts=tuple(column for column in columns if column is not None and column in texts),
        numbers=of_numbers,
        rows=read,
        unused=tuple(cell for cell, column in zip(header, columns, strict=True) if column is None and cell),
    )


def _rows(
    rows: Sequence[tuple[int, list[str]]],
    columns: Sequence[str | None],
    *,
    name: str,
    texts: Collection[str],
    mark: str,
    problems: list[str],
) -> Iterator[PlainRow]:
    for line, cells in rows:
        said: dict[str, str] = {}
        counted: dict[str, Decimal | None] = {}
        for column, cell in zip(columns, cells, strict=True):
            if column is None:
                continue
            if column in texts:
                said[column] = cell
                if len(cell) > _LONGEST_TEXT:
                    problems.append(f"{name}:{line}: {column} has more than {_LONGEST_TEXT} characters; shorten it")
                continue
            try:
                counted[column] = parse_numeral(cell, mark) if cell else None
            except ValueError as error:
                problems.append(f"{name}:{line}: {column}: {error}")
        yield PlainRow(place=f"{name}:{line}", texts=said, numbers=counted)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MOST_BYTES:
        raise PlainTableError([f"{name} is larger than {MOST_BYTES // 1_000_000} MB; give a part of it"])
    encoding = next((encoding for mark, encoding in _MARKED if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise PlainTableError(
            [f"{name} is not {encoding.upper()} at byte {error.start}; save it as CSV UTF-8"]
        ) from error
    if "\0" in text:
        raise PlainTableError([f"{name} holds NUL characters; save it as CSV UTF-8"])
    return text


def _cells(text: str, name: str) -> tuple[list[tuple[int, list[str]]], str]:
    """Every row that says something, with its line, and the delimiter: what stands most often in the header."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                found.append((reader.line_num, stripped))
    except csv.Error as error:
        raise PlainTableError([f"{name}:{reader.line_num}: not CSV: {error}; check quotes"]) from error
    return found, delimiter


def _wordy(
    columns: Sequence[str | None],
    rows: Sequence[tuple[int, list[str]]],
    known: Collection[str],
    place: str,
    texts: Collection[str],
) -> Iterator[str]:
    """Columns beyond those known in which nobody wrote a digit: told once, not row by row."""
    for i, column in enumerate(columns):
        cells = [cells[i] for _, cells in rows]
        if column is None or column in known or not any(cells):
            continue
        if not any(letter.isdigit() for cell in cells for letter in cell):
            yield (
                f"{place}: column {column!r} holds words and no number; leave it out, or head it as what it is: "
                f"{', '.join(texts)}"
            )


def _without_empty_ends(lines: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Without the columns at the right that have neither name nor content, which spreadsheets write."""
    width = max(i for i, cell in enumerate(lines[0][1], 1) if cell)
    if any(any(cells[width:]) for _, cells in lines):
        return lines
    return [(line, cells[:width]) for line, cells in lines]


def _columns(
    header: Sequence[str], names: Mapping[str, Collection[str]], place: str, chosen: Mapping[str, str] | None
) -> list[str | None]:
    """What each column is called: our name where it is spelt in one of the ways known, else as it stands.

    None where it is not to be read.
    """
    if len(header) > _MOST_COLUMNS:
        raise PlainTableError([f"{place}: {len(header)} columns; a plain table has {_MOST_COLUMNS} at most"])
    if chosen is not None:
        return _chosen_columns(header, names, place, chosen)
    known = {spelt(spelling): name for name, others in names.items() for spelling in (name, *others)}
    columns = [known.get(spelt(cell), re.sub(r"\s+", " ", cell)) for cell in header]
    problems = [f"{place}: column {i} has no name; give it one" for i, column in enumerate(columns, 1) if not column]
    seen: set[str] = set()
    for column in columns:
        if column and column.casefold() in seen:
            problems.append(f"{place}: column {column!r} stands twice; keep one of them")
        seen.add(column.casefold())
    if problems:
        raise PlainTableError(problems)
    return list(columns)


def _chosen_columns(
    header: Sequence[str], names: Mapping[str, Collection[str]], place: str, chosen: Mapping[str, str]
) -> list[str | None]:
    """The column of each name: the chosen one, else the one called so, else the only one with another spelling."""
    columns: list[str | None] = [None] * len(header)
    problems: list[str] = []
    for name, others in sorted(names.items(), key=lambda named: named[0] not in chosen):
        if name in chosen:
            found = _exactly(header, chosen[name])
            if not found:
                listed = ", ".join(cell for cell in header if cell)
                problems.append(f"{place}: there is no column {chosen[name]!r} for {name}; there are: {listed}")
        else:
            free = [i for i, column in enumerate(columns) if column is None]
            wanted = {spelt(other) for other in others}
            found = [i for i in _exactly(header, name) if i in free]
            found = found or [i for i in free if wanted & set(spellings_of(header[i]))]
        if len(found) > 1:
            listed = " and ".join(repr(header[i]) for i in found)
            problems.append(
                f"{place}: column {name!r} stands twice, as {listed}; keep one of them, or say which with --columns "
                f"{name}={header[found[-1]]}"
            )
        for i in found[:1]:
            if columns[i] is not None:
                problems.append(f"{place}: {header[i]!r} can't be both {columns[i]} and {name}; name another column")
            columns[i] = name
    if problems:
        raise PlainTableError(problems)
    return columns


def _exactly(header: Sequence[str], name: str) -> list[int]:
    """Where this name stands, as it is, else with a unit behind it."""
    whole = [i for i, cell in enumerate(header) if spelt(cell) == spelt(name)]
    return whole or [i for i, cell in enumerate(header) if spelt(name) in spellings_of(cell)]
