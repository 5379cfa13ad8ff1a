"""Files of factors: a table of constant ones (CSV), or a file of the grid (CSV or JSON), told apart by their columns.

All or none: a file with a bad row gives nothing, and each bad row is told by file and line. Nothing is fetched.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from pydantic import ValidationError

from api.errors import ApiError
from api.factors.given import GivenFactor
from api.factors.grid_files import GridChoice, GridHours, Row, is_grid_file, read_grid_rows
from schemas.configuration import problems_in
from schemas.errors import PermanentError

COLUMNS = tuple(info.alias or name for name, info in GivenFactor.model_fields.items())
"""The header of a table of constant factors."""
_MOST_TOLD = 20


class FactorFileError(ApiError, PermanentError):
    """A file can't be taken; each line says where, what and what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        told = list(problems[:_MOST_TOLD])
        if len(problems) > _MOST_TOLD:
            told.append(f"and {len(problems) - _MOST_TOLD} more like these")
        super().__init__("\n".join([*told, "nothing was stored"]))
        self.problems = told


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorFile:
    """What a file holds: constant factors, or the hours of a grid."""

    rows: int
    factors: list[GivenFactor] = field(default_factory=list)
    grid: GridHours | None = None


def read_factor_file(data: bytes, *, name: str, choice: GridChoice) -> FactorFile:
    """The factors in a file called `name`. Raises FactorFileError with everything that is wrong."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FactorFileError(
            [f"{name} is not UTF-8 at byte {error.start}; save it as CSV UTF-8, or as JSON"]
        ) from error
    if "\0" in text:
        raise FactorFileError([f"{name} holds NUL characters; save it as CSV UTF-8, or as JSON"])
    rows = _json_rows(text, name) if text.lstrip()[:1] in {"{", "["} else _csv_rows(text, name)
    if not rows:
        raise FactorFileError([f"{name} has no rows; check that it was saved whole"])
    columns = {column for _, cells in rows[:1000] for column in cells}
    problems: list[str] = []
    if is_grid_file(columns):
        grid = read_grid_rows(rows, columns, choice, problems)
        read = FactorFile(rows=len(rows), grid=grid)
    elif {"key", "value"} <= columns:
        read = FactorFile(rows=len(rows), factors=_constants(rows, problems))
    else:
        problems.append(
            f"{name} is neither a table of factors ({', '.join(COLUMNS)}) nor of the grid (Minutes5UTC, PriceArea, "
            "CO2Emission or HourUTC, PriceArea, CO2PerkWh); check its first line"
        )
    if problems:
        raise FactorFileError([_placed(problem, name) for problem in problems])
    return read


def shipped_factors() -> list[GivenFactor]:
    """The few factors that come with the program, as their licences allow it."""
    choice = GridChoice(now=0)
    return read_factor_file(
        files("api.factors").joinpath("shipped.csv").read_bytes(), name="shipped.csv", choice=choice
    ).factors


def _placed(problem: str, name: str) -> str:
    return problem if problem.startswith(name) else f"{name}: {problem}"


def _csv_rows(text: str, name: str) -> list[Row]:
    header, _, _ = text.partition("\n")
    delimiter = max(";,\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    problems: list[str] = []
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        doubled = sorted({column for column in columns if column and columns.count(column) > 1})
        if doubled:
            raise FactorFileError([f"{name}:1: column {doubled[0]!r} stands twice; keep one of them"])
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                problems.append(
                    f"{name}:{reader.line_num}: {len(cells)} cells under {len(columns)} columns; put quotes around a "
                    f"text that holds {delimiter!r}"
                )
            rows.append((f"{name}:{reader.line_num}", dict(zip(columns, cells, strict=False))))
    except csv.Error as error:
        raise FactorFileError([f"{name}:{reader.line_num}: not CSV: {error}; check quotes"]) from error
    if problems:
        raise FactorFileError(problems)
    return rows


def _json_rows(text: str, name: str) -> list[Row]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FactorFileError([f"{name} is not JSON: {error}; download it again"]) from error
    if isinstance(tree, dict):
        if "prog" in str(tree.get("dataset", "")).lower():
            raise FactorFileError(
                [f"{name} is a prognosis ({tree['dataset']}), which is no factor; load what has been"]
            )
        tree = tree.get("records")
    if not isinstance(tree, list) or not all(isinstance(record, dict) for record in tree):
        raise FactorFileError([f"{name} has no list of `records`; download it as JSON from the dataset's own page"])
    return [
        (f"{name}: record {i}", {str(column).lower(): cell for column, cell in record.items()})
        for i, record in enumerate(tree, 1)
    ]


def _constants(rows: Sequence[Row], problems: list[str]) -> list[GivenFactor]:
    found: dict[str, tuple[GivenFactor, str]] = {}
    for place, cells in rows:
        try:
            factor = GivenFactor.model_validate(dict(_given(cells)))
        except ValidationError as error:
            for fault in problems_in(error):
                where = "".join(f"{step}: " for step in fault.location)
                problems.append(f"{place}: {where}{fault.message}")
            continue
        _, first = found.setdefault(factor.key, (factor, place))
        if first != place:
            problems.append(f"{place}: the key {factor.key} stands at {first} already; give each its own")
    return [factor for factor, _ in found.values()]


def _given(cells: Any) -> Iterator[tuple[str, str]]:
    """Cells that say something; a decimal comma becomes a point."""
    for column, cell in cells.items():
        text = "" if cell is None else str(cell).strip()
        if text and column:
            yield column, text.replace(",", ".") if column == "value" and text.count(",") == 1 else text
