"""A published table of period, pressure and driver, compared row by row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from api.decoupling.answers import Remark
from api.exact_json import Answer, Number, Ratio, exact, ratio
from api.indicators import sentences
from api.indicators.comparison import ElasticityState, State, indices
from api.indicators.decoupling import Judgement, Pressure, judge
from api.indicators.wording import Text
from api.tables.names import DRIVERS, PERIODS, PRESSURES, in_time
from api.tables.plain import PlainRow, PlainTable, PlainTableError

TEXTS: Mapping[str, Sequence[str]] = {"period": PERIODS, "unit": ("enhed", "driver_unit")}
NUMBERS: Mapping[str, Sequence[str]] = {
    "pressure": PRESSURES,
    "driver": DRIVERS,
    "price_year": ("prisår", "prices of"),
    "price_index": ("prisindeks", "deflator"),
}
"""The columns and other spellings of them; capitals don't matter."""
_SPELLINGS_TOLD = 8
_NEEDED = ("period", "pressure", "driver")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row, the driver at the prices of `price_year` where that is told, and of the unit that it is in."""

    place: str
    period: str
    pressure: Fraction
    driver: Fraction
    unit: str
    price_year: int | None
    price_index: Fraction | None


class TableComparison(Answer):
    """One row against another. What can't be told is null; `reason` says why."""

    base: str
    period: str
    pressure: Number
    driver: Number
    pressure_growth: Ratio | None
    driver_growth: Ratio | None
    pressure_index: Annotated[Ratio | None, Field(description="the first row, or the base, is 100")]
    driver_index: Annotated[Ratio | None, Field(description="the first row, or the base, is 100")]
    state: State
    reason: str | None
    reason_da: str | None
    elasticity: Ratio | None
    elasticity_state: ElasticityState | None
    oecd_factor: Ratio | None
    remarks: list[Remark]
    sentence: str
    sentence_da: str


class TableAnswer(Answer):
    """`unused` are headers of columns that say neither of what is compared; they were not read."""

    file: str
    unused: list[str]
    items: list[TableComparison]
    next: None = None


def parse_columns(given: str | None) -> dict[str, str]:
    """The headers of one's own by column, of `pressure=CO2 kt,driver=GDP, constant prices`.

    Raises PlainTableError for a name that is no column.
    """
    found: dict[str, str] = {}
    for part in re.split(r",(?=\s*\w+\s*=)", given) if given else ():
        name, equals, header = (piece.strip() for piece in part.partition("="))
        if not equals or not header or name not in {*TEXTS, *NUMBERS}:
            listed = ", ".join((*TEXTS, *NUMBERS))
            raise PlainTableError([f"{part!r} names no column; write NAME=HEADER with one of {listed}"])
        if name in found:
            raise PlainTableError([f"--columns names {name} twice; give one header"])
        found[name] = header
    return found


def rows_of(table: PlainTable) -> list[TableRow]:
    """The table's rows, by time where all periods can be read as such. Raises PlainTableError."""
    there = (*table.texts, *table.numbers, *table.unused)
    missing = [column for column in _NEEDED if column not in there]
    if missing:
        others = {
            column: ", ".join((*TEXTS.get(column, ()), *NUMBERS.get(column, ()))[:_SPELLINGS_TOLD])
            for column in missing
        }
        raise PlainTableError(
            [
                f"{table.name}:1: there is no column {column!r} (or {others[column]}, …); name one of them so, or say "
                f"which it is with --columns {column}=HEADER; there are: {', '.join(there)}"
                for column in missing
            ]
        )
    problems: list[str] = []
    found: list[TableRow] = []
    seen: dict[str, str] = {}
    for row in table.rows:
        period = row.texts["period"].strip()
        if not period:
            problems.append(f"{row.place}: period is empty; write the year, or what else the row is of")
        elif period in seen:
            problems.append(f"{row.place}: {period} stands in {seen[period]} already; give each period once")
        seen[period] = row.place
        try:
            found.append(_row(row, period))
        except PlainTableError as error:
            problems += error.problems
    if len(table.rows) < 2:
        problems.append(f"{table.name}: there is a single row; two are needed to compare one with the other")
    if problems:
        raise PlainTableError(problems)
    return _by_time(found)


def _row(row: PlainRow, period: str) -> TableRow:
    year = row.numbers.get("price_year")
    index = row.numbers.get("price_index")
    if year is not None and year != int(year):
        raise PlainTableError([f"{row.place}: price_year {year} is no year; write it like 2024"])
    if index is not None and index <= 0:
        raise PlainTableError([f"{row.place}: price_index {index} is not above zero; no prices are"])
    return TableRow(
        place=row.place,
        period=period,
        pressure=Fraction(row.number("pressure")),
        driver=Fraction(row.number("driver")),
        unit=row.texts.get("unit", ""),
        price_year=None if year is None else int(year),
        price_index=None if index is None else Fraction(index),
    )


def _by_time(rows: list[TableRow]) -> list[TableRow]:
    """Published tables may begin with the newest row; what is no period stays as it stands."""
    by_period = {row.period: row for row in rows}
    return [by_period[period] for period in in_time(by_period)]


def compare_rows(table: PlainTable, *, base: str | None = None) -> TableAnswer:
    """Each row against the one before it, or all against the one whose period is `base`. Raises PlainTableError."""
    rows = rows_of(table)
    if base is None:
        first = rows[0]
        pairs = list(pairwise(rows))
    else:
        named = [row for row in rows if row.period == base]
        if not named:
            listed = ", ".join(row.period for row in rows)
            raise PlainTableError([f"{table.name}: no row is of {base}; choose --base from {listed}"])
        (first,) = named
        pairs = [(first, row) for row in rows if row is not first]
    items = [_compare(before, after, first) for before, after in pairs]
    return TableAnswer(file=table.name, unused=list(table.unused), items=items)


def _compare(before: TableRow, after: TableRow, first: TableRow) -> TableComparison:
    reason = _obstacle(before, after)
    driver = _deflated(before, before), _deflated(after, before)
    judgement = judge(
        pressure=(Pressure(measured=before.pressure), Pressure(measured=after.pressure)),
        driver=driver,
        usable_days=(1.0, 1.0),
    )
    told = judgement if reason is None else None
    comparison = told.comparison if told else None
    sentence = _sentence(judgement, reason)
    own_reason = comparison.reason if comparison else None
    return TableComparison(
        base=before.period,
        period=after.period,
        pressure=exact(after.pressure),
        driver=exact(driver[1] if driver[1] == after.driver else round(driver[1], 9)),
        pressure_growth=ratio(comparison.pressure_growth) if comparison else None,
        driver_growth=ratio(comparison.driver_growth) if comparison else None,
        pressure_index=ratio(indices([(after.pressure, 1)], base=(first.pressure, 1))[0]),
        driver_index=ratio(indices([(_deflated(after, first), 1)], base=(_deflated(first, first), 1))[0])
        if _obstacle(first, after) is None
        else None,
        state=comparison.state if comparison else State.NOT_ASSESSABLE,
        reason=reason.en if reason else own_reason,
        reason_da=reason.da if reason else sentence.da if own_reason else None,
        elasticity=ratio(comparison.elasticity) if comparison else None,
        elasticity_state=comparison.elasticity_state if comparison else None,
        oecd_factor=ratio(comparison.oecd_factor) if comparison else None,
        remarks=[
            Remark(case=edge, text=sentences.tell_edge(edge).en, text_da=sentences.tell_edge(edge).da)
            for edge in (told.edges if told else ())
        ],
        sentence=sentence.en,
        sentence_da=sentence.da,
    )


def _sentence(judgement: Judgement, reason: Text | None) -> Text:
    if reason is None:
        return sentences.tell_comparison(judgement, indicator="pressure", driver="driver")
    return sentences.cannot_tell("pressure", reason)


def _deflated(row: TableRow, to: TableRow) -> Fraction:
    """The driver at the prices of another row, where both say how high theirs were."""
    if row.price_index is None or to.price_index is None:
        return row.driver
    return row.driver * to.price_index / row.price_index


def _obstacle(before: TableRow, after: TableRow) -> Text | None:
    if before.unit != after.unit:
        one, other = before.unit or "no unit", after.unit or "no unit"
        return Text(
            f"the driver is in {one} in {before.period} and in {other} in {after.period}",
            f"driveren er i {one} i {before.period} og i {other} i {after.period}",
        )
    if (before.price_index is None) != (after.price_index is None):
        row = before if before.price_index is None else after
        return Text(f"there is no price_index for {row.period}", f"der er intet price_index for {row.period}")
    if before.price_index is None and before.price_year != after.price_year:
        return Text(
            f"the driver is at prices of {before.price_year} in {before.period} and of {after.price_year} in"
            f" {after.period}; add a column price_index",
            f"driveren er i {before.price_year}-priser i {before.period} og i {after.price_year}-priser i"
            f" {after.period}; tilføj en kolonne price_index",
        )
    return None
