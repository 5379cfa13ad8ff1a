"""Files of measurements on disk: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from edge.measurements import Measurements, Row, convert
from schemas.mapping import DELIMITERS, Mapping, MappingError, recognise, shipped_mappings, unrecognised


def read_measurements(path: Path, mapping: Mapping | None = None) -> Measurements:
    """The whole file, read with this mapping or the shipped one that its header fits.

    Raises MappingError: it cannot be read, no mapping fits (the message has a template to fill in), or it has no
    readings.
    """
    with closing(_read_parquet(path) if is_parquet(path) else _read_csv(path, mapping)) as rows:
        first = next(rows, None)
        if first is None:
            raise MappingError(f"{path} is empty")
        header = [str(cell).strip() for cell in first[1]]
        chosen = mapping_for(path, header, mapping)
        measurements = convert(header, rows, chosen)
    if not measurements.readings:
        raise MappingError("\n".join([f"{path} has no reading that could be used:", *measurements.report.sentences()]))
    return measurements


def is_parquet(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in {".parquet", ".pq"}


def mapping_for(path: Path, header: Sequence[str], mapping: Mapping | None) -> Mapping:
    """This mapping, or the shipped one that fits. Raises MappingError: none fits, or the file lacks columns of it."""
    if mapping is None:
        known = shipped_mappings()
        mapping = recognise(header, known)
        if mapping is None:
            raise MappingError(unrecognised(str(path), header, known))
    missing = [column for column in mapping.needed_columns() if column not in header]
    if missing:
        raise MappingError(
            f"{path} lacks the columns {', '.join(missing)} of mapping {mapping.name}; it has: {', '.join(header)}"
        )
    return mapping


def _read_csv(path: Path, mapping: Mapping | None) -> Generator[Row]:
    above = mapping.header_line - 1 if mapping else 0
    encoding = mapping.encoding if mapping else "utf-8"
    try:
        # A byte-order mark is no part of the first column's name.
        with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
            for _ in range(above):
                file.readline()
            begin = file.tell()
            first = file.readline()
            file.seek(begin)
            yield from csv_rows(file, delimiter_of(first, mapping), above=above)
    except OSError as error:
        raise MappingError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise MappingError(
            f"{path} is not {encoding} text: {error}; save it as UTF-8, or name its encoding in the mapping"
        ) from error
    except csv.Error as error:
        raise MappingError(f"{path} is not a CSV file: {error}") from error


def delimiter_of(header: str, mapping: Mapping | None) -> str:
    """What the mapping says, or the likeliest of the header's line."""
    return (mapping and mapping.delimiter) or max(DELIMITERS, key=header.count)


def csv_rows(lines: Iterable[str], delimiter: str, *, above: int) -> Iterator[Row]:
    """The rows that are not empty, `above` lines down in their file. Raises csv.Error."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    for row in reader:
        if row:
            yield above + reader.line_num, row


def _read_parquet(path: Path) -> Generator[Row]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        arrow = importlib.import_module("pyarrow")
    except ImportError as error:
        raise MappingError(
            f"{path}: Parquet needs pyarrow; install it with: pip install pyarrow, or export the file as CSV"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            yield 0, names
            line = 0
            for batch in file.iter_batches():
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    line += 1
                    yield line, cells
    except (OSError, arrow.ArrowInvalid) as error:
        raise MappingError(f"{path} cannot be read as Parquet: {error}") from error
