"""Files of measurements on disk: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from edge.errors import MappingError
from edge.mapping import Mapping, recognise, shipped_mappings, unrecognised
from edge.measurements import Measurements, Row, convert

_DELIMITERS = ",;\t"


def read_measurements(path: Path, mapping: Mapping | None = None) -> Measurements:
    """The whole file, read with this mapping or the shipped one that its header fits.

    Raises MappingError: it cannot be read, no mapping fits (the message has a template to fill in), or it has no
    readings.
    """
    read = _read_parquet if path.suffix.lower() in {".parquet", ".pq"} else _read_csv
    with closing(read(path)) as rows:
        first = next(rows, None)
        if first is None:
            raise MappingError(f"{path} is empty")
        header = [str(cell).strip() for cell in first[1]]
        chosen = _mapping_for(path, header, mapping)
        measurements = convert(header, rows, chosen)
    if not measurements.readings:
        raise MappingError("\n".join([f"{path} has no reading that could be used:", *measurements.report.sentences()]))
    return measurements


def _mapping_for(path: Path, header: Sequence[str], mapping: Mapping | None) -> Mapping:
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


def _read_csv(path: Path) -> Generator[Row]:
    try:
        # A byte-order mark is no part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=first.count), strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except OSError as error:
        raise MappingError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error
    except csv.Error as error:
        raise MappingError(f"{path} is not a CSV file: {error}") from error


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
