"""Driver values and price indices from the tables that people keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.calendar.buckets import Calendar
from api.drivers.answers import DriverValue, PriceIndexValue
from api.periods import NAMED, parse_named
from api.problems import ProblemError
from api.tables.plain import PlainRow, PlainTable, PlainTableError, read_plain_file
from schemas.configuration import problems_in

Model = TypeVar("Model", bound=BaseModel)

_DRIVER_TEXTS: Mapping[str, Sequence[str]] = {
    "driver": ("kind", "type"),
    "period": ("periode", "year", "år", "month", "måned"),
    "from": ("fra", "start"),
    "to": ("til", "end"),
    "unit": ("enhed",),
    "source": ("kilde",),
    "line": ("linje",),
    "family": ("familie", "product family", "produktfamilie"),
    "product": ("produkt",),
}
_DRIVER_NUMBERS: Mapping[str, Sequence[str]] = {"value": ("værdi", "amount", "beløb"), "price_year": ("prisår",)}
_INDEX_TEXTS: Mapping[str, Sequence[str]] = {"key": ("index", "indeks", "navn", "name"), "source": ("kilde",)}
_INDEX_NUMBERS: Mapping[str, Sequence[str]] = {"year": ("år",), "value": ("værdi",)}


def read_driver_file(path: Path, calendar: Calendar, defaults: Mapping[str, str | int | None]) -> list[DriverValue]:
    """The values in a file.

    Columns are driver, period (or from and to), value, unit, price_year, source, and line, family or product.
    `defaults` stand in for columns and cells that are not there; money is in DKK without saying so. Raises
    PlainTableError with every bad row by file and line.
    """
    table = read_plain_file(path, texts=_DRIVER_TEXTS, numbers=_DRIVER_NUMBERS)
    there = (*table.texts, *table.numbers)
    _need(table, ["value"], there)
    if "period" not in there and not {"from", "to"} <= set(there):
        raise PlainTableError([f"{table.name}:1: there is no column period; add it ({NAMED}), or columns from and to"])

    def values(row: PlainRow) -> dict[str, Any]:
        told = _told(row, defaults, source=path.name)
        period = told.pop("period", None)
        if period is not None:
            if "from" in told or "to" in told:
                raise PlainTableError([f"{row.place}: give either period, or from and to; leave the other empty"])
            try:
                days = parse_named(str(period), calendar)
            except ProblemError as error:
                raise PlainTableError([f"{row.place}: {error}"]) from error
            told |= {"from": days.first, "to": days.end}
        if "unit" not in told and told.get("driver") in {"revenue", "value_added"}:
            told["unit"] = "DKK"
        return told

    return _read(table, values, DriverValue)


def read_index_file(path: Path, defaults: Mapping[str, str | None]) -> list[PriceIndexValue]:
    """The values in a file: key, year, value, source. Raises PlainTableError with every bad row by file and line."""
    table = read_plain_file(path, texts=_INDEX_TEXTS, numbers=_INDEX_NUMBERS)
    _need(table, ["year", "value"], (*table.texts, *table.numbers))
    return _read(table, lambda row: _told(row, defaults, source=path.name), PriceIndexValue)


def _need(table: PlainTable, columns: Sequence[str], there: Sequence[str]) -> None:
    missing = [column for column in columns if column not in there]
    if missing:
        raise PlainTableError(
            [
                f"{table.name}:1: there is no column {column}; add it, there are: {', '.join(there)}"
                for column in missing
            ]
        )


def _told(row: PlainRow, defaults: Mapping[str, str | int | None], *, source: str) -> dict[str, Any]:
    """What a row says, cells that are empty left to the defaults, and to the file as their source."""
    said: dict[str, Any] = {name: text for name, text in row.texts.items() if text}
    said |= {name: number for name, number in row.numbers.items() if number is not None}
    given = {name: value for name, value in defaults.items() if value is not None}
    return {"source": source} | given | said


def _read(table: PlainTable, values: Callable[[PlainRow], dict[str, Any]], model: type[Model]) -> list[Model]:
    found: list[Model] = []
    problems: list[str] = []
    for row in table.rows:
        try:
            found.append(model.model_validate(values(row)))
        except PlainTableError as error:
            problems += error.problems
        except ValidationError as error:
            problems += _faults(row, error)
    if problems:
        raise PlainTableError(problems)
    return found


def _faults(row: PlainRow, error: ValidationError) -> Iterator[str]:
    for fault in problems_in(error):
        place = ".".join(map(str, fault.location))
        yield f"{row.place}: {place}: {fault.message}" if place else f"{row.place}: {fault.message}"
