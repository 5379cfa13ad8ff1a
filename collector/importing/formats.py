"""What a file of measurements is: CSV, Parquet or Arrow, as its first bytes and its name tell."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from collector.errors import ImportRefusedError
from collector.importing.arrow_table import ArrowTable, ParquetTable
from collector.importing.csv_table import CsvTable
from collector.importing.files import Table
from schemas.mapping import Mapping

_PARQUET, _ARROW_FILE, _FEATHER_1, _GZIP, _ZIP = b"PAR1", b"ARROW1", b"FEA1", b"\x1f\x8b", b"PK\x03\x04"
_ARROW_STREAM = b"\xff\xff\xff\xff"


class Format(StrEnum):
    """How a file is written. Arrow is a file (Feather, too) or a stream."""

    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


def open_table(path: Path, mapping: Mapping | None, form: Format | None = None) -> Table:
    """The file, with its header read. `form` None: as its first bytes and its name tell.

    `mapping` says how a CSV file is written. Raises ImportRefusedError.
    """
    match form or _format_of(path):
        case Format.PARQUET:
            return ParquetTable.open(path)
        case Format.ARROW:
            return ArrowTable.open(path)
        case Format.CSV:
            return CsvTable.open(path, mapping)


def _format_of(path: Path) -> Format:
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except IsADirectoryError as error:
        raise ImportRefusedError(f"{path} is a folder; name the files in it, as in {path}/*.csv") from error
    except OSError as error:
        raise ImportRefusedError(
            f"{path} cannot be read: {error.strerror}; check the path and its permissions"
        ) from error
    if not begin:
        raise ImportRefusedError(f"{path} is empty")
    if begin.startswith(_FEATHER_1):
        raise ImportRefusedError(f"{path} is Feather version 1, which is no longer read; write it again as Feather 2")
    if begin.startswith(_ZIP):
        raise ImportRefusedError(f"{path} is a zip archive or a spreadsheet; unpack it, or save it as CSV")
    if begin.startswith(_PARQUET):
        return Format.PARQUET
    if begin.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return Format.ARROW
    by_name = {".parquet": Format.PARQUET, ".pq": Format.PARQUET, ".arrow": Format.ARROW, ".arrows": Format.ARROW}
    by_name |= {".feather": Format.ARROW, ".ipc": Format.ARROW}
    return by_name.get(path.suffix.lower(), Format.CSV)
