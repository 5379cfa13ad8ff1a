"""CSV files, plain or compressed with gzip, read in blocks."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from collector.errors import ImportRefusedError
from collector.importing.files import Piece
from schemas.mapping import DELIMITERS, Mapping

_BLOCK_BYTES = 1 << 20
_HEADER_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_UNREADABLE = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """`above`: lines up to the header's end. `has_quotes`: a cell may go on over several lines."""

    path: Path
    header: list[str]
    above: int
    delimiter: str
    encoding: str
    has_quotes: bool

    @classmethod
    def open(cls, path: Path, mapping: Mapping | None) -> CsvTable:
        """Read the header. Raises ImportRefusedError."""
        encoding = mapping.encoding if mapping else "utf-8"
        skip = mapping.header_line - 1 if mapping else 0
        try:
            with _bytes(path) as file:
                begin = file.read(_HEADER_BYTES)
            quotes, marks, last = _look_through(path)
        except _UNREADABLE as error:
            raise ImportRefusedError(f"{path} cannot be read: {error}; it may be cut off or damaged") from error
        try:
            # The block may end within a character.
            text = codecs.getincrementaldecoder(_with_mark(encoding))().decode(begin)
        except UnicodeDecodeError as error:
            raise _wrong_encoding(path, encoding, error) from error
        lines = io.StringIO(text, newline="")
        for _ in range(skip):
            lines.readline()
        place = lines.tell()
        first = lines.readline()
        lines.seek(place)
        delimiter = (mapping and mapping.delimiter) or max(DELIMITERS, key=first.count)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next((row for row in reader if row), None)
        except csv.Error as error:
            raise ImportRefusedError(f"{path} is not a CSV file: {error}") from error
        if header is None:
            raise ImportRefusedError(
                f"{path} is empty; export it again" if not skip else f"{path} has no header in line {skip + 1}"
            )
        table = cls(
            path=path,
            header=[name.strip() for name in header],
            above=skip + reader.line_num,
            delimiter=delimiter,
            encoding=encoding,
            has_quotes=quotes,
        )
        if marks % 2:
            table.check_quotes()
        table.check_end(last)
        return table

    @property
    def counted(self) -> str:
        """Where a cell goes on over several lines, rows are not lines."""
        return "row" if self.has_quotes else "line"

    def types(self) -> dict[str, pa.DataType]:
        """All is text."""
        return dict.fromkeys(self.header, pa.string())

    def pieces(self, columns: Sequence[int]) -> Iterator[Piece]:
        """The rows, without blank ones; short ones are filled up, of long ones the end is left out."""
        names = [str(i) for i in range(len(self.header))]
        wanted = [names[i] for i in columns]
        odd: list[pv.InvalidRow] = []

        def keep_odd(row: pv.InvalidRow) -> str:
            odd.append(row)
            return "skip"

        number = self.above
        try:
            with _bytes(self.path) as file, self._reader(file, names, wanted, keep_odd) as reader:
                for batch in reader:
                    rows, number = self._numbered(batch, odd, number, columns)
                    if rows.num_rows:
                        yield Piece(rows=rows)
            if odd:
                nothing = pa.record_batch([pa.array([], pa.string())] * len(columns), names=wanted)
                yield Piece(rows=self._numbered(nothing, odd, number, columns)[0])
        except UnicodeDecodeError as error:
            raise _wrong_encoding(self.path, self.encoding, error) from error
        except (*_UNREADABLE, csv.Error, pa.ArrowInvalid) as error:
            if "invalid UTF8" in str(error):
                raise _wrong_encoding(self.path, self.encoding, error) from error
            told = "a row is longer than any should be; is a quote never closed?" if "straddl" in str(error) else error
            raise ImportRefusedError(f"{self.path} cannot be read after {self.counted} {number}: {told}") from error

    def check_quotes(self) -> None:
        """Raises ImportRefusedError where a quote is opened and never closed, as what follows would be one cell."""
        with _bytes(self.path) as file:
            text = io.TextIOWrapper(file, encoding=_with_mark(self.encoding), newline="")
            reader = csv.reader(text, delimiter=self.delimiter, strict=True)
            try:
                for _ in reader:
                    pass
            except csv.Error as error:
                raise ImportRefusedError(
                    f"{self.path}:{reader.line_num}: not a CSV file: {error}; close the quote, or write it twice"
                ) from error
            except UnicodeDecodeError as error:
                raise _wrong_encoding(self.path, self.encoding, error) from error

    def check_end(self, last: bytes) -> None:
        """Raises ImportRefusedError where the last line has neither all cells nor an end: its last cell may be half a
        number. `last` is what stands behind the last line break."""
        try:
            if not last.strip() or b'"' in last or b"\r" in last or "\n".encode(self.encoding) != b"\n":
                return
            row = last.decode(self.encoding).split(self.delimiter)
        except UnicodeDecodeError as error:
            raise _wrong_encoding(self.path, self.encoding, error) from error
        if len(row) < len(self.header):
            shown = last[-40:].decode(self.encoding, "replace")
            raise ImportRefusedError(
                f"{self.path} ends within its last {self.counted}, {shown!r}: it may be cut off. "
                "Fetch it again; or, if it is whole, end it with a line break"
            )

    def _reader(self, file: IO[bytes], names: list[str], wanted: list[str], keep_odd: object) -> pv.CSVStreamingReader:
        try:
            return pv.open_csv(
                pa.PythonFile(file, mode="r"),
                read_options=pv.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK_BYTES,
                    column_names=names,
                    skip_rows=self.above,
                    encoding=self.encoding,
                ),
                parse_options=pv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char='"' if self.has_quotes else False,
                    newlines_in_values=self.has_quotes,
                    ignore_empty_lines=False,
                    invalid_row_handler=keep_odd,
                ),
                convert_options=pv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return _Nothing()
            raise

    def _numbered(
        self, batch: pa.RecordBatch, odd: list[pv.InvalidRow], before: int, columns: Sequence[int]
    ) -> tuple[pa.RecordBatch, int]:
        """The rows with their numbers, odd ones in their places, and the number of the last. Takes those off `odd`."""
        mine = _within(odd, before, batch.num_rows)
        count = batch.num_rows + len(mine)
        numbers = np.arange(before + 1, before + count + 1)
        cells = list(batch.columns)
        if mine:
            own = [self._cells(row.text, columns) for row in mine]
            places = np.array([row.number for row in mine])
            order = pa.array(np.argsort(np.r_[np.setdiff1d(numbers, places), places], kind="stable"))
            cells = [
                pa.concat_arrays([column, pa.array([row[i] for row in own], pa.string())]).take(order)
                for i, column in enumerate(cells)
            ]
        is_blank = pc.equal(cells[0], "")
        for column in cells[1:]:
            is_blank = pc.and_(is_blank, pc.equal(column, ""))
        found = pa.record_batch([pa.array(numbers), *cells], names=[str(i) for i in range(len(cells) + 1)])
        if pc.any(is_blank).as_py():
            found = found.filter(pc.invert(is_blank))
        return found, before + count

    def _cells(self, text: str, columns: Sequence[int]) -> list[str]:
        """The cells of a row that has more or fewer than the header."""
        row = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter), [])
        return [row[i] if i < len(row) else "" for i in columns]


def _within(odd: list[pv.InvalidRow], before: int, count: int) -> list[pv.InvalidRow]:
    """Take off those that stand among so many rows: the reader may have looked further ahead."""
    odd.sort(key=lambda row: row.number)
    end = before + count
    taken = 0
    while taken < len(odd) and odd[taken].number <= end + 1:
        end += 1
        taken += 1
    mine = odd[:taken]
    del odd[:taken]
    return mine


class _Nothing:
    """A reader of no rows."""

    def __enter__(self) -> Iterator[pa.RecordBatch]:
        return iter(())

    def __exit__(self, *_: object) -> None:
        pass


def _bytes(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_compressed = file.read(len(_GZIP)) == _GZIP
    return cast("IO[bytes]", gzip.open(path, "rb")) if is_compressed else path.open("rb")


def _look_through(path: Path) -> tuple[bool, int, bytes]:
    """Whether there are quotes, how many, and what stands behind the last line break, of a long line nothing."""
    marks, last = 0, b""
    with _bytes(path) as file:
        while block := file.read(_BLOCK_BYTES):
            marks += block.count(b'"')
            _, found, after = block.rpartition(b"\n")
            last = after if found else last + after
            if len(last) > _BLOCK_BYTES:
                last = b""
    return marks > 0, marks, last


def _with_mark(encoding: str) -> str:
    # A byte-order mark is no part of the first column's name.
    return "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding


def _wrong_encoding(path: Path, encoding: str, error: Exception) -> ImportRefusedError:
    return ImportRefusedError(
        f"{path} is not {encoding} text: {error}; say `encoding: cp1252` (or what it is) in the mapping, or save it as "
        "UTF-8"
    )
